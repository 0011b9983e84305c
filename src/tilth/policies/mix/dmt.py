"""Dmt: specialised skills first, then general data with a few examples of the skills to remember them by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups
from tilth.policies.mix._phases import parted, phased

__all__ = ["Dmt"]


class Dmt(Policy):
    """Two phases of fine-tuning, the second with a reminder of the first (dual-stage mixed tuning, arXiv 2310.05492).

    The first phase is the specialised data, sources of mathematics or code for instance, the second all other sources
    and the part `reminder` of each specialised one. Read last, general data would push the skills out; read all at
    once, the two get in each other's way when there is much of both. With ``reminder: 0`` it is the paper's sequential
    baseline.

    Ours: the reminder is held out of the first phase, not read again, since a plan gives a record one phase; so the
    first phase has that much less, and no record is read twice. Shares are the plan's natural ones unless `share`
    states the specialised part of the budget, and one learning-rate schedule runs over both phases where the paper
    starts a fresh one. For phases whose shares you choose yourself there is `two_phase`.

    Cost: none. Trap: a large `reminder` is multi-task training again; a skill of a few hundred records leaves a handful
    to remember it by at 1/256, the least of the parts that the paper tries. `details` tells what each phase got.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": ["maths", "chat", "code", "chat"] * 250}))
    >>> goal = Goal(pool, pool, Budget(1000, "records"))
    >>> policy = Dmt(skills=("maths", "code"), reminder=0.1)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> [{name: round(share, 2) for name, share in phase.items()} for phase in plan.decisions[0].details["phases"]]
    [{'chat': 0.0, 'code': 0.5, 'maths': 0.5}, {'chat': 0.91, 'code': 0.05, 'maths': 0.05}]
    """

    paper: ClassVar[str] = "how_abilities_in_large_language_models"

    skills: tuple[str, ...] = Field(min_length=1, description="specialised sources, read first", examples=[("a",)])
    reminder: float = Field(1 / 16, ge=0, lt=1, description="part of each that is kept for the second phase")
    share: float | None = Field(None, gt=0, lt=1, description="their share of the budget; empty: as there is of them")
    by: str = Field("source", description="the column whose values are mixed")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")
    reverse: bool = Field(False, description="the second phase first, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The same records, general data first."""
        return self.model_copy(update={"reverse": not self.reverse})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        skills, others, natural = parted(plan, by, self.skills, "dmt")
        share = natural if self.share is None else self.share
        turn = share * (1 - self.reminder)
        shares = np.array([skills, (share * self.reminder * skills + (1 - share) * others) / (1 - turn)])
        lengths = np.array([turn, 1 - turn])
        order = slice(None, None, -1) if self.reverse else slice(None)
        note = (
            f"{', '.join(self.skills)} in the first {turn:.0%} of the budget, then the others and {self.reminder:.1%} "
            f"held back of them"
        )
        if self.reverse:
            note += ", the rest read first"
        return phased(plan, self.describe(), note, shares[order], lengths[order], by, self.cap, run)
