"""Drawing the records with the largest keys, each group in proportion: what several policies end with."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.core.plan import Groups, Plan, take_budget

__all__ = ["draw"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def draw(
    plan: Plan, eligible: Bools, keys: npt.NDArray[np.float32], ties: Floats, by: Groups, total: float
) -> tuple[Bools, dict[str, float]]:
    """The records drawn, and the smallest key drawn of each group that was cut.

    Args:
        eligible: records that may be drawn; a group's share is its part of their size.
        keys: the largest are drawn; NaN comes first.
        ties: decides between equal keys.
        total: what is drawn in all, in the budget's unit.
    """
    sizes = plan.sizes * plan.repeats
    room = by.sums(sizes * eligible)
    share = room * min(1.0, total / max(1.0, room.sum()))
    keep = np.zeros(len(plan), bool)
    threshold: dict[str, float] = {}
    order = np.lexsort((-ties, -np.nan_to_num(keys.astype(np.float64), nan=np.inf), by.index))
    order = order[eligible[order]]
    bounds = np.searchsorted(by.index[order], np.arange(len(by.names) + 1))
    for g, name in enumerate(by.names):
        rows = order[bounds[g] : bounds[g + 1]]
        taken = take_budget(sizes[rows], share[g])
        keep[rows[:taken]] = True
        if 0 < taken < rows.size and np.isfinite(keys[rows[taken - 1]]):
            threshold[f"key:{name}" if by.by else "key"] = float(keys[rows[taken - 1]])
    return keep, threshold
