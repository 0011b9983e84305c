"""TRAK: how far would training on this record move the target's log-odds?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, field_validator

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.models.learner import Learner
from tilth.models.trak import attribute
from tilth.signals._by_id import ById
from tilth.signals.influence._target import target_of

__all__ = ["Trak"]


class Trak(Signal[ById]):
    """Estimated change of the target's mean log-odds for having trained on the record; negative: it does harm.

    Around its end, training is taken for logistic regression on gradients: those of the log-odds of a record's label in
    all of the model's weights, biases included, projected at random to `width` numbers. A record's score is Newton's
    step for it, ``phi_t' (Phi' Phi)^-1 phi_i (1 - p_i)``, averaged over the learner's seeds, each under its last model.
    The inverse is what `tracin` lacks: what many records say counts once, and each of two copies counts half. Scores
    add up to what a group of records does, which is how they are judged (`benchmarks/trak.py`); the target's weights
    count. More seeds help more than anything else.

    Linear and encoder learners only. Records without a label, and all of them where no item of the target has a label
    that the pool knows, get nulls. Cost: the learner's training, shared with `el2n` and the others; then gradients of
    all records once per seed, two bytes times `width` each, kept for whoever asks again; and records times `width`
    squared. Trap: a model that is sure of everything has no doubt ``1 - p`` left and scores are small numbers times
    noise; stop the learner before it has learnt the pool by heart. Source: Park et al. 2023, arXiv 2303.14186.

    >>> from tilth.core import Budget, Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world, clean = probe.build(600, Run()), LabelNoise(flip=0.001).build(100, Run(seed=1)).pool
    >>> scored = score_in_memory(Trak(), world.pool, Goal(clean, clean, Budget(1, "records")))
    >>> probe.grade(world, -scored.column("trak.score").to_numpy()) > 0.95  # wrong labels do harm
    True
    """

    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    learner: Learner = Field(default_factory=Learner, description="the models whose gradients are taken")
    width: int = Field(2048, ge=1, le=1 << 16, description="numbers that a gradient is projected to")
    ridge: float = Field(3.0, gt=0, le=1e6, description="added to the diagonal before inverting, in records' mean size")

    @field_validator("learner")
    @classmethod
    def _classifies(cls, value: Learner) -> Learner:
        if value.model == "lm":
            raise ValueError("trak measures the log-odds of labels; the model is linear or encoder")
        return value

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if goal is None:
            raise UsageError("trak measures the effect on the goal's target; state a goal.")
        learner = self.learner
        rows, _, names, _ = learner.subjects(pool)
        texts, labels, weights = target_of(goal, names) if rows.size else (pa.chunked_array([[""]]), rows, np.zeros(0))
        if not rows.size or not weights.sum():
            return ById.of(pool, rows[:0], {"score": np.zeros(0)})
        seen = learner.record(pool, run)  # trains on all processes what the gradients are of
        models = []
        for seed in run.track(range(learner.seeds), "trak: gradients"):
            ours = learner.features(self.width, pool, run, seed)
            last = learner.snapshot(learner.passes - 1, pool, run, seed)
            theirs = last.features(texts, labels, self.width, run).astype(np.float64)
            models.append((ours, 1.0 - seen.gold[seed, -1].astype(np.float64), weights[None] @ theirs / weights.sum()))
        return ById.of(pool, rows, {"score": attribute(models, self.ridge)[:, 0]})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
