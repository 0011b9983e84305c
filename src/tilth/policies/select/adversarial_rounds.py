"""AdversarialRounds: in rounds, take what fools the model trained on what was taken before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, TablePool
from tilth.core.errors import BadField, DataError
from tilth.models.learner import Learner, labelled
from tilth.policies.select._ranked import fill, numbers, one_group

__all__ = ["AdversarialRounds"]


class AdversarialRounds(Policy):
    """Collects labelled records in rounds against a model, and verifies what fools it (HAMLET, arXiv 1910.14599).

    `start` of the budget is taken by lot and a classifier is trained on it. In each round it judges all that is left; a
    record that it gets wrong fools it, and counts when `verifier` agrees with the record's label. Such records, by lot,
    fill the round's part of the budget but for the share `control`, which is drawn by lot from those that did not fool
    it, as is whatever too few fooling ones leave. Then the model is trained again on all that was taken so far.

    The paper has people write examples and others verify them; here a pool is searched, and the default verifier is a
    classifier that has seen the whole pool but for the record (`label_issues.margin` above 0 means it agrees). So what
    is taken is what the data taken so far does not teach, though the pool can. `details` tells for each round how many
    were judged for one that counts, and `recovered`: of verified fooling records that were left over, how many the next
    model gets right (the one before got none).

    Cost: `rounds` + 1 trainings on no more than the budget, each with a pass of the model over the pool; and the
    verifier's column. Trap: without a verifier (empty) the rounds gather wrong labels, which fool any model. A verifier
    of the same kind as the model agrees only with what that kind can learn: in a world of one record in eight with a
    misleading cue, verified rounds taught ordinary records best (0.93 right, unverified 0.88, by lot 0.86), unverified
    ones the misleading records (0.60, verified 0.44, by lot 0.25). Fooling records over-represent the model's
    weakness, hence the control. Do not test the model on what fooled it alone.

    >>> from tilth.core import Budget, Plan
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> from tilth.signals.labels.label_issues import LabelIssues
    >>> world = LabelNoise(flip=0.1).build(600, Run())
    >>> pool, goal = score_in_memory(LabelIssues(), world.pool), Goal(world.pool, world.pool, Budget(200, "records"))
    >>> wrong = np.array([t["flipped"] for t in pool.column("truth").to_pylist()])
    >>> start = Plan.everything(pool, goal.budget)
    >>> for verifier in ("label_issues.margin", ""):  # wrong labels among the 200 taken; by lot there would be 20
    ...     kept = AdversarialRounds(verifier=verifier).revise(start, pool, goal, Run()).kept
    ...     print(bool((kept & wrong).sum() > 20))
    False
    True
    """

    paper: ClassVar[str] = "adversarial_nli"

    rounds: int = Field(3, ge=1, le=100, description="rounds of collection, each followed by a training")
    start: float = Field(0.25, gt=0, lt=1, description="part of the budget that is taken by lot before the first round")
    control: float = Field(
        0.25, ge=0, lt=1, description="part of each round that is taken by lot from what does not fool"
    )
    verifier: str = Field("label_issues.margin", description="column that says whether the label is right; empty: none")
    least: float = Field(0.0, description="the verifier agrees above this")
    learner: Learner = Field(default_factory=lambda: Learner(seeds=1), description="the model that is to be fooled")
    seek: Literal["fooled", "known"] = Field(
        "fooled", description="known takes what the model gets right, as a control"
    )

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "label", *((self.verifier,) if self.verifier else ()))

    def worst(self) -> Self:
        """What the model knows already."""
        return self.model_copy(update={"seek": "known" if self.seek == "fooled" else "fooled"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        if self.learner.model == "lm":
            raise BadField("adversarial_rounds: the learner is a classifier, linear or encoder. Got lm.")
        pool.require(self.needs, "adversarial_rounds")
        texts, label = pc.fill_null(pool.column("text"), ""), pool.column("label")
        truth = np.array(label.to_pylist(), object)
        usable = plan.kept & label.is_valid().to_numpy()
        agreed = numbers(pool, self.verifier, "adversarial_rounds") > self.least if self.verifier else usable
        lot, one, budget = run.uniform(plan.ids, "lot"), one_group(plan), float(plan.budget.amount)
        keys, sizes = lot.astype(np.float32), plan.sizes * plan.repeats
        number = np.full(len(plan), -1)
        number[fill(plan, usable, keys, lot, one, np.array([budget * self.start]))[0]] = 0
        left_over = np.zeros(len(plan), bool)
        rounds: list[dict[str, Any]] = []
        for i in range(1, self.rounds + 2):
            taken = np.flatnonzero(number >= 0)
            taught = TablePool(pool.take(taken, ["id", "text", "label"]), "labeled")
            names = np.array(labelled(taught)[2], object)
            if len(names) < 2:
                raise DataError(
                    f"adversarial_rounds: the {taken.size:,} records taken by lot have one label or none. Raise "
                    f"`start` or the budget."
                )
            found = self.learner.probabilities(self.learner.passes - 1, taught, texts, run.at("round", i))
            fooled = usable & (number < 0) & (names[found.argmax(1)] != truth)
            if rounds and left_over.any():
                rounds[-1]["recovered"] = float(1 - fooled[left_over].mean())
            if i > self.rounds:
                break
            left = usable & (number < 0)
            wanted = (fooled if self.seek == "fooled" else left & ~fooled) & agreed
            spent = float(sizes[number >= 0].sum())
            part = (budget - spent) / (self.rounds + 1 - i)
            mine = fill(plan, wanted, keys, lot, one, np.array([part * (1 - self.control)]))[0]
            others = left & ~mine & ~fooled
            by_lot = fill(plan, others, keys, lot, one, np.array([part - float(sizes[mine].sum())]))[0]
            number[mine | by_lot] = i
            left_over = fooled & agreed & (number < 0)
            rounds.append(
                {
                    "judged": int(left.sum()),
                    "fooled": int(fooled.sum()),
                    "verified": int((fooled & agreed).sum()),
                    "tries": float(left.sum() / max(1, int((fooled & agreed).sum()))),
                    "taken": int(mine.sum()),
                    "by_lot": int(by_lot.sum()),
                    "left_over": int(left_over.sum()),
                }
            )
        keep = number >= 0
        what = "fooled" if self.seek == "fooled" else "did not fool"
        count = sum(told["taken"] for told in rounds)
        return plan.revised(
            self.describe(),
            f"{count:,} records that {what} the model of their round, {int(keep.sum()) - count:,} by lot",
            keep=keep,
            values={"round": np.where(keep, number, np.nan)},
            reason=f"not among those that {what} the model, nor drawn",
            details={"rounds": rounds, "verifier": self.verifier, "warnings": self._warnings(rounds)},
        )

    def _warnings(self, rounds: Sequence[dict[str, Any]]) -> list[str]:
        warnings = [] if self.verifier else ["no verifier: wrong labels fool every model and are gathered"]
        if not any(told["verified"] for told in rounds):
            warnings.append("nothing that the verifier agrees with fooled the model: all but records by lot")
        return warnings
