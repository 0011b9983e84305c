"""InfluenceCurriculum: records of like influence side by side, from low to high or in turn from both ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.core.errors import DataError
from tilth.policies.order._ranks import ordered, over, phases
from tilth.policies.select._ranked import numbers

__all__ = ["InfluenceCurriculum"]

Ints = npt.NDArray[np.int64]


class InfluenceCurriculum(Policy):
    """Sorts a plan by influence into segments and shuffles inside each; direction up, down, or both ends in turn.

    Influence is how well a record's gradient agrees with that of the whole pool (signal `influence_average`). The paper
    (arXiv 2508.15475) finds that it does not matter which way one sorts, and supposes that the gain comes from batches
    of like influence; so segments are long against a batch and short against the plan. ``order: alternate`` takes the
    segment of highest influence, that of lowest, the second highest, ... (its C_A, there of ten segments: give a tenth
    of the plan as `segment`).

    A plan has one order for all passes, so the paper's orders that change from epoch to epoch cannot be said; the mean
    over passes is used, its cumulative variant. Its C50, which drops the lower half and reads the upper twice, is made
    of three steps: ``sample`` with ``by: influence_average.mean`` and ``fraction: 0.5``, ``natural``, which repeats to
    fill the budget, and this; readings of a record then fall into one segment. Records without influence are dealt to
    segments by lot.

    Cost: one sort. Trap: influence is high for what there is most of, so segments differ by source. In our own trial
    (claim `schoenegger2025_influence_curriculum`) no way of sorting by it was any better than random order, over five
    seeds: prove it on your data.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> influence = pa.StructArray.from_arrays([pa.array([0.3, 0.1, 0.4, 0.0, 0.2, 0.5])], ["mean"])
    >>> pool = TablePool(pa.table({"text": list("abcdef"), "influence_average": influence}))
    >>> goal = Goal(pool, pool, Budget(6, "records"))
    >>> policy = InfluenceCurriculum(order="alternate", segment=2)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> rows = plan.reading_order(Run())[0].tolist()
    >>> [sorted(rows[i : i + 2]) for i in (0, 2, 4)]  # highest, lowest, and those between
    [[2, 5], [1, 3], [0, 4]]
    """

    paper: ClassVar[str] = "influencedriven_curriculum_learning_for_pretraining_on"

    by: str = Field("influence_average.mean", description="column with the influence")
    order: Literal["up", "down", "alternate"] = Field("up", description="low first, high first, or both ends in turn")
    segment: int = Field(1000, ge=1, description="records that are shuffled among each other")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The other way; there is no opposite to both ends in turn."""
        turned: dict[str, Literal["up", "down", "alternate"]] = {"up": "down", "down": "up", "alternate": "alternate"}
        return self.model_copy(update={"order": turned[self.order]})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        raw = numbers(pool, self.by, "influence_curriculum")
        if not np.isfinite(raw[plan.kept]).any():
            raise DataError(
                f"influence_curriculum: none of the records kept has a number in {self.by}. Score it first."
            )
        lots = run.uniform(plan.ids, "ties")
        rank = np.full(len(plan), np.nan)
        count, missing = 0, 0
        for rows in phases(plan):
            known = rows[np.isfinite(raw[rows])]
            known = known[np.lexsort((lots[known], raw[known] if self.order != "down" else -raw[known]))]
            segments = max(1, round(known.size / self.segment))
            turn = _turns(segments) if self.order == "alternate" else np.arange(segments)
            # Equal parts: a short last segment would be a batch of its own kind.
            rank[known] = turn[np.arange(known.size) * segments // max(known.size, 1)] / segments
            rest = rows[~np.isfinite(raw[rows])]
            rank[rest] = np.floor(lots[rest] * segments) / segments
            count += segments
            missing += rest.size
        way = {"up": "from low to high", "down": "from high to low", "alternate": "from both ends in turn"}[self.order]
        lost = f"; {missing:,} without {self.by} dealt among them" if missing else ""
        made = ordered(
            plan,
            self.describe(),
            f"{count:,} segments by {self.by}, {way}{lost}",
            rank,
            segments=True,
            values={"influence": raw},
            details={"segments": count, "unknown": missing},
        )
        if count == 1:
            made = made.warned(f"all records are in one segment of {self.segment:,}: this is random order")
        if over(plan):
            made = made.warned("the plan holds more than its budget, so the last segments are not read: select before")
        return made


def _turns(count: int) -> Ints:
    """When each of `count` segments, from low to high, is read: the highest first, then the lowest, and so on."""
    turns = np.empty(count, np.int64)
    high = (count + 1) // 2
    turns[::-1][:high] = np.arange(0, count, 2)
    turns[: count - high] = np.arange(1, count, 2)
    return turns
