"""OptIml: tasks in proportion to their examples, but no task counts for more than a cap."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
from pydantic import Field, field_validator

from tilth.core import Goal, Plan, Policy, Pool, Run, groups
from tilth.core.errors import UsageError

__all__ = ["OptIml"]


class OptIml(Policy):
    """Examples-proportional mixing with a cap: task t gets min(examples_t, `most`) / the sum of these.

    The rule of instruction tuning over many tasks (OPT-IML, Iyer et al. 2022, arXiv 2212.12017; before it T5, arXiv
    1910.10683). Tasks below the cap are read equally often, giants less, so a thousand small tasks are not drowned by
    three large ones, and a task of ten examples is not read a hundred times as under equal shares. `fixed` gives some
    values shares of their own, such as a few percent of pre-training text or dialogue; `scale` multiplies others.
    The rule counts examples; a budget of tokens is filled so that the tasks' examples are in these proportions.

    Cost: none. Trap: the cap is the whole policy, and the best one depends on the pool: a few hundred to a few
    thousand are usual. With a linear student a cap in between beat equal shares on new categories where examples are
    noisy, and did no better where they are clean; both beat raw proportions. It looks at sizes, not at the goal. Tasks
    cut from one dataset under several names get several caps. To measure what it is for, generalisation to new tasks,
    split with `models/levels` first.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> tasks = ["qa"] * 900 + ["nli"] * 90 + ["poems"] * 10
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": tasks}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> plan = OptIml(most=100).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> {name: round(share, 2) for name, share in plan.mixture().items()}  # 100, 90 and 10 of 200
    {'nli': 0.45, 'poems': 0.05, 'qa': 0.5}
    """

    paper: ClassVar[str] = "optiml"

    most: int = Field(1000, ge=1, description="examples beyond which a task counts for no more")
    by: str = Field("source", description="the column whose values are the tasks")
    fixed: tuple[tuple[str, float], ...] = Field((), description="value: its share, apart from the rule")
    scale: tuple[tuple[str, float], ...] = Field((), description="value: what its capped count is multiplied by")
    cap: float = Field(4.0, ge=1, description="most epochs of a task")

    @field_validator("fixed", "scale", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return tuple(value.items()) if isinstance(value, Mapping) else value

    @field_validator("fixed")
    @classmethod
    def _shares(cls, value: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
        if any(not 0 <= share <= 1 for _, share in value) or sum(share for _, share in value) > 1 + 1e-9:
            raise ValueError("fixed shares are from 0 to 1 and sum to 1 at most")
        return value

    @field_validator("scale")
    @classmethod
    def _factors(cls, value: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
        if any(not 0 <= factor < np.inf for _, factor in value):
            raise ValueError("factors are numbers from 0 on")
        return value

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        return self

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        for name, _ in (*self.fixed, *self.scale):
            if name not in by.names:
                raise UsageError(f"opt_iml names the {self.by} {name!r}; the pool has {', '.join(by.names[:20])}.")
        place = {name: i for i, name in enumerate(by.names)}
        examples = by.sums(plan.kept)
        counted = np.minimum(examples, self.most)  # before any normalising: a cap on shares is another rule
        for name, factor in self.scale:
            counted[place[name]] *= factor
        own = np.zeros(len(by.names))
        for name, share in self.fixed:
            own[place[name]] = share
            counted[place[name]] = 0.0
        size = by.sums(plan.sizes * plan.kept) / np.maximum(examples, 1)
        weights = counted * size
        rest = 1 - own.sum() if weights.sum() > 0 else 0.0
        shares = own + rest * weights / max(weights.sum(), 1e-300)
        capped = [name for name, n in zip(by.names, examples, strict=True) if n > self.most]
        details = {
            "examples": dict(zip(by.names, examples.astype(int).tolist(), strict=True)),
            "capped": capped[:100],
            "shares": dict(zip(by.names, shares.tolist(), strict=True)),
        }
        note = (
            f"values of {self.by} in proportion to their examples, {len(capped)} of {int((examples > 0).sum())} capped "
            f"at {self.most:,}"
        )
        named = dict(zip(by.names, shares.tolist(), strict=True))
        return plan.mixed(self.describe(), note, named, by, run.uniform(plan.ids, "key"), self.cap, details=details)
