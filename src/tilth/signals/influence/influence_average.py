"""InfluenceAverage: does a step on this record help the rest of the pool, at each stage of training?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.learner import Learner
from tilth.signals._by_id import ById

__all__ = ["InfluenceAverage"]


class InfluenceAverage(Signal[ById]):
    """Mean cosine between a record's gradient and those of all records, after each pass: the influence curriculum's.

    ``by_pass`` holds one number per pass of the learner's first seed, ``mean`` their mean. 1 would be a record whose
    gradient is everybody's; noise and wrong labels have near none, or less. The mean over all pairs takes one pass over
    the pool, not one per pair, as the mean of unit gradients is found first. Gradients are those of the last layer:
    exact for classifiers, sketched to 2,048 numbers for a language model (``learner: {model: lm}``).

    Records without a label (or text) get nulls. Cost: that of training the learner, shared with `el2n` and the others,
    and one pass over the pool for each checkpoint. Trap: it favours whatever there is most of, so a policy that keeps
    the highest loses the small domains. Source: influence-driven curriculum learning, arXiv 2508.15475, which takes
    gradients of the input embeddings.

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world = probe.build(600, Run())
    >>> scored = score_in_memory(InfluenceAverage(), world.pool)
    >>> probe.grade(world, -scored.column("influence_average.mean").to_numpy()) > 0.95
    True
    """

    paper: ClassVar[str] = "influencedriven_curriculum_learning_for_pretraining_on"

    learner: Learner = Field(default_factory=Learner, description="the model whose gradients are compared")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"mean": pa.float32(), "by_pass": pa.list_(pa.float32())}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        rows, *_ = self.learner.subjects(pool)
        found = np.zeros((rows.size, self.learner.passes))
        if rows.size:
            self.learner.record(pool, run)  # trains on all processes what the checkpoints are of
            for number in run.track(range(self.learner.passes), "influence_average: checkpoints"):
                gradients = self.learner.gradients(number, pool, run)
                lengths = np.maximum(gradients.lengths, 1e-12)
                scale = (1 / lengths).mean()  # `mean` divides by what the weights add up to
                found[:, number] = scale * gradients.along(gradients.mean(1 / lengths)) / lengths
        return ById.of(pool, rows, {"mean": found.mean(1), "by_pass": found.astype(np.float32)})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
