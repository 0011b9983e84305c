"""RAG importance: is a source of passages worth retrieving from?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.core.records import Kind
from tilth.kernels.features import hashed_rows
from tilth.kernels.multilinear import ascend
from tilth.models.bm25 import BM25

__all__ = ["RagImportance"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
GRAMS, BUCKETS = 2, 1 << 24


class RagImportance(Signal[dict[str, tuple[float, int]]]):
    """How much a source's passages add to the answers of the target's queries: 0 is better removed, 1 is kept.

    The pool's passages are indexed (BM25), and each query of the target retrieves its first `depth`. A passage's
    utility for a query is the share of the words and word pairs of the known answer (`positive`) that it contains; a
    reader of the first `k` passages gets the mean of their utilities. Each source is then given a probability to be
    present, and projected gradient ascent on the expected utility moves it from 0.5; where it ends is the importance.
    A passage counts by what it pushes out: one that answers worse than the next in line is bad, and one below the first
    `k` is judged too, though leaving it out alone would change nothing.

    `importance` is null for sources that no query retrieves: unknown, not average. `retrieved` is how often a source
    stands in a ranking, the evidence there is. Choose the cut on queries that the fit has not seen: the order of
    sources is what is learnt, not the value, which goes to 0 or 1 (and ties there) with more steps. ``by: id`` judges
    each passage alone, and then says nothing about passages that other queries retrieve.

    Cost: indexing the pool in memory, then depth times k operations per query and step. Trap: `k` must be what the
    reader uses; and a passage that says the same in other words has no utility, so known answers must be short or
    worded like the passages. Passages of one source are taken as present independently of one another. Source: data
    importance for retrieval-augmented models (arXiv 2307.03027), there with the model's own answers as utility.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> asked = ["How tall is the tower?", "How long is the bridge?"]
    >>> passages = ["the tower is tall: tall as a hat", "the tower is 90 metres tall",
    ...             "the bridge is long: long as a day", "the bridge is 20 metres long", "cats sleep"]
    >>> pool = TablePool(pa.table({"query": asked * 2 + [""], "positive": passages, "negatives": [[]] * 5,
    ...                            "source": ["jokes", "facts", "jokes", "facts", "pets"]}), "retrieval")
    >>> known = pa.table({"query": asked, "positive": ["90 metres", "20 metres"], "negatives": [[], []]})
    >>> target = TablePool(known, "retrieval")
    >>> scored = score_in_memory(RagImportance(k=1), pool, Goal(target, target, Budget(1, "pairs")))
    >>> scored.column("rag_importance.importance").to_pylist()
    [0.0, 1.0, 0.0, 1.0, None]
    """

    paper: ClassVar[str] = "improving_retrievalaugmented_large_language_models_via"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)
    target_kinds: ClassVar[tuple[Kind, ...]] = ("retrieval",)

    by: str = Field("source", description="column whose records share one importance; id: each passage its own")
    passage: str = Field("positive", description="column with the passages; text in a pool of texts")
    k: int = Field(5, ge=1, le=100, description="passages that the reader of the answers is given")
    depth: int = Field(20, ge=1, le=1000, description="passages retrieved per query; those below k count as successors")
    rate: float = Field(0.3, gt=0, le=10, description="step of a source, per mean utility that it adds")
    steps: int = Field(30, ge=1, le=10_000, description="steps of ascent")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys((self.passage, self.by)))

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"importance": pa.float32(), "retrieved": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> dict[str, tuple[float, int]]:
        if goal is None:
            raise UsageError("rag_importance learns from the target's queries and their answers; state a goal.")
        names, units, utility = self.ranked(pool, goal.target)
        weights = goal.weights(goal.target).to_numpy(zero_copy_only=False)
        learnt = ascend(units, utility, len(names), self.k, self.rate, self.steps, weights)
        seen = np.bincount(units[units >= 0], minlength=len(names))
        return {n: (float(v), int(s)) for n, v, s in zip(names, learnt, seen, strict=True) if s}

    def ranked(self, pool: Pool, asked: Pool) -> tuple[list[str], Ints, Floats]:
        """The sources and, both (queries, depth), the source of each passage found (-1: no more) and its utility."""
        asked.require(["query", "positive"], "rag_importance's target")
        known = asked.table(["query", "positive"])
        owners = _keys(pool.column(self.by))
        names = pc.unique(owners)
        unit = pc.index_in(owners, names).to_numpy(zero_copy_only=False).astype(np.int64)
        rows, _ = BM25.of(pool.column(self.passage)).search(known.column("query"), self.depth)
        found = np.unique(rows[rows >= 0])
        passages = pool.take(found, [self.passage]).column(0)
        utility = _utility(np.searchsorted(found, rows), rows >= 0, passages, known.column("positive"))
        return names.to_pylist(), np.where(rows >= 0, np.append(unit, 0)[rows], -1), utility

    def score(self, batch: pa.RecordBatch, state: dict[str, tuple[float, int]], run: Run) -> Columns:
        found = [state.get(key, (None, 0)) for key in _keys(batch.column(self.by)).to_pylist()]
        return {
            "importance": pa.array([v for v, _ in found], pa.float32()),
            "retrieved": pa.array([n for _, n in found], pa.int32()),
        }


def _keys(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    keys = pc.fill_null(pc.cast(column, pa.string()), "")
    return keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else keys


def _utility(place: Ints, there: npt.NDArray[np.bool_], passages: pa.ChunkedArray, answers: pa.ChunkedArray) -> Floats:
    """For each query and place in its ranking, the share of the answer's n-grams that the passage contains."""
    starts, have, _ = hashed_rows(passages, GRAMS, BUCKETS)
    begins, wanted, _ = hashed_rows(answers, GRAMS, BUCKETS)
    out = np.zeros(place.shape)
    for q, i in zip(*np.nonzero(there), strict=True):
        answer, row = wanted[begins[q] : begins[q + 1]], place[q, i]
        common = np.intersect1d(have[starts[row] : starts[row + 1]], answer, assume_unique=True)
        out[q, i] = common.size / max(1, answer.size)
    return out
