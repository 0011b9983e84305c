from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.kernels.interleave import interleave


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
