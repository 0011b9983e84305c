"""Is every token read as often as planned, in the order planned, and predicted from its own document only?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.models.batches import (
    IGNORED,
    STRETCH,
    Packing,
    joined,
    padded,
    prefixed,
    reading_order,
    windows,
    windows_of_documents,
    windows_of_rounds,
    windows_to_score,
)

PACKINGS: tuple[Packing, ...] = ("next_fit", "best_fit", "first_fit")


def texts(lengths: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Records whose ids are all different, from 1 on; 0 is the end."""
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return offsets, np.arange(1, offsets[-1] + 1, dtype=np.uint32)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_copies_are_spread_and_the_mixture_holds_in_every_stretch() -> None:
    repeats = np.repeat([4, 1, 0, 2], [100, 400, 50, 300])
    order = reading_order(repeats, rng())
    assert np.array_equal(np.bincount(order, minlength=850), repeats)
    four = order[order < 100]
    for quarter in four.reshape(4, 100):
        assert sorted(quarter) == list(range(100)), "a record is read again before the others were read once"
    source = np.repeat([0, 1, 2, 3], [100, 400, 50, 300])[order]
    for stretch in np.array_split(source, 5):
        assert np.bincount(stretch, minlength=4) / stretch.size == pytest.approx([0.286, 0.286, 0, 0.429], abs=0.08)
    assert np.array_equal(order, reading_order(repeats, rng()))
    assert not np.array_equal(order, reading_order(repeats, rng(1)))


