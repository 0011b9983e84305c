"""GPTfluence: what a simulator of training, fitted to a few recorded runs, says the record does to the target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.models.encoder import StaticEncoder
from tilth.models.gptfluence import Curves, fit
from tilth.models.learner import labelled
from tilth.models.linear import Rows, pieces
from tilth.signals._by_id import ById
from tilth.signals.influence._target import target_of

__all__ = ["Gptfluence"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


class Gptfluence(Signal[ById]):
    """Fall of the target's simulated final loss for a record's being in a batch; negative: the loss would rise.

    A linear classifier is trained `runs` times on random orders of the pool, with the losses of some of the target's
    items written down after every batch. A simulator is fitted to the curves (`models/gptfluence.py`): from vectors of
    a record and an item, both made of the words and the label, to what the record does to the item's loss in one step.
    The score is what that makes of the loss at the end of a run, mean of the steps at which the record might be read
    and of the items (their weights count). It is a pre-screen: no gradient is taken, and records that no run has read
    are scored as well.

    Records without a label, and all of them where no item of the target has a label that the pool knows, get nulls.
    Cost: `runs` trainings of `steps` batches, a thousand steps a second, and the fit, a second or two; a product per
    record and item. Trap: what the vectors do not show cannot be learned, and few runs teach little: more `passes` fit
    the recorded runs better and the scores worse. A linear classifier's curves are not a language model's; for one of
    those see `docs/claims/chai2024_gptfluence.md`. Source: Chai et al. 2024, arXiv 2404.07840.

    >>> from tilth.core import Budget, Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world, clean = probe.build(600, Run()), LabelNoise(flip=0.001).build(100, Run(seed=1)).pool
    >>> scored = score_in_memory(Gptfluence(), world.pool, Goal(clean, clean, Budget(1, "records")))
    >>> probe.grade(world, -scored.column("gptfluence.score").to_numpy()) > 0.9  # wrong labels raise the loss
    True
    """

    paper: ClassVar[str] = "on_training_data_influence_of_gpt"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    runs: int = Field(24, ge=2, le=1000, description="trainings that are recorded")
    steps: int = Field(40, ge=2, le=10_000, description="batches of a training")
    batch: int = Field(4, ge=1, le=1024, description="records of a batch")
    items: int = Field(100, ge=1, le=10_000, description="items of the target whose losses are recorded, at most")
    order: int = Field(1, ge=1, le=8, description="losses before a step that the loss after it is told from")
    passes: int = Field(30, ge=1, le=10_000, description="passes over the recorded steps when the simulator is fitted")
    width: int = Field(16, ge=2, le=512, description="numbers of a text's vector, learned from the pool")
    ngrams: int = Field(1, ge=1, le=5, description="longest n-gram of words that is a feature of the classifier")
    buckets: int = Field(1 << 16, ge=16, le=1 << 26, description="columns that n-grams are hashed into")
    rate: float = Field(0.3, gt=0, le=100, description="the classifier's step size of a feature's first step")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "label")

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float64()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if goal is None:
            raise UsageError("gptfluence simulates the loss on the goal's target; state a goal.")
        rows, labels, names, texts = labelled(pool)
        held, wanted, weights = target_of(goal, names) if rows.size else (texts, labels, np.zeros(0))
        if not rows.size or not weights.sum():
            return ById.of(pool, rows[:0], {"score": np.zeros(0)})
        some = np.sort(run.rng("items").permutation(wanted.size)[: self.items])
        held, wanted, weights = held.take(pa.array(some)), wanted[some], weights[some]
        encoder = StaticEncoder.train(texts, run.at("vectors"), width=self.width)
        ours, theirs = (
            vectors(encoder.encode(t).astype(np.float64), y, len(names), run)
            for t, y in ((texts, labels), (held, wanted))
        )
        curves = self.record(Rows.of(texts, self.ngrams, self.buckets), labels, len(names),
                             Rows.of(held, self.ngrams, self.buckets), wanted, run)  # fmt: skip
        simulator = fit(curves, ours, theirs, run.rng("fit"), order=self.order, passes=self.passes)
        moved = simulator.influence(curves, ours, theirs, ours)
        shares = weights / weights.sum() if weights.sum() else np.full(some.size, 1 / some.size)
        return ById.of(pool, rows, {"score": -(moved @ shares)})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))

    def record(self, rows: Rows, labels: Ints, classes: int, theirs: Rows, wanted: Ints, run: Run) -> Curves:
        """Batches and losses of the items of every run; each reads the records in orders of its own."""
        places, losses = [], []
        for number in run.track(range(self.runs), "gptfluence: recorded runs"):
            rng = run.rng("order", number)
            need = self.steps * self.batch
            order = np.concatenate([rng.permutation(labels.size) for _ in range(-(-need // labels.size))])[:need]
            places.append(order.reshape(self.steps, self.batch))
            curve = [np.full(wanted.size, np.log(classes))]  # weights start at 0: all classes are as likely
            for model in pieces(rows, labels, classes, places[-1], rate=self.rate):
                curve.append(-model.log_probabilities(theirs)[np.arange(wanted.size), wanted])
            losses.append(np.stack(curve))
        return Curves(np.stack(places), np.stack(losses))


def vectors(texts: Floats, labels: Ints, classes: int, run: Run, longest: int = 512) -> Floats:
    """Of a text and its label: the text's, and a constant, once per class, zeros but for its own; shortened if long.

    Two that share a label have inner products as their texts, two that do not have none.
    """
    whole = np.concatenate([texts, np.ones((len(texts), 1))], 1)
    width = whole.shape[1]
    if classes * width <= longest:
        out = np.zeros((len(texts), classes, width))
        out[np.arange(labels.size), labels] = whole
        return out.reshape(len(texts), -1)
    signs = run.rng("signs").integers(0, 2, (classes, longest)) * 2.0 - 1.0
    mixed = run.rng("mixed").normal(size=(width, longest)) / np.sqrt(longest)
    return np.asarray((whole @ mixed) * signs[labels])
