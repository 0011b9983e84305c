"""What policies that weight records share: from weights to how often each record is read."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.core import Plan, Run, take_budget

__all__ = ["bounds", "drawn"]

Floats = npt.NDArray[np.float64]


def bounds(plan: Plan, cap: float, known: npt.NDArray[np.bool_]) -> tuple[float, Floats]:
    """The amount that can be read of the known records, and the largest share of it that each may have.

    No record is read more than `cap` times, nor more often than the goal's limits say, nor is one that is longer than
    the budget.
    """
    times = min(cap, plan.limits.repeats or cap)
    sizes = plan.sizes * (known & plan.kept & (plan.sizes <= plan.budget.amount))
    amount = max(1.0, min(float(plan.budget.amount), times * float(sizes.sum())))
    return amount, np.asarray(times * sizes / amount, np.float64)


def drawn(plan: Plan, shares: Floats, amount: float, along: Floats, run: Run) -> npt.NDArray[np.int32]:
    """Repeats, such that each record is read in proportion to its share of the amount, on average exactly.

    Systematic sampling: records stand in the order of `along` (by lot where it is equal), each as wide as it is to be
    read often, and one is read wherever a comb of width 1 touches it. So a record is read as often as it should or once
    more, and means of what `along` orders hardly vary.
    """
    times = shares * amount / np.maximum(plan.sizes, 1)
    order = np.lexsort((run.uniform(plan.ids, "lot"), along))
    start = float(run.rng("comb").random())
    marks = np.floor(np.concatenate([[0.0], np.cumsum(times[order])]) + start)
    repeats = np.zeros(len(plan), np.int32)
    repeats[order] = np.diff(marks)
    copies = np.repeat(np.arange(len(plan)), repeats)
    copies = copies[run.rng("excess").permutation(copies.size)]
    taken = take_budget(plan.sizes[copies], amount)  # long records can make it too much
    return np.bincount(copies[:taken], minlength=len(plan)).astype(np.int32)
