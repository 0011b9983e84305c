"""Stratified: every source gets the same share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups

__all__ = ["Stratified"]


class Stratified(Policy):
    """Fill the budget with equal shares of all sources; small ones are repeated, at most `cap` times.

    Cost: none. The baseline that most published mixing methods do not beat consistently (Aioli, arXiv 2411.05735).
    Trap: a tiny source gets as much weight as a huge one; watch its epochs. Source: classical.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": ["a", "b", "b", "b"] * 250}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> Stratified().revise(Plan.everything(pool, goal.budget), pool, goal, Run()).mixture()
    {'a': 0.5, 'b': 0.5}
    """

    by: str = Field("source", description="the column whose values are the sources")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        return self

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        has = by.sums(plan.sizes * plan.kept) > 0
        shares = dict(zip(by.names, has.astype(float).tolist(), strict=True))
        note = f"equal shares of {self.by}"
        return plan.mixed(self.describe(), note, shares, by, run.uniform(plan.ids, "key"), self.cap)
