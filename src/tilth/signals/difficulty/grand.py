"""GraNd: how far would one step on a record move the model?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.learner import Learner
from tilth.signals._by_id import ById, over_seeds

__all__ = ["Grand"]


class Grand(Signal[ById]):
    """Length of the last layer's gradient on a record early in training, averaged over trainings.

    The gradient of a softmax layer is the error times the layer's input, so its length is the product of theirs: no
    backward pass is made. ``score`` is the mean over the learner's seeds, ``spread`` their standard deviation (null for
    one seed). For the linear learner every text's features have one length, so the score is `el2n` times the square
    root of 2; it says more with ``learner: {model: encoder}``. With ``learner: {model: lm}`` it is the mean over a
    text's tokens, no label is needed, and it is `el2n` times a constant again, as hidden states are normed.

    Records without a label (or text) get nulls. Cost: that of training the learner, shared with `el2n` and the others.
    Trap: the layers below are left out; and taken at initial weights, where replications found it weak, it says how
    long a text's features are. Source: Paul et al. 2021, arXiv 2107.07075; the last layer as a stand-in, ours by the
    closed form.

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world = probe.build(600, Run())
    >>> probe.grade(world, score_in_memory(Grand(), world.pool).column("grand.score").to_numpy()) > 0.95
    True
    """

    paper: ClassVar[str] = "deep_learning_on_a_data_diet"

    learner: Learner = Field(default_factory=Learner, description="the model whose gradients are measured")
    after: int = Field(2, ge=1, le=1000, description="passes after which they are measured; at most the learner's")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32(), "spread": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        seen = self.learner.record(pool, run)
        at = min(self.after, self.learner.passes) - 1
        return ById.of(pool, seen.rows, over_seeds(seen.error[:, at] * seen.size[:, at]))

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
