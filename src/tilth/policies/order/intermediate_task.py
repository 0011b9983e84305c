"""IntermediateTask: a plentiful task first, the scarce one that counts second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups, take_budget
from tilth.core.errors import UsageError
from tilth.policies.mix._phases import parted

__all__ = ["IntermediateTask"]

MOST = 0.5  # part of the budget beyond which the task that counts is not the scarce one


class IntermediateTask(Policy):
    """Reads all other sources in a first phase and all of `target` in a second, `epochs` times.

    Fine-tuning twice: first on a task of which there is much and that needs the same knowledge, then on the few labels
    there are (McCreery et al. 2020, arXiv 2008.13546, where matching questions with answers, which the transform
    `qa_match_pairs` writes, comes before telling whether two questions ask the same). The target is read whole, as long
    as that is no more than half of the budget, or than the rest leaves; what is left is drawn by lot from the rest,
    each record once.
    `two_phase` is for phases that both mix and whose lengths are given; here they follow from how much there is.

    Cost: none. Trap: questions of the evaluation must be in neither phase: split by what is asked, not by record. The
    second phase wants a new last layer and a lower rate; ``classify`` with a transformer reads the phases in turn, but
    with one last layer and under one schedule. In our own trial (claim `mccreery2020_intermediate_task`) it gave 0.88
    of pairs told right instead of 0.56; a first phase about other things gave 0.58.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": ["qa"] * 900 + ["pairs"] * 100}))
    >>> goal = Goal(pool, pool, Budget(1000, "records"))
    >>> policy = IntermediateTask(target=("pairs",), epochs=3)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.decisions[0].note
    '700 records of the intermediate task (70% of what is read), then 3 times 100 of pairs'
    """

    paper: ClassVar[str] = "effective_transfer_learning_for_identifying_similar"

    target: tuple[str, ...] = Field(min_length=1, description="sources of the task that counts", examples=[("a",)])
    epochs: int = Field(3, ge=1, le=1000, description="readings of each of their records")
    by: str = Field("source", description="the column whose values are the tasks")
    reverse: bool = Field(False, description="the target first, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The same records, the target first."""
        return self.model_copy(update={"reverse": not self.reverse})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        limits = plan.limits
        if limits.floor or limits.ceiling or limits.kl:
            raise UsageError(
                "intermediate_task reads as much of each task as there is and fits; floors, ceilings and kl of the "
                "goal's limits would be broken. Leave one out, or mix by two_phase, which keeps them."
            )
        by = groups(pool, self.by)
        parted(plan, by, self.target, "intermediate_task")  # both sides are there
        ours = plan.kept & np.isin(by.names, self.target)[by.index]
        lots = run.uniform(plan.ids, "lot")
        second, first = (rows[np.argsort(lots[rows])] for rows in map(np.flatnonzero, (ours, plan.kept & ~ours)))
        whole, others = int(plan.sizes[second].sum()), int(plan.sizes[first].sum())
        most = max(plan.budget.amount * MOST, plan.budget.amount - others)  # half, or what the others leave
        asked = min(self.epochs, max(1, int(limits.repeats or self.epochs)))
        epochs = max(1, min(asked, int(most // whole)))
        if whole > most:
            second = second[: max(1, take_budget(plan.sizes[second], most))]
        left = plan.budget.amount - epochs * int(plan.sizes[second].sum())
        first = first[: max(1, take_budget(plan.sizes[first], left))]
        repeats = np.zeros(len(plan), np.int32)
        repeats[first], repeats[second] = 1, epochs
        read = plan.sizes * repeats
        names = ", ".join(self.target)
        parts = [
            f"{first.size:,} records of the intermediate task ({read[first].sum() / read.sum():.0%} of what is read)",
            f"{epochs} times {second.size:,} of {names}",
        ]
        made = plan.revised(
            self.describe(),
            ", then ".join(parts[::-1] if self.reverse else parts),
            repeats=repeats,
            phase=(repeats > 0) & (ours ^ self.reverse),
            reason="the budget had no room for it",
        )
        if epochs < asked or whole > most:
            made = made.warned(
                f"{names} would take more than {most / plan.budget.amount:.0%} of the budget in {asked} readings, and "
                f"has {read[second].sum() / read.sum():.0%}: raise the budget, or lower `epochs`"
            )
        return made
