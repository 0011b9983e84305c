"""Steered: hands the mixture to an online policy, which moves it while a model is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Groups, OnlinePolicy, Plan, Policy, Pool, Run, Steering, groups
from tilth.core.errors import UsageError

__all__ = ["Steered"]


class Steered(Policy):
    """Leaves the records in the plan and writes into it which online policy moves their shares, so that it can be
    proved, or raced in a tournament, like any other mixture.

    A proof that trains step by step (`tiny_lm`) then asks the policy every `every` steps for new shares, moves them to
    the nearest mixture that the goal's limits and `cap` allow, and reads by them until the budget is used up. Each
    decision is logged with the trial's curve, and the log replays the run. Groups are those of the column `by`, or with
    `clusters` made anew by meaning (the R of R&B, arXiv 2505.00358): k-means on embeddings, of several numbers the one
    with the greatest silhouette. The goal's target is all that policies see of the goal.

    Cost: that of the policy, in each trial. Trap: what a policy learns in a short trial is about the first steps of a
    long run. `cap` bounds each moment, not only the sum: a small group never gets more than its epochs would last if it
    kept that share. Phases of the plan cannot be kept, and floors and ceilings of sources only where sources are mixed.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 100, "source": ["a"] * 10 + ["b"] * 90}))
    >>> goal = Goal(pool, pool, Budget(50, "records"))
    >>> plan = Steered(policy="dga").revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.moving, plan.amount, int(plan.kept.sum())  # at most 4 epochs of a
    ({'a': 0.5, 'b': 0.5}, 50, 100)
    """

    policy: OnlinePolicy = Field(examples=["dga"], description="the online policy")  # type: ignore[type-arg]
    by: str = Field("source", description="the column whose values are mixed")
    clusters: tuple[int, ...] = Field(
        (), description="mix this many clusters of the texts instead; the best of several"
    )
    every: int = Field(25, ge=1, le=1_000_000, description="steps between two decisions")
    cap: float = Field(4.0, ge=1, description="most epochs of a group")
    begin: Literal["equal", "natural"] = Field("equal", description="shares before the first decision")
    encoder: str = Field("static", description="embeddings for `clusters`: static, minilm or the folder of a model")
    seek: Literal["best", "worst"] = Field("best", description="worst turns every decision round, as a control")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(("id", "text" if self.clusters else self.by, *self.policy.needs)))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        if np.unique(plan.phase[plan.kept]).size > 1:
            raise UsageError("The plan has phases, and steered says anew at every step what is read. Leave one out.")
        by, aims, details = self._groups(plan, pool, goal, run)
        limits = plan.limits
        if by.by != plan.sources.by and (limits.floor or limits.ceiling or limits.kl):
            raise UsageError(
                f"The goal's limits are on sources, and steered would mix {by.by}: while training they can only be "
                f"kept where sources are mixed. Leave `by` and `clusters` out, or the floors, ceilings and kl."
            )
        room = plan.room(self.cap, by)
        first = room.natural if self.begin == "natural" else (room.natural > 0) / (room.natural > 0).sum()
        shares = tuple(room.nearest(first).tolist())
        mirrored = self.seek == "worst"
        steering = Steering(self.policy.describe(), by, shares, self.every, self.cap, mirrored, aims)
        there = int((room.natural > 0).sum())
        note = f"{self.policy.name()} moves the shares of {there} groups ({by.by}) every {self.every} steps"
        note += ", each decision turned round" if mirrored else ""
        told = {**details, "begin": dict(zip(by.names, shares, strict=True))}
        return plan.revised(self.describe(), note, details=told).steered(steering)

    def _groups(
        self, plan: Plan, pool: Pool, goal: Goal, run: Run
    ) -> tuple[Groups, tuple[str, ...], Mapping[str, Any]]:
        """The groups, which of them each item of the target belongs to (or which goal), and how they were found."""
        if self.clusters:
            from tilth.models.regroup import regrouped

            by, aims, told = regrouped(pool, plan.kept, goal.target, self.clusters, run.at("regroup"), self.encoder)
            return by, aims, {"silhouettes": {str(k): value for k, value in told.items()}}
        by = groups(pool, self.by)
        target = goal.target
        if self.by in target.column_names():
            own = pc.fill_null(pc.cast(target.column(self.by), pa.string()), "(none)").to_pylist()
            if {*own} & {*by.names}:
                return by, tuple(own), {}
        if "goal" in target.schema.names:
            return by, tuple(pc.fill_null(pc.cast(target.column("goal"), pa.string()), "goal").to_pylist()), {}
        return by, ("goal",) * target.count, {}
