"""What policies that order a plan share: the records of each phase, and ranks from an order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core import Plan

__all__ = ["ordered", "over", "phases"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def phases(plan: Plan) -> Iterator[Ints]:
    """Row numbers of the kept records of each phase, ascending: an order holds inside a phase."""
    for phase in np.unique(plan.phase[plan.kept]):
        yield np.flatnonzero(plan.kept & (plan.phase == phase))


def over(plan: Plan) -> bool:
    """Whether a plan holds more than a model may read, by more than a record.

    Of a steered plan this is never said, as it only tells what there is to read.
    """
    if plan.steering is not None:
        return False
    read = plan.sizes * plan.repeats
    return bool(read.sum() - read.max(initial=0) > plan.budget.amount)


def ordered(
    plan: Plan, policy: Mapping[str, Any], note: str, rank: Floats, *, segments: bool = False, **more: Any
) -> Plan:
    """The plan with new ranks, and a warning where records are read several times.

    Ranks are in [0, 1), the share of the phase before a record, so that records without one are spread evenly.

    Args:
        segments: many records share a rank, so that the readings of one are spread over a segment; nothing to warn of.
        more: for `Plan.revised`.
    """
    made = plan.revised(policy, note, rank=rank, **more)
    several = int((made.repeats[~np.isnan(rank)] > 1).sum())
    if several and not segments:
        made = made.warned(
            f"{several:,} records are read several times, and a plan has one place for each: their readings follow one "
            f"another. Keep enough records before ordering to read each once"
        )
    return made
