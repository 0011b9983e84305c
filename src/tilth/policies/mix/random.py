"""Random: records drawn uniformly until the budget is full."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run

__all__ = ["Random"]


class Random(Policy):
    """Every record has the same chance, whatever its source; the baseline that each method must beat.

    When the budget is larger than what is there, everything is read several times, at most `cap`. Cost: none.
    Trap: records, not tokens, have equal chances, so sources keep their natural shares only on average; `natural`
    keeps them exactly. Source: classical.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": ["a", "b", "b", "b"] * 250}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> plan = Random().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.amount, 0.65 < plan.mixture()["b"] < 0.85
    (200, True)
    """

    cap: float = Field(4.0, ge=1, description="most times a record is read on average")

    @property
    def needs(self) -> Sequence[str]:
        return ("id",)

    def worst(self) -> Self:
        return self

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        one = Groups("all", ("all",), np.zeros(len(plan), np.int32))
        keys = run.uniform(plan.ids, "key")
        made = plan.mixed(self.describe(), f"random records to {plan.budget}", {"all": 1.0}, one, keys, self.cap)
        return made.asking({})
