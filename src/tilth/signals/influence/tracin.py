"""TracIn: would a step on this record have lowered the target's loss?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.models.learner import Learner
from tilth.signals._by_id import ById
from tilth.signals.influence._target import target_of

__all__ = ["Tracin"]


class Tracin(Signal[ById]):
    """Inner product of a record's gradient with the target's mean gradient, summed over checkpoints of a training.

    Positive: to first order, a step on the record lowers the target's loss; negative: it raises it. ``score`` is the
    sum over the passes of the learner's first seed, ``cosine`` the same with each gradient at length 1, so that long
    gradients, those of hard and wrong records, do not decide: in the example it finds nearly all wrong labels.
    Gradients are those of the last layer: exact for classifiers (less the bias, which would drown the rest), for a
    language model (``learner: {model: lm}``) sketched to 2,048 numbers. Step sizes are left out: all passes count
    alike. The target's weights count.

    Records without a label (or text), and all of them where no item of the target has a label that the pool knows, get
    nulls. Cost: that of training the learner, shared with `el2n` and the others, and one pass over the pool for each
    checkpoint. Trap: a step is not a training: influence of the whole, of groups and of duplicates is not the sum; and
    similar wording has a high score whether it is needed or not. Source: Pruthi et al. 2020, arXiv 2002.08484.

    >>> from tilth.core import Budget, Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world, clean = probe.build(600, Run()), LabelNoise(flip=0.001).build(100, Run(seed=1)).pool
    >>> scored = score_in_memory(Tracin(), world.pool, Goal(clean, clean, Budget(1, "records")))
    >>> cosine, score = (probe.grade(world, -scored.column(f"tracin.{c}").to_numpy()) for c in ("cosine", "score"))
    >>> cosine > 0.99, 0.75 < score < cosine
    (True, True)
    """

    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    learner: Learner = Field(default_factory=Learner, description="the model whose gradients are compared")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32(), "cosine": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if goal is None:
            raise UsageError("tracin measures the effect on the goal's target; state a goal.")
        rows, _, names, _ = self.learner.subjects(pool)
        texts, labels, weights = target_of(goal, names, self.learner.longest)
        score, cosine = np.zeros(rows.size), np.zeros(rows.size)
        if not rows.size or not weights.sum():
            return ById.of(pool, rows[:0], {"score": score[:0], "cosine": cosine[:0]})
        self.learner.record(pool, run)  # trains on all processes what the checkpoints are of
        for number in run.track(range(self.learner.passes), "tracin: checkpoints"):
            theirs = self.learner.snapshot(number, pool, run).gradients(texts, labels, run)
            ours = self.learner.gradients(number, pool, run)
            score += ours.along(theirs.mean(weights))
            unit = weights / np.maximum(theirs.lengths, 1e-12)
            scale = np.abs(unit).sum() / weights.sum()  # `mean` divides by what the weights add up to
            cosine += scale * ours.along(theirs.mean(unit)) / np.maximum(ours.lengths, 1e-12)
        return ById.of(pool, rows, {"score": score, "cosine": cosine / self.learner.passes})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