def test_phases_come_first_and_ranks_order_within_them() -> None:
    phase = np.repeat([1, 0], 50)
    rank = np.where(np.arange(100) % 2, np.arange(100)[::-1], np.nan)
    order = reading_order(np.ones(100), rng(), phase, rank)
    assert set(order[:50]) == set(range(50, 100))
    for part in (order[:50], order[50:]):
        ranked = rank[part][~np.isnan(rank[part])]
        assert (np.diff(ranked) > 0).all()
        free = np.flatnonzero(np.isnan(rank[part]))
        assert 15 < free.mean() < 34, "records without a rank are not spread"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 7), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_what_stands_before_a_text_is_read_and_not_learned(lengths: list[int], context: int, seed: int) -> None:
    offsets, ids = texts(lengths)
    before = np.array([0, 0, 1, 4]), np.array([91, 92, 93, 94], np.uint32)
    tags = rng(seed).integers(0, 3, len(lengths))
    order = rng(seed + 1).permutation(len(lengths))
    starts, told, learned = prefixed(offsets, ids, before, tags)
    made = windows(starts, told, order, context, 0, learned=learned)
    inputs, targets = [], []
    for record in order:
        head = before[1][before[0][tags[record]] : before[0][tags[record] + 1]].tolist()
        text = ids[offsets[record] : offsets[record + 1]].tolist()
        inputs += [0, *head, *text]
        targets += [IGNORED] * len(head) + [*text, 0]
    n = len(inputs)
    assert made.inputs.ravel()[:n].tolist() == inputs
    assert made.targets.ravel()[:n].tolist() == targets
    assert (made.targets.ravel()[n:] == IGNORED).all()
    plain = windows(offsets, ids, order, context, 0)
    for limit in (1, int(plain.tokens.sum()) // 2 + 1, int(plain.tokens.sum()) + 3):
        some = windows(starts, told, order, context, 0, limit, learned)
        bare = windows(offsets, ids, order, context, 0, limit)
        found = [w.targets[w.targets != IGNORED].tolist() for w in (some, bare)]
        assert found[0] == found[1], "as many tokens of the records are learned, and the same ones"


@given(st.lists(st.integers(0, 9), min_size=1, max_size=12), st.integers(1, 7), st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_windows_hold_every_token_once_after_the_right_one(lengths: list[int], context: int, seed: int) -> None:
    offsets, ids = texts(lengths)
    order = rng(seed).permutation(len(lengths))
    made = windows(offsets, ids, order, context, end=0)
    expected_in, expected_out, expected_doc = [], [], []
    for place, record in enumerate(order):
        text = ids[offsets[record] : offsets[record + 1]].tolist()
        expected_in += [0, *text]
        expected_out += [*text, 0]
        expected_doc += [place] * (len(text) + 1)
    n = len(expected_in)
    assert made.inputs.ravel()[:n].tolist() == expected_in
    assert made.targets.ravel()[:n].tolist() == expected_out
    assert made.documents.ravel()[:n].tolist() == expected_doc
    assert (made.targets.ravel()[n:] == IGNORED).all()
    assert made.inputs.shape == (-(-n // context), context)
    assert made.records.ravel()[:n].tolist() == order[expected_doc].tolist()
    for limit in (1, n // 2 + 1, n, n + 5):
        cut = windows(offsets, ids, order, context, end=0, tokens=limit)
        assert cut.tokens.sum() == min(limit, n)
        m = min(limit, n)
        assert cut.targets.ravel()[:m].tolist() == expected_out[:m]


def test_whole_dialogues_lie_side_by_side_in_their_order() -> None:
    offsets, ids = texts([3, 4, 2, 5, 1])
    learned = np.isin(ids, [3, 5, 7, 9, 14, 15])
    made, left_out = windows_of_rounds(offsets, ids, learned, np.array([4, 0, 3, 2, 0]), 6, end=0)
    assert made.records.tolist() == [[4, 0, 0, 0, -1, -1], [3, 3, 3, 3, 3, -1], [2, 2, 0, 0, 0, -1]]
    assert made.inputs[0].tolist() == [0, 0, 1, 2, 0, 0]
    assert made.targets[0].tolist() == [15, IGNORED, IGNORED, 3, IGNORED, IGNORED]
    assert made.documents[2].tolist() == [3, 3, 4, 4, 4, -1]
    assert left_out.size == 0


def test_a_dialogue_longer_than_a_window_is_cut_between_rounds() -> None:
    offsets, ids = texts([9, 4, 6])
    learned = np.isin(
        ids, [2, 3, 6, 8, 12, 16, 17, 18, 19]
    )  # rounds of 3, 3 and 2, 1 left over; of 3, 1 left over; of 6
    made, left_out = windows_of_rounds(offsets, ids, learned, np.array([0, 1, 2]), 5, end=0)
    assert made.targets.tolist() == [
        [IGNORED, 2, 3, IGNORED, IGNORED],
        [IGNORED, IGNORED, 6, IGNORED, 8],
        [IGNORED, IGNORED, 12, IGNORED, IGNORED],
    ]
    assert made.inputs.tolist() == [[0, 1, 2, 0, 0], [0, 4, 5, 6, 7], [0, 10, 11, 0, 0]]
    assert made.documents.tolist() == [[0, 0, 0, -1, -1], [1, 1, 1, 1, 1], [2, 2, 2, -1, -1]]
    assert made.records[:, 0].tolist() == [0, 0, 1]
    assert left_out.tolist() == [2], "its one round has 6 tokens"
    assert made.padding == pytest.approx(4 / 15)


# a dialogue: rounds of a question and an answer of so many tokens each, and a question without an answer
dialogue = st.tuples(st.lists(st.tuples(st.integers(1, 4), st.integers(1, 4)), max_size=4), st.integers(0, 3))


@given(st.lists(dialogue, min_size=1, max_size=12), st.integers(4, 12), st.sampled_from(PACKINGS), st.integers(0, 3))
@settings(max_examples=150, deadline=None)
def test_no_answer_is_split_and_the_mask_is_kept(
    talks: list[tuple[list[tuple[int, int]], int]], context: int, packing: Packing, seed: int
) -> None:
    marks = [[k for q, a in rounds for k in [0] * q + [1] * a] + [0] * rest for rounds, rest in talks]
    offsets, ids = texts([len(m) for m in marks])
    learned = np.array([k for m in marks for k in m], np.bool_)
    order = rng(seed).integers(0, len(talks), 2 * len(talks))
    made, left_out = windows_of_rounds(offsets, ids, learned, order, context, 0, packing=packing, rng=rng(seed))
    too_long = {i for i, (rounds, _) in enumerate(talks) if any(q + a > context for q, a in rounds)}
    assert left_out.tolist() == sorted(too_long & set(order.tolist()))
    expected = [ids[offsets[i] : offsets[i + 1]][np.array(marks[i], np.bool_)] for i in order if i not in too_long]
    real = made.targets != IGNORED
    assert sorted(made.targets[real].tolist()) == sorted(t for row in expected for t in row.tolist())
    where: dict[int, list[tuple[int, int]]] = {}  # of each id learned, its windows and columns
    for row, column in zip(*np.nonzero(real), strict=True):
        where.setdefault(int(made.targets[row, column]), []).append((int(row), int(column)))
    for i in set(order.tolist()) - too_long:
        at, used = int(offsets[i]), 0
        for q, a in talks[i][0]:
            for row, column in where[at + q + 1]:  # the whole answer, its question before it
                assert made.targets[row, column : column + a].tolist() == list(range(at + q + 1, at + q + a + 1))
                assert made.inputs[row, column - q + 1 : column + 1].tolist() == list(range(at + 1, at + q + 1))
                assert len(set(made.documents[row, column - q : column + a].tolist())) == 1
            at, used = at + q + a, used + q + a
        if 0 < used <= context:
            assert np.unique(made.documents[made.records == i]).size == (order == i).sum(), "cut without need"


@given(
    st.lists(st.integers(0, 20), min_size=1, max_size=14),
    st.integers(1, 9),
    st.sampled_from(PACKINGS),
    st.integers(0, 3),
    st.one_of(st.none(), st.integers(1, 80)),
)
@settings(max_examples=150, deadline=None)
def test_documents_are_cut_only_where_they_must_be(
    lengths: list[int], context: int, packing: Packing, seed: int, tokens: int | None
) -> None:
    offsets, ids = texts(lengths)
    order = rng(seed).permutation(len(lengths))
    made = windows_of_documents(offsets, ids, order, context, 0, packing=packing, rng=rng(seed), tokens=tokens)
    chunks = windows(offsets, ids, order, context, 0, tokens)
    real, same = made.documents >= 0, chunks.documents >= 0
    assert sorted(made.targets[real].tolist()) == sorted(chunks.targets[same].tolist())
    assert sorted(zip(made.inputs[real], made.targets[real], strict=True)) == sorted(
        zip(chunks.inputs[same], chunks.targets[same], strict=True)
    )
    rows, _ = np.nonzero(real)
    for place in np.unique(made.documents[real]):
        size = int((made.documents == place).sum())
        assert len(set(rows[made.documents[real] == place].tolist())) == -(-size // context)
        assert (made.records[made.documents == place] == order[place]).all()
    again = windows_of_documents(offsets, ids, order, context, 0, packing=packing, rng=rng(seed), tokens=tokens)
    assert np.array_equal(made.inputs, again.inputs)


def test_packing_fills_windows_and_keeps_time_and_mixture() -> None:
    """Best fit wastes little, keeps stages and rough order, and does not sort windows by length."""
    sizes = np.clip(rng().lognormal(3.6, 0.9, 6000), 2, 400).astype(np.int64)
    offsets, ids = texts(sizes.tolist())
    order, stage = np.arange(6000), np.repeat([0, 1], 3000)
    kept = windows_of_documents(offsets, ids, order, 128, 0, packing="next_fit")
    for packing in ("best_fit", "first_fit"):
        made = windows_of_documents(offsets, ids, order, 128, 0, packing=packing, rng=rng(1), stage=stage)
        assert made.padding <= 0.02 < 0.1 < kept.padding
        row = np.nonzero(made.documents >= 0)[0]
        place = made.documents[made.documents >= 0]
        assert row[place < 3000].max() < row[place >= 3000].min(), "a window of the second stage came too early"
        due = np.cumsum(sizes + 1)[place] / 128  # the window it would lie in if there were no filling
        assert np.abs(row - due).max() < 1.1 * STRETCH + 20
        count = np.array([np.unique(d[d >= 0]).size for d in made.documents])
        assert abs(np.corrcoef(count[: len(made) // 2], np.arange(len(made) // 2))[0, 1]) < 0.1
    with pytest.raises(ValueError, match="give an rng"):
        windows_of_documents(offsets, ids, order, 128, 0)


@given(st.lists(st.integers(0, 20), min_size=1, max_size=12), st.integers(1, 8))
@settings(max_examples=60, deadline=None)
def test_windows_to_score_predict_every_token_once(lengths: list[int], context: int) -> None:
    offsets, ids = texts(lengths)
    made = windows_to_score(offsets, ids, context, end=0)
    real = made.targets != IGNORED
    assert sorted(made.targets[real].tolist()) == ids.tolist()
    record = np.repeat(np.arange(len(lengths)), lengths)
    assert (made.records[real] == record[made.targets[real] - 1]).all()
    first = np.isin(made.targets, ids[offsets[:-1][np.array(lengths) > 0]])
    assert (made.inputs[real & first] == 0).all()
    assert (made.inputs[real & ~first] == made.targets[real & ~first] - 1).all()
    half = windows_to_score(offsets, ids, context, 0, ids % 2 == 0)
    assert sorted(half.targets[half.targets != IGNORED].tolist()) == [int(i) for i in ids if i % 2 == 0]


def test_padding() -> None:
    offsets, ids = texts([3, 0, 6])
    rows, real = padded(offsets, ids, [2, 1, 0], longest=4, fill=99)
    assert rows.tolist() == [[4, 5, 6, 7], [99] * 4, [1, 2, 3, 99]]
    assert real.sum(1).tolist() == [4, 0, 3]


def test_joined_readings_keep_their_documents_apart() -> None:
    offsets, ids = texts([5, 3, 9])
    one = windows(offsets, ids, np.array([0, 1]), 4, 0)
    two = windows(offsets, ids, np.array([2, 0]), 4, 0)
    both = joined([one, two])
    assert len(both) == len(one) + len(two)
    assert both.tokens.tolist() == [*one.tokens, *two.tokens]
    assert both.records.tolist() == [*one.records.tolist(), *two.records.tolist()]
    real = [set(part.documents[part.documents >= 0].tolist()) for part in (both.take(range(len(one))), both)]
    assert len(real[1]) == 4
    assert len(real[0]) == 2
    assert (both.documents[len(one) :][two.documents < 0] == -1).all()
