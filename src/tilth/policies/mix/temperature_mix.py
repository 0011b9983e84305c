"""TemperatureMix: between natural shares and equal shares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups

__all__ = ["TemperatureMix"]


class TemperatureMix(Policy):
    """Shares proportional to natural shares raised to 1/T: T = 1 is `natural`, large T is `stratified`.

    Cost: none. Used for languages and tasks, where small ones must not drown; 2 to 5 are usual. Trap: what T helps
    depends on the goal, and the goal is not looked at. Source: classical, e.g. mBERT and T5 (arXiv 1910.10683).

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": (["a"] + ["b"] * 9) * 100}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> TemperatureMix(temperature=2).revise(Plan.everything(pool, goal.budget), pool, goal, Run()).mixture()
    {'a': 0.25, 'b': 0.75}
    """

    temperature: float = Field(2.0, ge=1, description="1 keeps natural shares, larger flattens them")
    by: str = Field("source", description="the column whose values are the sources")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        return self

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        natural = by.sums(plan.sizes * plan.kept)
        shares = dict(zip(by.names, np.power(natural, 1 / self.temperature).tolist(), strict=True))
        note = f"shares of {self.by} flattened by temperature {self.temperature:g}"
        return plan.mixed(self.describe(), note, shares, by, run.uniform(plan.ids, "key"), self.cap)
