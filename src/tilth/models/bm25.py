"""BM25: the ranker of words that every other one is compared with.

The score of a text for a query is, over the query's words,

    sum_w c_q(w) idf(w) c(w) (k1 + 1) / (c(w) + k1 (1 - b + b length / mean length)),
    idf(w) = ln(1 + (N - n(w) + 0.5) / (n(w) + 0.5)),

with ``c`` the counts of a word in text and query and ``n(w)`` the texts that have it. Words are lower-cased and hashed;
there is no stemming and no list of stop words, since idf does that work.

Cost: indexing a few ten MB of text a second; a query costs as much as its words occur. Trap: the index lies
in memory, 16 bytes for each different word of a text. Source: Robertson and Zaragoza 2009.

>>> index = BM25.of(["rain feeds the soil", "the engine burns fuel", "rain and more rain"])
>>> rows, scores = index.search(["Soil, rain!", "steam"], depth=2)
>>> rows.tolist()
[[0, 2], [-1, -1]]
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.kernels.features import hashed_rows

__all__ = ["BM25"]

Texts: TypeAlias = pa.Array | pa.ChunkedArray | Sequence[str]
BLOCK = 1 << 24
"""Scores held at once."""


@dataclass(frozen=True)
class BM25:
    """An index of texts.

    Attributes:
        weights: sparse (buckets, texts): what a word of the query adds to the score of a text.
    """

    weights: Any

    @classmethod
    def of(cls, texts: Texts, k1: float = 1.2, b: float = 0.75, buckets: int = 1 << 20) -> BM25:
        """Index texts.

        Args:
            k1: how slowly further occurrences of a word stop to count.
            b: how much long texts are held to be long rather than rich; 0 to 1.
            buckets: words that fall into one count as the same word.
        """
        counts = _counts(texts, buckets)
        length = np.asarray(counts.sum(axis=1)).ravel()
        mean = length.mean() if length.sum() > 0 else 1.0
        have = np.bincount(counts.indices, minlength=buckets)
        idf = np.log1p((counts.shape[0] - have + 0.5) / (have + 0.5))
        slow = np.repeat(k1 * (1 - b + b * length / mean), np.diff(counts.indptr))
        counts.data = idf[counts.indices] * counts.data * (k1 + 1) / (counts.data + slow)
        return cls(counts.T.tocsr())

    def search(self, queries: Texts, depth: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
        """Row numbers and scores (queries, depth) of the best texts, best first, equal ones in the index's order.

        Texts that share no word with the query are not found: -1, score 0.
        """
        buckets, texts = self.weights.shape
        asked = _counts(queries, buckets)
        rows, best = np.full((asked.shape[0], depth), -1, np.int64), np.zeros((asked.shape[0], depth))
        size = max(1, BLOCK // max(1, texts))
        for start in range(0, asked.shape[0], size):
            block = (asked[start : start + size] @ self.weights).toarray()
            for q, scores in enumerate(block, start):
                found = np.flatnonzero(scores)
                if found.size > depth:  # what ties with the last place comes along, so that order decides
                    least = np.partition(scores, texts - depth)[texts - depth]
                    found = np.flatnonzero((scores >= least) & (scores > 0))
                found = found[np.argsort(-scores[found], kind="stable")][:depth]
                rows[q, : found.size], best[q, : found.size] = found, scores[found]
        return rows, best


def _counts(texts: Texts, buckets: int) -> Any:
    """How often each text has each hashed word: sparse (texts, buckets)."""
    from scipy.sparse import csr_matrix

    column = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.string())
    indptr, indices, values = hashed_rows(column, 1, buckets)
    return csr_matrix((values.astype(np.float64), indices, indptr), shape=(len(column), buckets))
