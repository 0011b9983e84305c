"""RankEasiness: how easy a query's passage is to find for a cheap ranker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.records import FIELDS
from tilth.kernels.hashing import hash_strings
from tilth.models.bm25 import BM25
from tilth.models.easiness import kde, normalised, pairwise, reciprocal

__all__ = ["RankEasiness"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Ranker:
    """An index of the pool's passages, and which of its rows a passage is in: hashes, ascending, and rows."""

    index: BM25
    hashes: npt.NDArray[np.uint64]
    rows: Ints

    def rows_of(self, passages: pa.Array) -> Ints:
        """The row of each passage, all of which are in the index; of others any row."""
        if not self.rows.size:
            return np.zeros(len(passages), np.int64)
        return self.rows[np.minimum(np.searchsorted(self.hashes, hash_strings(passages)), self.rows.size - 1)]


class RankEasiness(Signal[Ranker]):
    """How easy a retrieval record is for BM25 over the pool's own passages: 1 where the right passage is far above the
    wrong ones, 0 where it is the other way round.

    Passages are the distinct positives and negatives of all records. For its query the best `depth` are ranked, and a
    passage's easiness is 1 / rank, its score between the least and the largest of the list, or the share of the list
    that scores below it by a kernel density estimate; 0 where it is not in the list. ``easiness`` is
    ``(positive - negative + 1) / 2``, the hardest of a record's negatives counting, or ``positive`` where it has none.
    Source: arXiv 2004.14269, whose released code has these three heuristics; `rank_curriculum` weights losses by it.

    Cost: an index of the passages in memory, 16 bytes a distinct word of each, and one search for each record; `kde`
    compares all pairs of a list. Trap: BM25 knows words alone, so "easy" means "shares rare words"; for pairs whose
    words are given away by an artefact of how the data were made, the easiest are the worst to learn from.

    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> asked = ["who built the tower", "how old is the oak", "where do eels spawn"]
    >>> right = ["the tower was built by masons", "the tree has stood three centuries", "eels spawn in the sea"]
    >>> wrong = [["the oak is old"], ["the oak was cut by masons"], ["cats sleep"]]
    >>> pool = TablePool(pa.table({"query": asked, "positive": right, "negatives": wrong}), "retrieval")
    >>> scored = score_in_memory(RankEasiness(), pool)
    >>> scored.column("rank_easiness.rank").to_pylist()
    [1, 5, 1]
    >>> [round(v, 2) for v in scored.column("rank_easiness.easiness").to_pylist()]
    [0.75, 0.35, 1.0]
    """

    paper: ClassVar[str] = "training_curricula_for_open_domain_answer"

    heuristic: Literal["reciprocal", "normalised", "kde"] = Field("reciprocal", description="easiness from a ranking")
    depth: int = Field(100, ge=1, le=10_000, description="passages ranked for each query; below it none is found")

    @property
    def needs(self) -> Sequence[str]:
        return ("query", "positive", "negatives")

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        parts = ("positive", "negative", "easiness")
        return {"rank": pa.int32(), **dict.fromkeys(parts, pa.float32())}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Ranker:
        table = pool.table(["positive", "negatives"])
        negatives = table.column("negatives") if len(table) else pa.chunked_array([], FIELDS["retrieval"]["negatives"])
        given = [table.column("positive"), pc.list_flatten(negatives)]
        passages = pc.unique(
            pc.drop_null(pa.chunked_array([c for column in given for c in column.chunks], pa.string()))
        )
        hashes = hash_strings(passages)
        order = np.argsort(hashes, kind="stable").astype(np.int64)
        return Ranker(BM25.of(passages), hashes[order], order)

    def score(self, batch: pa.RecordBatch, state: Ranker, run: Run) -> Columns:
        queries, right, wrong = (batch.column(name) for name in self.needs)
        known = np.asarray(pc.and_(pc.is_valid(queries), pc.is_valid(right)).to_numpy(zero_copy_only=False), bool)
        rank = np.zeros(batch.num_rows, np.int64)
        parts = np.full((3, batch.num_rows), np.nan)
        rows, scores = state.index.search(pc.fill_null(queries, ""), self.depth)
        place = state.rows_of(pc.fill_null(right, ""))
        counts = np.asarray(pc.fill_null(pc.list_value_length(wrong), 0).to_numpy(), np.int64)
        flat = pc.list_flatten(wrong)
        others = state.rows_of(pc.fill_null(flat, ""))
        given = np.asarray(pc.is_valid(flat).to_numpy(zero_copy_only=False), bool)
        ends = np.cumsum(counts)
        for i in np.flatnonzero(known).tolist():
            found = rows[i][rows[i] >= 0]
            easy = self._easiness(scores[i][: found.size])
            at = np.flatnonzero(found == place[i])
            rank[i] = at[0] + 1 if at.size else 0
            parts[0, i] = easy[at[0]] if at.size else 0.0
            some = slice(ends[i] - counts[i], ends[i])
            if given[some].any():
                hit = np.isin(found, others[some][given[some]])
                parts[1, i] = easy[hit].max(initial=0.0)
        both = ~np.isnan(parts[1])
        parts[2] = np.where(both, pairwise(parts[0], np.where(both, parts[1], 0.0)), parts[0])
        return {
            "rank": pa.array(rank, mask=rank == 0),
            **{n: pa.array(v, from_pandas=True) for n, v in zip([*self.makes][1:], parts, strict=True)},
        }

    def _easiness(self, scores: Floats) -> Floats:
        """The easiness of each passage of one query's list, best first."""
        if self.heuristic == "reciprocal":
            return reciprocal(np.arange(1, scores.size + 1))
        of = np.zeros(scores.size)
        return normalised(scores, of) if self.heuristic == "normalised" else kde(scores, of)
