"""LabelIssues: which labels do models that never saw the record contradict?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.learner import labelled
from tilth.models.linear import Rows, epochs
from tilth.signals._by_id import ById

__all__ = ["LabelIssues"]

Reals = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class LabelIssues(Signal[ById]):
    """Confident learning: a label is doubtful when classifiers trained without the record are sure of another one.

    The labelled records are split into folds; each is judged by a classifier trained on the others. From these
    probabilities come ``self_confidence``, that of the record's own label, ``margin``, that less the largest other
    one, and ``normalized``, self-confidence less the class's mean self-confidence, which treats classes that are hard
    as a whole more fairly. ``expected`` is the likeliest label among those whose probability is at least as large as
    it is, on average, for records that carry that label (null where there is none); ``off`` says that it is another
    label than the record's: such records are the off-diagonal of the confident joint, which needs no threshold. With a
    tenth of the labels of three real sets changed, it named a tenth of the records or less and 63 to 75 % of those were
    wrong (`benchmarks/label_noise.py`).

    Records without a label get nulls. Cost: `folds` trainings of softmax regression on hashed n-grams;
    seconds for 20,000 sentences. Trap: it finds labels that the text contradicts, so a text that says little is never
    found out, and a systematic mistake is learnt as the rule. A record whose copy is in another fold has been seen.
    Source: Northcutt et al. 2021,
    arXiv 1911.00068 (the package cleanlab gives the same columns from the same probabilities).

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world = probe.build(600, Run())
    >>> scored = score_in_memory(LabelIssues(), world.pool)
    >>> probe.grade(world, -scored.column("label_issues.self_confidence").to_numpy()) > 0.95
    True
    >>> truth = [t["flipped"] for t in world.pool.column("truth").to_pylist()]
    >>> off = scored.column("label_issues.off").to_pylist()
    >>> sum(truth), sum(off), sum(a and b for a, b in zip(off, truth))  # not all of them, but no other
    (60, 43, 43)
    """

    folds: int = Field(5, ge=2, le=100, description="parts that the records are split into")
    passes: int = Field(6, ge=1, le=1000, description="passes over the records of a training")
    ngrams: int = Field(1, ge=1, le=5, description="longest n-gram of words that is a feature")
    buckets: int = Field(1 << 18, ge=16, le=1 << 26, description="columns that n-grams are hashed into")
    rate: float = Field(0.3, gt=0, le=100, description="step size of a feature's first step")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text", "label")

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {
            "self_confidence": pa.float32(),
            "margin": pa.float32(),
            "normalized": pa.float32(),
            "expected": pa.string(),
            "off": pa.bool_(),
        }

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        rows, labels, names, texts = labelled(pool)
        if not rows.size:
            return ById.of(pool, rows, confident(np.zeros((0, 1), np.float32), labels, ()))
        p = self.out_of_fold(Rows.of(texts, self.ngrams, self.buckets), labels, len(names), run)
        return ById.of(pool, rows, confident(p, labels, names))

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))

    def out_of_fold(self, rows: Rows, labels: Ints, classes: int, run: Run) -> Reals:
        """Probabilities, (n, classes), of each record by the classifier that was trained without its fold."""
        fold = run.rng("folds").permutation(np.arange(labels.size) % self.folds)
        out = np.zeros((labels.size, classes), np.float32)
        for number in run.track(range(min(self.folds, labels.size)), "folds"):
            others = (fold != number).astype(np.float64)
            after = epochs(
                rows, labels, classes, self.passes, run.rng("order", number), weights=others, rate=self.rate
            )  # fmt: skip
            *_, model = after
            out[fold == number] = model.probabilities(rows.take(np.flatnonzero(fold == number)))
        return out


def confident(probabilities: Reals, labels: Ints, names: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
    """The signal's columns from probabilities (n, classes) of records by models that have not seen them."""
    n, classes = probabilities.shape
    own = probabilities[np.arange(n), labels].astype(np.float64)
    others = probabilities.copy()
    others[np.arange(n), labels] = -1
    counts = np.bincount(labels, minlength=classes)
    usual = np.bincount(labels, own, classes) / np.maximum(counts, 1)
    usual[counts == 0] = np.inf  # nothing can be confidently of a class that no record carries
    sure = np.where(probabilities >= usual, probabilities, -1)
    best = sure.argmax(1)
    found = sure[np.arange(n), best] >= 0
    expected = np.array([*names, None], object)[np.where(found, best, classes)]
    return {
        "self_confidence": own,
        "margin": own - others.max(1),
        "normalized": own - usual[labels],
        "expected": expected,
        "off": found & (best != labels),
    }
