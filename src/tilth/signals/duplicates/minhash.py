"""Near-duplicates by MinHash: which records share most of their word sequences?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from math import ceil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core import Columns, Fragment, Goal, Pool, Run, Signal
from tilth.kernels import minhash as kernel
from tilth.kernels.hashing import hash_strings
from tilth.signals.duplicates._clusters import Clusters, Keys, Places, equal_groups, keeper_order

__all__ = ["MinHash"]

MOST = 256
"""Keepers of one bucket that a record is compared with: bounds the time that a huge family of templates can take."""
MISSED = 0.9
"""What a missed pair costs against a candidate that verification throws out again, at one minus this."""


class MinHash(Signal[Clusters]):
    """Groups records that share most of their runs of `ngram` words, and says which one of each group to keep.

    The similarity of two records is the Jaccard similarity of their sets of shingles (runs of `ngram` words; what a
    word is says `tilth.kernels.minhash`), estimated from the share of `permutations` minima on which they agree: off by
    0.04 (one standard deviation) in the middle of the range. Records that agree on all `rows` minima of one of `bands`
    bands are candidates; left at 0, both are chosen so that few pairs above `threshold` are missed.

    Every candidate is then compared with the record that is kept, in the order in which records are to be kept (the
    first in the pool, or by the column `keep`): a record is a `duplicate` only of a kept record it resembles itself.
    In a chain A ~ B ~ C where A and C differ, B goes and C stays; joining all that is linked, as is customary, would
    drop C too. `similarity` is to the kept record and 1 for itself; alone, it is null and so is `cluster`. A record
    without words is never a duplicate.

    Cost: one pass at reading speed, 8 bytes per record and band on disk besides the signatures (4 bytes per
    permutation) until it has learnt; in memory about 70 bytes per record and a few hundred per candidate.
    Trap: replacing 15 % of the words leaves a 5-gram similarity of about 0.3; no setting of this finds rewrites.
    A record is compared with at most 256 kept ones per band: in larger families of boilerplate some are missed.

    Sources: Broder, "On the resemblance and containment of documents", 1997; near-duplicates in training text: Lee et
    al., arXiv 2107.06499.

    >>> import pyarrow as pa
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> story = [f"word{i}" for i in range(200)]
    >>> edited = [*story[:100], "changed", *story[101:]]
    >>> pool = TablePool(pa.table({"text": [" ".join(words) for words in (story, edited, story[::-1])]}))
    >>> scored = score_in_memory(MinHash(), pool)
    >>> scored.column("minhash.duplicate").to_pylist(), scored.column("minhash.copies").to_pylist()
    ([False, True, False], [2, 2, 1])
    >>> round(191 / 201, 2), [s and round(s, 2) for s in scored.column("minhash.similarity").to_pylist()]
    (0.95, [1.0, 0.95, None])
    """

    paper: ClassVar[str] = ""
    version: ClassVar[int] = 2  # 2: words are hashed another way

    ngram: int = Field(5, ge=1, le=64, description="words in a shingle")
    permutations: int = Field(128, ge=8, le=1024, description="minima in a signature")
    threshold: float = Field(0.8, gt=0, le=1, description="estimated Jaccard similarity that counts as near-duplicate")
    bands: int = Field(0, ge=0, description="bands of the signature; 0: chosen from the threshold")
    rows: int = Field(0, ge=0, description="minima in a band; 0: chosen from the threshold")
    keep: str = Field("", description="column that decides which record to keep; empty: the first in the pool")
    keep_high: bool = Field(True, description="keep the record with the highest value of `keep`, else the lowest")

    @model_validator(mode="after")
    def _bands_fit(self) -> Self:
        if bool(self.bands) != bool(self.rows) or self.bands * self.rows > self.permutations:
            raise ValueError(
                f"bands and rows are given together, their product at most {self.permutations} (or both 0)"
            )
        return self

    @property
    def needs(self) -> Sequence[str]:
        return (*dict.fromkeys(("id", "text", *([self.keep] if self.keep else []))),)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"cluster": pa.int64(), "duplicate": pa.bool_(), "similarity": pa.float32(), "copies": pa.int32()}

    @property
    def split(self) -> tuple[int, int]:
        """Bands and rows in use."""
        return (self.bands, self.rows) if self.bands else best_split(self.threshold, self.permutations)

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Clusters:
        if run.scratch is None:
            with TemporaryDirectory(prefix="tilth-minhash-") as folder:
                return self._fit(pool, Path(folder), run)
        return self._fit(pool, run.scratch, run)

    def score(self, batch: pa.RecordBatch, state: Clusters, run: Run) -> Columns:
        return state.columns(batch.column("id"))

    def _fit(self, pool: Pool, folder: Path, run: Run) -> Clusters:
        count, (bands, _) = pool.count, self.split
        fragments = [fragment for fragment in pool.fragments() if fragment.count]
        if not fragments:
            return Clusters.of(np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.float32))
        signatures, hashes = folder / "signatures.u32", folder / "bands.u64"
        for file, size in ((signatures, 4 * self.permutations * count), (hashes, 8 * (bands + 1) * count)):
            with open(file, "ab") as made:  # what an interrupted run has written stays
                made.truncate(size)
        parts = run.map(partial(_signed, self, signatures, hashes, count), fragments, "signatures")
        ids, filled = (np.concatenate([part[i] for part in parts]) for i in (0, 1))
        order = rank = np.arange(count)
        if self.keep:
            order = keeper_order([chunk for part in parts for chunk in part[2]], self.keep_high)
            rank = np.argsort(order)
        # Equal signatures, most of them copies, are settled first: a family of copies then costs one record's work.
        whole = _band(hashes, count, bands)
        rows, group = equal_groups(whole, whole, rank)
        twin = np.arange(count)
        twin[rows] = rows[np.flatnonzero(np.diff(group, prepend=-1))][group]
        candidates = filled & (twin == np.arange(count))
        del whole, rows, group
        rows = np.flatnonzero(candidates)
        found = [_shared(_band(hashes, count, band)[rows], rows) for band in run.track(range(bands), "bands")]
        members, buckets = _joined(found)
        del found, rows
        signed = np.asarray(np.memmap(signatures, np.uint32, "c", shape=(count, self.permutations)))
        enough = ceil(self.threshold * self.permutations - 1e-9)
        keeper, share = kernel.star(members, buckets, order[candidates[order]], signed, enough, MOST)
        root = keeper[twin]
        rows = np.flatnonzero(filled & (np.bincount(root)[root] > 1))
        rows = rows[np.lexsort((rank[rows], rank[root[rows]]))]
        return Clusters.of(ids[rows], root[rows].astype(np.int64), share[twin[rows]])


def _signed(
    signal: MinHash, signatures: Path, hashes: Path, count: int, fragment: Fragment
) -> tuple[Keys, npt.NDArray[np.bool_], list[pa.Array]]:
    """Write the fragment's rows of both files; its records' id hashes, whether they have words, values of `keep`."""
    a, b = kernel.lanes(signal.permutations)
    bands, rows = signal.split
    ids, filled, values, banded = [], [], [], []
    with open(signatures, "r+b") as file:
        file.seek(4 * signal.permutations * fragment.offset)
        for batch in fragment.batches(signal.needs):
            signed, words = kernel.signatures(batch.column("text"), signal.ngram, a, b)
            signed.tofile(file)
            whole = kernel.band_hashes(signed, 1, signal.permutations)
            banded.append(np.concatenate([kernel.band_hashes(signed, bands, rows), whole]))
            ids.append(hash_strings(batch.column("id")))
            filled.append(words)
            if signal.keep:
                values.append(batch.column(signal.keep))
    with open(hashes, "r+b") as file:
        for band, values_of_band in enumerate(np.concatenate(banded, axis=1)):
            file.seek(8 * (band * count + fragment.offset))
            values_of_band.tofile(file)
    return np.concatenate(ids), np.concatenate(filled), values


def _band(hashes: Path, count: int, band: int) -> Keys:
    return np.fromfile(hashes, np.uint64, count, offset=8 * band * count)


def _shared(hashes: Keys, rows: Places) -> tuple[kernel.Rows, kernel.Rows]:
    """The rows whose hash another of these rows has too, and the number of each one's bucket."""
    order = np.argsort(hashes)
    ascending = hashes[order]
    same = ascending[1:] == ascending[:-1]
    shared = np.zeros(rows.size, np.bool_)
    shared[:-1] = same
    first = shared.copy()
    first[1:] &= ~same
    shared[1:] |= same
    return rows[order[shared]].astype(np.int32), (np.cumsum(first)[shared] - 1).astype(np.int32)


def _joined(bands: list[tuple[kernel.Rows, kernel.Rows]]) -> tuple[kernel.Rows, kernel.Rows]:
    """Memberships of all bands, their buckets numbered on."""
    start = 0
    for _, buckets in bands:
        buckets += start
        start = int(buckets[-1]) + 1 if buckets.size else start
    members, buckets = (np.concatenate([band[i] for band in bands]) for i in (0, 1))
    return members, buckets


@cache
def best_split(threshold: float, permutations: int) -> tuple[int, int]:
    """Bands and rows for which the areas of missed and of needless candidates weigh least, all similarities alike."""
    alike = (np.arange(500) + 0.5) / 500
    above = alike >= threshold
    best = (np.inf, 1, 1)
    for rows in range(1, permutations + 1):
        for bands in range(1, permutations // rows + 1):
            hit = 1 - (1 - alike**rows) ** bands
            cost = MISSED * (1 - hit[above]).sum() + (1 - MISSED) * hit[~above].sum()
            best = min(best, (cost, bands, rows))
    return best[1], best[2]
