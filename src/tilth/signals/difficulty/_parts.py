"""Labelled records in parts, such as sources, as matrices of word features: for numbers that belong to a set."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core import Pool, Run
from tilth.models.linear import Rows, encode_labels

__all__ = ["Part", "keys", "parts"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """A part's records that differ in their features, in random order, at most as many as were asked for.

    Attributes:
        count: labelled records of the whole part.
        conflicts: records of equal features and different labels among those drawn; all of them are left out.
    """

    key: str
    count: int
    conflicts: int
    rows: Floats
    labels: npt.NDArray[np.int64]


def parts(pool: Pool, by: str, width: int, most: int, run: Run) -> Iterator[Part]:
    """Each part of the pool; texts as hashed words in `width` columns, rows of length one. Records need a label."""
    owner = keys(pool.column(by))
    labels, _ = encode_labels(pool.column("label").to_pylist())
    for key in pc.unique(owner).to_pylist():
        mine = np.flatnonzero(np.asarray(pc.equal(owner, key)) & (labels >= 0))
        drawn = run.rng("drawn", key).permutation(mine)[:most]
        sparse = Rows.of(pool.take(drawn, ["text"]).column(0), ngrams=1, buckets=width)
        rows = np.zeros((drawn.size, width))
        rows[np.repeat(np.arange(drawn.size), np.diff(sparse.indptr)), sparse.indices] = sparse.values
        _, first, same = np.unique(rows, axis=0, return_index=True, return_inverse=True)
        least, most_of = (np.full(first.size, v) for v in (labels.max(initial=0) + 1, -1))
        np.minimum.at(least, same.ravel(), labels[drawn])
        np.maximum.at(most_of, same.ravel(), labels[drawn])
        agree = (least == most_of)[same.ravel()]
        kept = np.sort(first[least == most_of])
        yield Part(key, mine.size, int((~agree).sum()), rows[kept], labels[drawn][kept])


def keys(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    """The part of each record; null is a part of its own, the empty name."""
    names = pc.fill_null(pc.cast(column, pa.string()), "")
    return names.combine_chunks() if isinstance(names, pa.ChunkedArray) else names
