"""Classify: a text classifier trained on the plan, scored by what it gives the holdout's true labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run
from tilth.core.errors import BadInput
from tilth.core.records import Kind
from tilth.models.linear import Linear, Rows, encode_labels, epochs

__all__ = ["Classify"]


class Classify(Proof):
    """Nats the classifier pays for each holdout item's true label: minus the logarithm of its probability.

    The classifier is softmax regression on hashed n-grams of words (`models/linear.py`), trained by a fixed number of
    passes over the plan's records, each as often as the plan repeats it; a thousand fits are affordable. Classes are
    those of the pool and of the holdout, so a class that a plan dropped costs it the nats it should. Records without a
    label teach nothing. Cost: 10 to 200 ms a trial of 10,000 short texts. Trap: it knows words and short phrases and
    no meaning beyond them, so what helps it may not help a fine-tuned model, and after many passes it has memorised
    wrong labels, which log-loss punishes more than accuracy does: look at `predict` with `metrics.macro_f1` and
    `metrics.calibration_error` before you conclude. Source: ours; the loss is the cross-entropy that classifiers train.

    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> from tilth.probes.label_noise import LabelNoise
    >>> world, holdout = (LabelNoise(flip=f).build(600, Run(seed=i)).pool for i, f in enumerate((0.3, 0.01)))
    >>> truth = np.array([t["flipped"] for t in world.column("truth").to_pylist()])
    >>> goal = Goal(holdout, holdout, Budget(400, "records"))
    >>> start = Plan.everything(world, goal.budget)
    >>> clean = start.revised({"use": "truth"}, "right labels only", keep=~truth)
    >>> losses = [Classify().trial(plan, world, goal, Run()).mean() for plan in (start, clean)]
    >>> bool(losses[1] < losses[0])
    True
    """

    unit: ClassVar[str] = "nats per item"
    kinds: ClassVar[tuple[Kind, ...]] = ("labeled",)

    records: int = Field(50_000, ge=10, description="records of the plan read in one trial, repeats counted")
    passes: int = Field(10, ge=1, le=1000, description="passes over the planned records")
    ngrams: int = Field(2, ge=1, le=5, description="longest n-gram of words that is a feature")
    buckets: int = Field(1 << 18, ge=16, le=1 << 26, description="columns that n-grams are hashed into")
    rate: float = Field(1.0, gt=0, le=100, description="step size of a feature's first step")
    l2: float = Field(1e-5, ge=0, le=1, description="strength of the penalty on squared weights")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "label")

    def smaller(self) -> Self:
        """Half the records."""
        return self.model_copy(update={"records": max(10, self.records // 2)})

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        log, names = self.predict(plan, pool, goal, run)
        truth, _ = encode_labels(goal.holdout.column("label").to_pylist(), names)
        return np.asarray(-log[np.arange(len(truth)), truth])

    def predict(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> tuple[npt.NDArray[np.float64], tuple[str, ...]]:
        """Log-probabilities (holdout items, classes) after training on the plan, and the classes' names.

        Raises:
            BadInput: when a holdout item has no label, or no planned record has one.
        """
        held = goal.holdout.column("label").to_pylist()
        if None in held:
            raise BadInput(f"classify needs a label for each holdout item; item {held.index(None)} has none.")
        names = tuple(sorted({v for v in pool.column("label").to_pylist() if v is not None} | set(held)))
        table = pool.take(_sampled(plan, self.records, run), ["text", "label"])
        labels, _ = encode_labels(table.column("label").to_pylist(), names)
        if not (labels >= 0).any():
            raise BadInput("classify has nothing to train on: no record of the plan has a label.")
        model = self._fitted(Rows.of(table.column("text"), self.ngrams, self.buckets), labels, len(names), run)
        return model.log_probabilities(Rows.of(goal.holdout.column("text"), self.ngrams, self.buckets)), names

    def _fitted(self, rows: Rows, labels: npt.NDArray[np.int64], classes: int, run: Run) -> Linear:
        known = (labels >= 0).astype(np.float64)
        after = epochs(
            rows, labels, classes, self.passes, run.rng("order"), weights=known, l2=self.l2, rate=self.rate
        )  # fmt: skip
        return [*after][-1]


def _sampled(plan: Plan, records: int, run: Run) -> npt.NDArray[np.int64]:
    """Row numbers, each as often as it is repeated: random records, by id, that make up about this many."""
    rows = np.flatnonzero(plan.kept)
    order = rows[np.argsort(run.uniform(plan.ids, "sample")[rows], kind="stable")]
    enough = int(np.searchsorted(np.cumsum(plan.repeats[order]), records)) + 1
    rows = np.sort(order[:enough])
    return np.repeat(rows, plan.repeats[rows])
