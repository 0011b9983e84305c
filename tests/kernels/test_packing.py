"""Packers against their textbook definitions, and what must hold of any packing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.kernels.packing import (
    Fill,
    best_fit_decreasing,
    cut,
    cut_between,
    first_fit_decreasing,
    next_fit,
    shuffled,
    starts,
)
from tilth.models.tokenizer import Tokenizer

Packer = Callable[[np.ndarray, int], np.ndarray]
PACKERS: dict[str, Packer] = {f.__name__: f for f in (best_fit_decreasing, first_fit_decreasing, next_fit)}
cases = st.integers(1, 40).flatmap(lambda c: st.tuples(st.lists(st.integers(0, c), max_size=60), st.just(c)))


def plain(lengths: list[int], capacity: int, best: bool) -> list[int]:
    """The definitions, over a list of bins; ties of best fit go to the bin touched last."""
    room: list[int] = []
    touched: list[int] = []
    out = [0] * len(lengths)
    for clock, i in enumerate(sorted(range(len(lengths)), key=lambda i: -lengths[i])):
        fits = [b for b in range(len(room)) if room[b] >= lengths[i]]
        if not fits:
            room.append(capacity)
            touched.append(clock)
            fits = [len(room) - 1]
        b = min(fits, key=lambda b: (room[b], -touched[b])) if best else fits[0]
        room[b] -= lengths[i]
        touched[b] = clock
        out[i] = b
    return out


@given(cases)
@settings(max_examples=200, deadline=None)
def test_packers_are_what_their_names_say(case: tuple[list[int], int]) -> None:
    lengths, capacity = case
    assert best_fit_decreasing(lengths, capacity).tolist() == plain(lengths, capacity, True)
    assert first_fit_decreasing(lengths, capacity).tolist() == plain(lengths, capacity, False)


@pytest.mark.parametrize("name", PACKERS)
@given(case=cases)
@settings(max_examples=60, deadline=None)
def test_every_sequence_lies_whole_in_one_bin_and_none_overlap(name: str, case: tuple[list[int], int]) -> None:
    lengths, capacity = np.array(case[0], np.int64), case[1]
    bins = PACKERS[name](lengths, capacity)
    fill = Fill.of(lengths, bins, capacity)
    assert bins.dtype == np.int64
    assert np.unique(bins).tolist() == list(range(fill.windows)), "a bin is empty or a number is left out"
    places = np.zeros((fill.windows, capacity), np.int64)
    for length, b, start in zip(lengths, bins, starts(lengths, bins), strict=True):
        places[b, start : start + length] += 1
    assert places.sum() == lengths.sum()
    assert (places <= 1).all()
    assert fill.padding == pytest.approx((places == 0).mean() if fill.windows else 0)
    assert fill.windows <= 2 * lengths.sum() // capacity + 1


def test_decreasing_packers_stay_within_their_bound_of_the_fewest_bins() -> None:
    """Johnson's worst case of first fit decreasing: 11 bins where 9 are enough."""
    n, capacity = 3, 1000
    lengths = np.repeat([501, 252, 251, 248], [6 * n, 6 * n, 6 * n, 12 * n])
    for packer in (best_fit_decreasing, first_fit_decreasing):
        assert packer(lengths, capacity).max() + 1 == 11 * n  # and 9 n are enough: 501+251+248 and 252+252+248+248


@pytest.mark.parametrize("name", ["best_fit_decreasing", "first_fit_decreasing"])
@pytest.mark.parametrize("seed", range(3))
def test_lognormal_lengths_fill_the_windows(name: str, seed: int) -> None:
    """Hardly a place is empty, where padding each sequence to the longest leaves most of them so."""
    rng = np.random.default_rng(seed)
    lengths = np.clip(rng.lognormal(5.5, 1.0, 20_000), 1, 2048).astype(np.int64)
    bins = PACKERS[name](lengths, 2048)
    assert Fill.of(lengths, bins, 2048).padding <= 0.005
    assert lengths.mean() / lengths.max() < 0.75
    assert Fill.of(lengths, next_fit(lengths, 2048), 2048).padding > 0.1
    assert np.array_equal(bins, PACKERS[name](lengths, 2048))
    assert np.array_equal(bins, PACKERS[name](lengths.astype(np.uint16), 2048))


