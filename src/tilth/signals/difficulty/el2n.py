"""EL2N: how wrong is a model about a record early in training?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.learner import Learner
from tilth.signals._by_id import ById, over_seeds

__all__ = ["El2n"]


class El2n(Signal[ById]):
    """Length of the error vector, ``|probabilities - onehot(label)|``, after a few passes, averaged over trainings.

    0 is certain and right, the square root of 2 certain and wrong. ``score`` is the mean over the learner's seeds,
    ``spread`` their standard deviation (null for one seed): where it is large, one training alone says little. High
    scores are hard records and wrong labels; low ones teach nothing new. To prune, drop the lowest, and where labels
    are doubtful the very highest first.

    With ``learner: {model: lm}`` it is the mean over a text's tokens, and no label is needed. Records without a label
    (or text) get nulls. Cost: that of training the learner, shared with `cartography` and the others.
    Trap: a model that has memorised its data is wrong about nothing, wrong labels included, so the score is taken
    early (`after`), never from a finished model; rare classes look hard, so prune by class. Source: Paul et al. 2021,
    arXiv 2107.07075; on text, Fayyaz et al. 2022, arXiv 2211.05610.

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1, words=12)
    >>> world = probe.build(600, Run())
    >>> early, late = (
    ...     score_in_memory(El2n(after=n, learner=Learner(passes=n)), world.pool).column("el2n.score").to_numpy()
    ...     for n in (2, 100)
    ... )
    >>> bool(early.mean() > 0.3), bool(late.mean() < 0.05)  # the trap: who has memorised its data errs on nothing
    (True, True)
    >>> probe.grade(world, early) > 0.98, probe.grade(world, late) < 0.96  # and knows less well which labels are wrong
    (True, True)
    """

    paper: ClassVar[str] = "deep_learning_on_a_data_diet"

    learner: Learner = Field(default_factory=Learner, description="the model whose errors are measured")
    after: int = Field(2, ge=1, le=1000, description="passes after which they are measured; at most the learner's")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32(), "spread": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        seen = self.learner.record(pool, run)
        error = seen.error[:, min(self.after, self.learner.passes) - 1]
        return ById.of(pool, seen.rows, over_seeds(error))

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
