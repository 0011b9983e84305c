from __future__ import annotations

import numpy as np
import numpy.typing as npt
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.kernels.interleave import CHOICE, balanced, interleave


@settings(deadline=None)
@given(st.lists(st.lists(st.integers(1, 60), max_size=40), min_size=1, max_size=8))
def test_each_group_keeps_its_order_and_its_part_to_within_an_item(parts: list[list[int]]) -> None:
    sizes = np.array([size for part in parts for size in part], np.int64)
    bounds = np.append(0, np.cumsum([len(part) for part in parts]))
    group = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    order = interleave(sizes, bounds)
    for g in range(len(parts)):
        assert order[group[order] == g].tolist() == [*range(bounds[g], bounds[g + 1])]
    had = np.cumsum(np.equal.outer(np.arange(len(parts)), group[order]) * sizes[order], 1)
    due = np.outer([sum(part) for part in parts], np.cumsum(sizes[order])) / max(int(sizes.sum()), 1)
    assert np.abs(had - due).max(initial=0) <= sizes.max(initial=1)


def test_items_of_one_size_are_never_a_whole_item_off() -> None:
    bounds = np.array([0, 1, 2, 3, 103, 400])
    order = interleave(np.ones(400, np.int64), bounds)
    group = np.searchsorted(bounds, order, side="right") - 1
    had = np.cumsum(np.equal.outer(np.arange(5), group), 1)
    due = np.outer(np.diff(bounds), np.arange(1, 401)) / 400
    assert np.abs(had - due).max() < 1


def off(bins: npt.NDArray[np.int64], sizes: npt.NDArray[np.int64], group: npt.NDArray[np.int64]) -> float:
    """The most that a group is off its part after any number of bins."""
    had = np.zeros((int(group.max()) + 1, int(bins.max()) + 1))
    np.add.at(had, (group, bins), sizes)
    due = np.outer(had.sum(1), had.sum(0).cumsum()) / had.sum()
    return float(np.abs(had.cumsum(1) - due).max())


def test_bins_keep_the_groups_parts_where_a_random_order_does_not() -> None:
    rng = np.random.default_rng(0)
    bins, sizes, group = rng.permutation(np.arange(6000) // 2), rng.integers(1, 900, 6000), rng.integers(0, 10, 6000)
    made = balanced(bins, sizes, group, np.random.default_rng(1))
    together = np.unique(np.stack([bins, made]), axis=1)
    assert together.shape[1] == 3000, "items of a bin stay together, others apart"
    assert np.unique(made).tolist() == [*range(3000)]
    assert off(made, sizes, group) < 4 * sizes.max()
    assert off(rng.permutation(3000)[bins], sizes, group) > 10 * sizes.max()
    assert np.array_equal(made, balanced(bins, sizes, group, np.random.default_rng(1)))
    assert not np.array_equal(made, balanced(bins, sizes, group, np.random.default_rng(2)))


def test_the_next_is_the_least_off_of_some_that_are_left() -> None:
    rng = np.random.default_rng(3)
    bins, sizes, group = rng.integers(0, 40, 150), rng.integers(1, 50, 150), rng.integers(0, 4, 150)
    bins = np.unique(bins, return_inverse=True)[1]
    had = np.zeros((int(bins.max()) + 1, 4))
    np.add.at(had, (bins, group), sizes)
    each = had - np.outer(had.sum(1), had.sum(0) / had.sum())
    left, at, state, wanted = np.random.default_rng(4).permutation(len(each)).tolist(), 0, np.zeros(4), []
    while left:
        seen = [(at + 1 + j) % len(left) for j in range(min(CHOICE, len(left)))]
        best = min(seen, key=lambda j, state=state: float(((state + each[left[j]]) ** 2).sum()))  # type: ignore[misc]
        at = seen[-1]
        wanted.append(left[best])
        state = state + each[left[best]]
        left[best] = left[-1]
        left.pop()
    made = balanced(bins, sizes, group, np.random.default_rng(4))
    place = {int(b): int(m) for b, m in zip(bins, made, strict=True)}
    assert sorted(place, key=place.__getitem__) == wanted


def test_balancing_nothing() -> None:
    nothing = np.zeros(0, np.int64)
    assert balanced(nothing, nothing, nothing, np.random.default_rng(0)).size == 0