@pytest.mark.parametrize("name", ["best_fit_decreasing", "first_fit_decreasing"])
def test_real_lengths_leave_less_than_a_hundredth_empty(name: str) -> None:
    texts = []
    for file in sorted((Path(__file__).parents[2] / "examples" / "data").glob("*.jsonl.zst")):
        lines = zstandard.ZstdDecompressor().decompress(file.read_bytes()).splitlines()
        texts += [json.loads(line)["text"] for line in lines]
    lengths = Tokenizer.train(texts[::20], 1000).count(texts)
    pieces = cut(lengths, 2048).length
    assert Fill.of(pieces, PACKERS[name](pieces, 2048), 2048).padding <= 0.01
    assert Fill.of(pieces, next_fit(pieces, 2048), 2048).padding > 0.1


def test_shuffling_takes_the_lengths_out_of_the_order_of_the_bins() -> None:
    lengths = np.random.default_rng(0).integers(1, 1000, 30_000)
    bins = best_fit_decreasing(lengths, 1000)
    longest = np.zeros(bins.max() + 1)
    np.maximum.at(longest, bins, lengths)
    assert np.corrcoef(longest, np.arange(longest.size))[0, 1] < -0.9, "longest first is what the trap is about"
    other = shuffled(bins, np.random.default_rng(1))
    longest = np.zeros(bins.max() + 1)
    np.maximum.at(longest, other, lengths)
    assert abs(np.corrcoef(longest, np.arange(longest.size))[0, 1]) < 0.03
    pairs = np.unique(np.stack([bins, other]), axis=1)
    assert pairs.shape[1] == bins.max() + 1, "sequences of one bin were parted"
    assert np.array_equal(other, shuffled(bins, np.random.default_rng(1)))


@given(st.lists(st.integers(0, 50), max_size=20), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_pieces_are_the_sequences_end_to_end(lengths: list[int], capacity: int) -> None:
    pieces = cut(lengths, capacity)
    found = [(o, k) for o, s, n in zip(*pieces, strict=True) for k in range(s, s + n)]
    assert found == [(i, k) for i, n in enumerate(lengths) for k in range(n)]
    assert pieces.length.max(initial=1) <= capacity
    assert pieces.length.min(initial=1) >= 1
    last = np.append(pieces.owner[1:] != pieces.owner[:-1], True)[: pieces.owner.size]
    assert (pieces.length[~last] == capacity).all()
    own = capacity + np.arange(len(lengths)) % 3
    each = [cut([n], int(room)).length.tolist() for n, room in zip(lengths, own, strict=True)]
    assert cut(lengths, own).length.tolist() == [n for some in each for n in some]


@given(st.lists(st.lists(st.integers(0, 14), max_size=6), max_size=10), st.integers(1, 12))
@settings(max_examples=100, deadline=None)
def test_units_stay_whole_and_what_has_one_too_long_is_left_out(talks: list[list[int]], capacity: int) -> None:
    indptr = np.cumsum([0, *(len(units) for units in talks)])
    pieces, left_out = cut_between(indptr, np.array([u for units in talks for u in units], np.int64), capacity)
    assert left_out.tolist() == [any(u > capacity for u in units) for units in talks]
    for i, units in enumerate(talks):
        mine = pieces.owner == i
        start, length = pieces.start[mine], pieces.length[mine]
        if left_out[i]:
            assert not mine.any()
            continue
        assert start.tolist() == (np.cumsum(length) - length).tolist()
        assert length.sum() == sum(units)
        assert set(start.tolist()) <= set(np.cumsum([0, *units]).tolist()), "a unit was cut"
        assert (length <= capacity).all()
        following = [int(start[k + 1]) for k in range(len(start) - 1)]
        edges = np.cumsum([0, *units]).tolist()
        for at, begin in zip(following, start, strict=False):
            whole = min(edge for edge in edges if edge > at)
            assert whole - begin > capacity, "a piece ends though the next unit would have fitted"


def test_what_does_not_fit_or_is_no_length_is_an_error() -> None:
    for packer in PACKERS.values():
        with pytest.raises(ValueError, match="9 tokens does not fit a window of 8; cut it first"):
            packer(np.array([3, 9]), 8)
        with pytest.raises(ValueError, match="at least 0"):
            packer(np.array([3, -1]), 8)
        with pytest.raises(ValueError, match="whole numbers"):
            packer(np.array([3.5]), 8)
        with pytest.raises(ValueError, match="capacity"):
            packer(np.array([3]), 0)
        assert packer(np.zeros(0, np.int64), 8).size == 0
        assert packer(np.zeros(3, np.int64), 8).tolist() == [0, 0, 0]
    assert Fill.of([], [], 8) == Fill(0, 8, 0)
    assert Fill(0, 8, 0).padding == 0
