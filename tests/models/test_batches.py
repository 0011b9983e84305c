"""Is every token read as often as planned, in the order planned, and predicted from its own document only?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.models.batches import (
    IGNORED,
    joined,
    padded,
    reading_order,
    windows,
    windows_of_whole,
    windows_to_score,
)


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


def test_whole_records_are_never_cut() -> None:
    offsets, ids = texts([3, 4, 2, 5, 1])
    learned = ids % 2 == 0
    made = windows_of_whole(offsets, ids, learned, np.array([4, 0, 3, 2, 0]), 6, end=0)
    assert made.records.tolist() == [[4, 0, 0, 0, -1, -1], [3, 3, 3, 3, 3, -1], [2, 2, 0, 0, 0, -1]]
    assert made.inputs[0].tolist() == [0, 0, 1, 2, 0, 0]
    assert made.targets[0].tolist() == [IGNORED, IGNORED, 2, IGNORED, IGNORED, IGNORED]
    assert made.documents[2].tolist() == [3, 3, 4, 4, 4, -1]
    with pytest.raises(ValueError, match="5 tokens does not fit a window of 4"):
        windows_of_whole(offsets, ids, learned, np.arange(5), 4, end=0)


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
