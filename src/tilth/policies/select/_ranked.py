"""What policies that take the best of a column share: reading the column, and filling a budget from its top."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core import Groups, Plan, Pool, take_budgets
from tilth.core.errors import DataError

__all__ = ["ONE", "Unknown", "even", "fill", "numbers", "one_group", "proportional"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Unknown = Literal["keep", "drop", "error"]
ONE = "all"  # the name of the one group of records that are not grouped


def numbers(pool: Pool, column: str, who: str) -> Floats:
    """A column of numbers (true is 1); NaN where it is null or not finite.

    Raises:
        DataError: when it holds something else.
    """
    pool.require([column], who)
    try:
        raw = pc.cast(pool.column(column), pa.float64()).to_numpy().astype(np.float64)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):  # texts may hold numbers, which only trying tells
        kind = pool.column(column).type
        raise DataError(f"{who} reads numbers, and {column} is of type {kind}. Name a column of numbers.") from None
    return np.where(np.isfinite(raw), raw, np.nan)


def one_group(plan: Plan) -> Groups:
    """All records as one group."""
    return Groups("", (ONE,), np.zeros(len(plan), np.int32))


def fill(
    plan: Plan, eligible: Bools, keys: npt.NDArray[np.float32], ties: Floats, by: Groups, amounts: Floats
) -> tuple[Bools, dict[str, float]]:
    """Take each group's records by descending key until its amount is full.

    Records without a key come first, where they are eligible at all; equal keys go by descending `ties`.

    Args:
        amounts: (groups,) in the budget's unit.

    Returns:
        The records taken, and the smallest key taken of each group that was cut, under ``key:group``, or under ``key``
        where there is but one group.
    """
    sizes = plan.sizes * plan.repeats
    keep = np.zeros(len(plan), bool)
    threshold: dict[str, float] = {}
    order = np.lexsort((-ties, -np.nan_to_num(keys.astype(np.float64), nan=np.inf), by.index))
    order = order[eligible[order]]
    bounds = np.searchsorted(by.index[order], np.arange(len(by.names) + 1))
    first = np.nan_to_num(keys[order].astype(np.float64), nan=np.inf)
    many = take_budgets(sizes[order], bounds, amounts, first)
    for name, start, end, taken in zip(by.names, bounds[:-1], bounds[1:], many, strict=True):
        rows = order[start:end]
        keep[rows[:taken]] = True
        if 0 < taken < rows.size and np.isfinite(keys[rows[taken - 1]]):
            threshold[f"key:{name}" if by.by else "key"] = float(keys[rows[taken - 1]])
    return keep, threshold


def proportional(plan: Plan, eligible: Bools, by: Groups, total: float) -> Floats:
    """The total split among groups in proportion to what may be taken of each; no group gets more than it has."""
    room = by.sums(plan.sizes * plan.repeats * eligible)
    return np.asarray(room * min(1.0, total / max(1.0, room.sum())))


def even(room: Floats, total: float) -> Floats:
    """The total split evenly among groups that have room; what a small group cannot use goes to the others."""
    amounts = np.zeros_like(room)
    left = min(total, float(room.sum()))
    for place, group in enumerate(np.argsort(room, kind="stable")):
        amounts[group] = min(room[group], left / (len(room) - place))
        left -= amounts[group]
    return amounts
