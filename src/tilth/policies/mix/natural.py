"""Natural: every source keeps its share of the pool's tokens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups

__all__ = ["Natural"]


class Natural(Policy):
    """Fill the budget with each source at exactly its share of what is in, random records inside it.

    Cost: none. Trap: a pool's shares say what was easy to collect, not what helps; it is a baseline. Source: classical
    (proportional sampling).

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": ["a", "b", "b", "b"] * 250}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> Natural().revise(Plan.everything(pool, goal.budget), pool, goal, Run()).mixture()
    {'a': 0.25, 'b': 0.75}
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
        shares = dict(zip(by.names, by.sums(plan.sizes * plan.kept).tolist(), strict=True))
        note = f"natural shares of {self.by}"
        return plan.mixed(self.describe(), note, shares, by, run.uniform(plan.ids, "key"), self.cap)
