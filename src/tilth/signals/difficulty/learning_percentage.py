"""LearningPercentage: how much of what a model ever learns of a record does it learn early?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.models.learner import Learner
from tilth.signals._by_id import ById

__all__ = ["LearningPercentage", "percentages"]

Floats = npt.NDArray[np.float64]


class LearningPercentage(Signal[ById]):
    """Share of a record's drop in perplexity that an early pass brings: near 1 is learnt at once, near 0 late.

    With P0 the perplexity of the record's label (or of its text) before training, Pa after pass `after` and Pn after
    the last, ``score`` is (P0 - Pa) / (P0 - Pn), held within 0 and 1, the mean over the learner's seeds that learn it,
    and ``spread`` their standard deviation (null for one). ``approx`` is (P0 - Pa) / P0, which needs no later pass, and
    ``drop`` is the mean of log(P0 / Pn), the nats learnt in all. A record that no seed has learnt by the end has no
    share: null, and a negative drop. The paper keeps the lowest of each cluster of like records.

    With ``learner: {model: lm}`` it is the text that is learnt, and no label is needed; all of it counts, also the
    prompts of dialogues, which the paper leaves out. There P0 is near the vocabulary's size and the first pass brings
    nearly all of it, so ``of: loss`` spreads the scores better. Records without a label (or text) get nulls. Cost: that
    of training the learner, shared with `el2n` and the others. Trap: wrong labels that are learnt by heart in the end
    are the lowest of all, so they must be out before the lowest are taken (the example); those that never are have no
    share, or one near 1. And hard is not good: in the claim `mekala2024_learning_percentage` the order transfers from a
    small to a larger model, but its lowest third teaches less than a random one. Source: Mekala et al. 2024, arXiv
    2402.10430.

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1, words=12)
    >>> world = probe.build(600, Run())
    >>> scored = score_in_memory(LearningPercentage(learner=Learner(passes=60)), world.pool)
    >>> probe.grade(world, -scored.column("learning_percentage.score").to_numpy()) > 0.95  # the trap: wrong is low
    True
    """

    paper: ClassVar[str] = "smaller_language_models_are_capable_of"

    learner: Learner = Field(default_factory=Learner, description="the model that is watched")
    after: int = Field(1, ge=1, le=1000, description="the early pass; at most the learner's last but one")
    of: Literal["perplexity", "loss"] = Field("perplexity", description="whose drop it is; the loss is its logarithm")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32(), "spread": pa.float32(), "approx": pa.float32(), "drop": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if self.after >= self.learner.passes:
            raise UsageError(
                f"learning_percentage compares pass {self.after} with a later one, and the learner makes "
                f"{self.learner.passes}. State more `passes` or a smaller `after`."
            )
        seen = self.learner.record(pool, run)
        return ById.of(pool, seen.rows, percentages(seen.loss, self.after, self.of))

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))


def percentages(
    loss: npt.ArrayLike, after: int = 1, of: Literal["perplexity", "loss"] = "perplexity"
) -> dict[str, Floats]:
    """The columns, (n,) each, from losses (seeds, 1 + passes, n), the first of them before training.

    >>> found = percentages(np.log([[[8.0, 8.0, 8.0], [3.0, 7.0, 9.0], [2.0, 4.0, 10.0]]]))
    >>> found["score"].round(3).tolist(), found["approx"].round(3).tolist()
    ([0.833, 0.25, nan], [0.625, 0.125, -0.125])
    """
    nats = np.asarray(loss, np.float64)
    height = np.exp(nats) if of == "perplexity" else nats
    start, early, end = height[:, 0], height[:, after], height[:, -1]
    learnt = end < start
    share = np.divide(start - early, start - end, out=np.full_like(start, np.nan), where=learnt).clip(0, 1)
    known = np.where(learnt.any(0), learnt.sum(0), np.nan)  # a record that no seed learns has no mean
    mean = np.nansum(share, 0) / known
    spread = np.sqrt(np.nansum((share - mean) ** 2, 0) / known)
    return {
        "score": mean,
        "spread": np.where(known > 1, spread, np.nan),
        "approx": np.mean((start - early) / start, 0),
        "drop": (nats[:, 0] - nats[:, -1]).mean(0),
    }
