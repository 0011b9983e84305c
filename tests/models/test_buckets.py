"""Buckets: tokens are conserved, no sequence crosses a document, steps have equal tokens, short ones come first."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.core.errors import BadInput
from tilth.models.buckets import Sequences, cut, schedule

Ints = npt.NDArray[np.int64]


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(seed))


def by_hand(length: int, least: int, most: int) -> list[int]:
    powers = []
    while length > 1:
        k = int(np.floor(np.log2(length - 1)))
        if k < least:
            break
        powers.append(min(k, most))
        length -= 2 ** powers[-1] + 1
    return powers


@settings(max_examples=60, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 3000), max_size=30),
    least=st.integers(0, 6),
    more=st.integers(0, 5),
    drawn=st.booleans(),
)
def test_every_token_is_in_one_sequence_or_told_as_dropped(
    lengths: list[int], least: int, more: int, drawn: bool
) -> None:
    many = np.asarray(lengths, np.int64)
    made = cut(many, least, least + more, rng() if drawn else None)
    seen = [np.zeros(n, int) for n in lengths]
    for document, start, size in zip(made.document, made.start, made.sizes, strict=True):
        assert start + size <= lengths[document], "a sequence crosses the end of its document"
        seen[document][start : start + size] += 1
    for tokens, dropped in zip(seen, made.dropped, strict=True):
        assert tokens.tolist() == [1] * (tokens.size - dropped) + [0] * dropped, "only the tail is dropped"
        assert dropped <= 2**least
    assert made.sizes.sum() + made.dropped.sum() == many.sum()
    if not drawn:
        assert made.power.tolist() == [k for n in lengths for k in by_hand(n, least, least + more)]


def test_sizes_are_powers_of_two_and_one() -> None:
    """The off-by-one: 2^k + 1 tokens make a sequence of power k, 2^k do not."""
    for k in range(3, 8):
        assert cut([2**k + 1], 3, 9).power.tolist() == [k]
        assert cut([2**k + 1], 3, 9).dropped.tolist() == [0]
        assert k not in cut([2**k], 3, 9).power.tolist()


def test_drawn_lengths_have_equal_tokens_and_the_longest_is_rarest() -> None:
    made = cut([2_000_000], 3, 6, rng())
    counts = np.bincount(made.power)[3:7]
    assert counts / counts.sum() == pytest.approx(np.array([8, 4, 2, 1]) / 15, abs=0.01)
    tokens = counts * 2.0 ** np.arange(3, 7)
    assert tokens / tokens.sum() == pytest.approx([0.25] * 4, abs=0.01)


def some(seed: int = 0) -> tuple[Ints, Sequences]:
    lengths = np.exp(rng(seed).normal(4.5, 1.0, 3000)).astype(np.int64)
    return lengths, cut(lengths, 4, 8)


@pytest.mark.parametrize("curriculum", ["grow-p2", "uniform", "shrink-p2", (1.0, 2.0, 1.0, 5.0, 1.0)])
def test_steps_have_equal_tokens_and_nothing_is_read_twice(curriculum: str | tuple[float, ...]) -> None:
    _, made = some()
    plan = schedule(made, 1024, rng(1), curriculum, cycles=4)
    read = []
    for power, rows in plan:
        assert (made.power[rows] == power).all(), "a batch has one length"
        assert (made.sizes[rows] - 1).sum() == 1024 == plan.tokens
        read.append(rows)
    assert len(read) == len(plan) > 100
    both = np.concatenate([*read, plan.unread])
    assert np.sort(both).tolist() == list(range(len(made))), "every sequence is read once or told as unread"
    for k in range(4, 9):
        assert (made.power[plan.unread] == k).sum() < 1024 >> k, "less than a batch is left of each length"


def test_growing_goes_from_short_to_long_in_each_cycle() -> None:
    _, made = some()
    means: dict[str, list[list[float]]] = {}
    for name in ("grow-p2", "uniform", "shrink-p2"):
        plan = schedule(made, 1024, rng(2), name, cycles=3)
        parts = [np.array_split(cycle, 4) for cycle in np.array_split(plan.power.astype(float), 3)]
        means[name] = [[float(part.mean()) for part in cycle] for cycle in parts]
    for cycle in means["grow-p2"]:
        assert cycle[0] < cycle[1] < cycle[3]
        assert cycle[3] - cycle[0] > 1
    for cycle in means["shrink-p2"]:
        assert cycle[0] - cycle[3] > 1
    assert abs(np.mean([c[3] - c[0] for c in means["uniform"]])) < 0.5
    grown = schedule(made, 1024, rng(2), "grow-p2", cycles=1).power
    assert (np.diff(grown) < 0).any(), "strictly sorted lengths would make gradient noise differ by bucket"


def test_first_draws_follow_odds_times_what_is_left() -> None:
    made = cut([17] * 400 + [33] * 200, 4, 5)  # 400 sequences of 16, 200 of 32: batches of 4 and 2, 100 of each
    first = [int(schedule(made, 64, rng(seed), (3.0, 1.0), cycles=1).power[0]) for seed in range(400)]
    assert np.mean(np.array(first) == 4) == pytest.approx(0.75, abs=0.07)


def test_tokens_are_those_of_the_document_and_cost_is_what_it_says() -> None:
    lengths, made = some()
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    ids = np.arange(offsets[-1], dtype=np.uint32)
    plan = schedule(made, 512, rng())
    for power, rows in list(plan)[:40]:
        tokens = made.taken(offsets, ids, rows)
        assert tokens.shape == (512 >> power, 2**power + 1)
        assert (np.diff(tokens.astype(np.int64), axis=1) == 1).all()
        assert (tokens[:, 0] == offsets[made.document[rows]] + made.start[rows]).all()
    with pytest.raises(BadInput, match="one length"):
        made.taken(offsets, ids, np.arange(200))
    share = np.array([(made.sizes[made.power == k] - 1).sum() for k in range(4, 9)])
    assert made.context == pytest.approx((share / share.sum() * 2.0 ** np.arange(4, 9)).sum())
    assert made.lost(lengths) == pytest.approx(1 - made.sizes.sum() / lengths.sum())


def test_bad_input_is_told() -> None:
    _, made = some()
    with pytest.raises(BadInput, match="multiple of 2\\^8"):
        schedule(made, 1000, rng())
    with pytest.raises(BadInput, match="one of uniform"):
        schedule(made, 1024, rng(), "grow")
    with pytest.raises(BadInput, match="5 lengths"):
        schedule(made, 1024, rng(), (1.0, 2.0))
    with pytest.raises(BadInput, match="least <= most"):
        cut([10], 5, 4)
    with pytest.raises(BadInput, match="at least one cycle"):
        schedule(made, 1024, rng(), cycles=0)
    assert len(schedule(cut([], 2, 3), 8, rng())) == 0
