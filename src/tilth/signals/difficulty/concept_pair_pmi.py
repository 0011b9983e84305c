"""Concept-pair PMI: do a record's concepts usually go together?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Fragment, Goal, Pool, Run, Signal
from tilth.models.mentions import Phrases

__all__ = ["ConceptPairPmi", "PairTable"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class PairTable:
    """What the pool says about the concepts.

    Attributes:
        phrases: the concepts by number.
        units: how many records or sentences there are.
        counts: (concepts, concepts) units with both; on the diagonal, with the one.
        pmi: (concepts, concepts) in nats; meaningless on the diagonal.
    """

    phrases: Phrases
    units: int
    counts: Ints
    pmi: Floats


class ConceptPairPmi(Signal[PairTable]):
    """Pointwise mutual information, in the pool, of the pairs of listed concepts that a record brings together.

    PMI(a, b) = ln p(a, b) / (p(a) p(b)), with p the share of records (or sentences) that mention a concept or both. It
    is 0 for concepts that meet as often as chance wants, whatever their frequency, and low for rare combinations of
    common things: what a model is asked to compose rather than recall. Counts are smoothed by adding `smoothing` to
    each, so a pair that never meets is low and finite, the lower the more often its concepts occur.

    `pairs` is the number of pairs in the record, `lowest` and `mean` their PMI, null without a pair. Choosing records
    of low PMI raises that PMI: fit again on what was chosen.

    Cost: reads the pool twice, about 10 MB/s a core, and holds concepts times concepts numbers. Trap: long records
    bring everything together; use ``window: sentence``. PMI of rare concepts is luck: give concepts that occur some ten
    times. Words are not inflected: list spellings, as in ``mouse|mice``. Source: word co-occurrence in pretraining and
    compositional generalisation (arXiv 2507.08000).

    >>> import pyarrow as pa
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> usual = ["A red apple.", "A yellow lemon."] * 20
    >>> pool = TablePool(pa.table({"text": [*usual, "A red lemon.", "Lemons."]}))
    >>> signal = ConceptPairPmi(concepts=("red", "yellow", "apple|apples", "lemon|lemons"))
    >>> values = score_in_memory(signal, pool).column("concept_pair_pmi.lowest").to_pylist()
    >>> values[0] > 0 > values[-2], values[-1]
    (True, None)
    """

    paper: ClassVar[str] = "impact_of_pretraining_word_cooccurrence_on"

    concepts: tuple[str, ...] = Field(
        examples=[("soil", "rain", "seed|seeds")], min_length=2, description="the concepts; spellings of one: a|b"
    )
    window: Literal["record", "sentence"] = Field("record", description="within what two concepts go together")
    smoothing: float = Field(0.5, gt=0, le=100, description="added to every count")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"pairs": pa.int32(), "lowest": pa.float32(), "mean": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> PairTable:
        phrases = Phrases.of([concept.split("|") for concept in self.concepts])
        size = len(self.concepts)
        parts = run.map(partial(_counts, phrases, size, self.window), pool.fragments(), "count")
        counts = np.sum([c for _, c in parts], axis=0) if parts else np.zeros((size, size), np.int64)
        units = sum(n for n, _ in parts)
        total, single = units + self.smoothing, np.diag(counts) + self.smoothing
        pmi = np.log((counts + self.smoothing) * total / np.outer(single, single))
        return PairTable(phrases, units, counts, pmi)

    def score(self, batch: pa.RecordBatch, state: PairTable, run: Run) -> Columns:
        owner, texts = _units(batch.column("text"), self.window)
        unit, ids = state.phrases.find(texts)
        first, second, where = _pairs(unit, ids)
        size, record = len(self.concepts), owner[where]
        found = np.unique((record * size + first) * size + second)  # a pair counts once in a record
        record, values = found // size**2, state.pmi[found // size % size, found % size]
        count = np.bincount(record, minlength=batch.num_rows)
        lowest = np.full(batch.num_rows, np.inf)
        np.minimum.at(lowest, record, values)
        mean = np.bincount(record, values, batch.num_rows) / np.maximum(count, 1)
        none = count == 0
        return {
            "pairs": count,
            "lowest": pa.array(lowest.astype(np.float32), mask=none),
            "mean": pa.array(mean.astype(np.float32), mask=none),
        }


def _units(texts: pa.Array, window: str) -> tuple[Ints, pa.Array]:
    """Records or their sentences, and the record of each."""
    texts = pc.fill_null(texts, "")
    if window == "record":
        return np.arange(len(texts)), texts
    parts = pc.split_pattern_regex(texts, r"[.!?][\s]+|\n+")
    return pc.list_parent_indices(parts).to_numpy(zero_copy_only=False).astype(np.int64), pc.list_flatten(parts)


def _pairs(unit: Ints, ids: Ints) -> tuple[Ints, Ints, Ints]:
    """All pairs of concepts of one unit, the smaller number first, and their units."""
    first, second, where = [], [], []
    step = 1
    while step < max(1, unit.size):  # the concepts of a unit stand together: pair each with the step-th after it
        same = np.flatnonzero(unit[:-step] == unit[step:])
        if not same.size:
            break
        first.append(ids[same])
        second.append(ids[same + step])
        where.append(unit[same])
        step += 1
    empty = [np.zeros(0, np.int64)]
    return np.concatenate(empty + first), np.concatenate(empty + second), np.concatenate(empty + where)


def _counts(phrases: Phrases, size: int, window: str, fragment: Fragment) -> tuple[int, Ints]:
    units, counts = 0, np.zeros((size, size), np.int64)
    for batch in fragment.batches(["text"]):
        owner, texts = _units(batch.column("text"), window)
        units += owner.size
        unit, ids = phrases.find(texts)
        first, second, _ = _pairs(unit, ids)
        np.add.at(counts, (first, second), 1)
        np.add.at(counts, (second, first), 1)
        np.add.at(counts, (ids, ids), 1)
    return units, counts
