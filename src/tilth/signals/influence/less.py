"""LESS: would the optimizer's own step on this record move the model the way one of the target's parts asks for?"""

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
from tilth.signals.influence._target import parts_of

__all__ = ["Less"]


class Less(Signal[ById]):
    """Cosine of the optimizer's step on a record with the target's gradients, over checkpoints weighted by step size.

    A record's gradient is turned into the step that the optimizer would make of it, by its moments as they stood at the
    checkpoint; the target's gradients stay as they are. The score is the mean cosine with the target's items (their
    weights count), summed over the passes of the learner's first seed with each pass's share of the learning rate.
    Where a column ``goal`` names several targets, it is the highest of theirs: a record that serves one of them well
    beats one that serves all a little.

    A step is the last layer's gradient over the roots of the optimizer's second moments: exact for a linear learner,
    whose AdaGrad has no schedule either, so that its passes count alike; Adam's for an encoder; and for a language
    model (``learner: {model: lm}``) taken to be of rank one, so that gradients can be sketched to 2,048 numbers. Not
    kept of the paper: Adam's first moment, which is one vector for all records, made by the last few batches (with it
    wrong labels were found worse, area 0.97 against 0.99); LoRA and a warm-up on a part of the data, as the learner
    trains on the pool itself in seconds; the layers below; clipping.

    Records without a label (or text), and all of them where no item of the target has a label that the pool knows, get
    nulls. Cost: as `tracin`, the learner's training shared with it and the others. Trap: a cosine forgets how much a
    record teaches: what is known by heart counts as much as what is new. And what moments do for a linear model is to
    make rare words count: misspelt names, too. Source: Xia et al. 2024, arXiv 2402.04333.

    >>> from tilth.core import Budget, Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world, clean = probe.build(600, Run()), LabelNoise(flip=0.001).build(100, Run(seed=1)).pool
    >>> scored = score_in_memory(Less(), world.pool, Goal(clean, clean, Budget(1, "records")))
    >>> probe.grade(world, -scored.column("less.score").to_numpy()) > 0.98  # wrong labels are the lowest
    True
    """

    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    learner: Learner = Field(default_factory=Learner, description="the model whose steps are compared")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if goal is None:
            raise UsageError("less compares records with the goal's target; state a goal.")
        learner = self.learner
        rows, _, names, _ = learner.subjects(pool)
        parts = [part for part in parts_of(goal, names, learner.longest) if part[2].sum()] if rows.size else []
        if not parts:
            return ById.of(pool, rows[:0], {"score": np.zeros(0)})
        learner.record(pool, run)  # trains on all processes what the checkpoints are of
        rates = learner.rates()
        score = np.zeros((len(parts), rows.size))
        for number in run.track(range(learner.passes), "less: checkpoints"):
            model, ours = learner.snapshot(number, pool, run), learner.steps(number, pool, run)
            lengths = np.maximum(ours.lengths, 1e-12)
            for i, (texts, labels, weights) in enumerate(parts):
                theirs = model.gradients(texts, labels, run)
                unit = weights / np.maximum(theirs.lengths, 1e-12)
                scale = np.abs(unit).sum() / weights.sum()  # `mean` divides by what the weights add up to
                score[i] += rates[number] / rates.sum() * scale * ours.along(theirs.mean(unit)) / lengths
        return ById.of(pool, rows, {"score": score.max(0)})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
