"""Texts of a few classes, some of them with a wrong label."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core.errors import DataError
from tilth.core.plan import Plan
from tilth.core.pool import TablePool
from tilth.core.probe import Probe, World
from tilth.core.run import Run

__all__ = ["LabelNoise"]

VOCABULARY = 2000
CLASS_WORDS = 100


class LabelNoise(Probe):
    """A labelled world in which a known share of the labels is wrong: who finds them?

    Each class has its own hundred words; a text mixes them with words that all classes share, so the true class shows
    in the text as clearly as `clarity` says. Labels are then flipped, each to another class at random. The truth is
    ``truth.flipped`` and the right label, ``truth.label``.

    The mark is the area under the ROC curve of a column that should be high on flipped labels: 1 ranks every flipped
    record above every clean one, **chance is 0.5**. Records without a value rank last. A plan is graded by what it
    dropped. Trap: flips are uniform here; people confuse classes that are alike, which is harder to find.

    >>> from tilth.core import Run
    >>> probe = LabelNoise(flip=0.1)
    >>> world = probe.build(200, Run())
    >>> truth = world.pool.column("truth").to_pylist()
    >>> labels = world.pool.column("label").to_pylist()
    >>> sum(t["flipped"] for t in truth), sum(t["label"] != given for t, given in zip(truth, labels))
    (20, 20)
    >>> probe.grade(world, [t["flipped"] for t in truth]), probe.grade(world, [0] * 200)
    (1.0, 0.5)
    """

    classes: int = Field(4, ge=2, le=50, description="number of classes, all equally frequent")
    flip: float = Field(0.15, gt=0, le=0.5, description="share of records whose label is wrong")
    words: int = Field(30, ge=1, description="mean length of a text in words")
    clarity: float = Field(0.3, gt=0, le=1, description="share of a text's words that come from its class")

    def build(self, size: int, run: Run) -> World:
        rng = run.rng("label_noise")
        label = rng.permutation(np.arange(size) % self.classes)
        flipped = np.zeros(size, bool)
        flipped[rng.permutation(size)[: max(1, round(self.flip * size))]] = True
        given = np.where(flipped, (label + rng.integers(1, self.classes, size)) % self.classes, label)
        texts = [self._text(int(c), rng) for c in label]
        names = np.array([f"class{c}" for c in range(self.classes)])
        truth = pa.StructArray.from_arrays([pa.array(flipped), pa.array(names[label])], ["flipped", "label"])
        table = {"text": pa.array(texts, pa.string()), "label": pa.array(names[given]), "truth": truth}
        return World(TablePool(pa.table(table), "labeled"))

    def _text(self, label: int, rng: np.random.Generator) -> str:
        count = 1 + int(rng.poisson(self.words - 1))
        # Frequencies fall like 1 / rank, as in real text, among the shared words and within each class.
        shared = np.floor(VOCABULARY ** rng.random(count)).astype(int)
        own = np.floor(CLASS_WORDS ** rng.random(count)).astype(int)
        return " ".join(
            f"c{label}w{o}" if mine else f"w{s}"
            for s, o, mine in zip(shared, own, rng.random(count) < self.clarity, strict=True)
        )

    def grade(self, world: World, answer: Any) -> float:
        flipped = np.asarray(pc.struct_field(world.pool.column("truth"), "flipped").to_pylist(), bool)
        score = ~answer.kept if isinstance(answer, Plan) else _numbers(answer)
        if score.size != flipped.size or flipped.all() or not flipped.any():
            raise DataError(
                f"label_noise grades one value per record of a world with flipped and clean labels. Got {score.size} "
                f"values for {flipped.size} records, {int(flipped.sum())} of them flipped."
            )
        return _auroc(np.asarray(score, float), flipped)


def _numbers(values: Any) -> npt.NDArray[np.float64]:
    rows = values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else list(values)
    return np.array([-np.inf if v is None or v != v else float(v) for v in rows], float)


def _auroc(score: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]) -> float:
    """Probability that a positive scores above a negative, ties counted half."""
    from scipy.stats import rankdata

    n, wins = int(positive.sum()), float(rankdata(score)[positive].sum())
    return (wins - n * (n + 1) / 2) / (n * (positive.size - n))
