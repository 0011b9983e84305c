"""What the duplicate signals share: which record of a cluster stays, and looking a record up by its id."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.kernels.hashing import hash_strings

__all__ = ["Clusters", "Keys", "Places", "equal_groups", "keeper_order"]

Keys = npt.NDArray[np.uint64]
Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Clusters:
    """The records that are not alone, sorted by the hash of their id: all that must be known of a pool.

    Attributes:
        ids: hashes of record ids, ascending.
        cluster: number of the record's cluster.
        duplicate: whether another record of the cluster is the one to keep.
        similarity: to the one to keep; 1 for itself.
        copies: records in the cluster.
    """

    ids: Keys
    cluster: Places
    duplicate: npt.NDArray[np.bool_]
    similarity: npt.NDArray[np.float32]
    copies: npt.NDArray[np.int32]

    @classmethod
    def of(cls, ids: Keys, cluster: Places, similarity: npt.NDArray[np.float32]) -> Clusters:
        """From the members of all clusters, each cluster in one piece with the record to keep first."""
        first = np.ones(cluster.size, bool)
        first[1:] = cluster[1:] != cluster[:-1]
        number = np.cumsum(first) - 1
        copies = np.bincount(number)[number].astype(np.int32)
        order = np.argsort(ids)
        return cls(ids[order], number[order], ~first[order], similarity[order], copies[order])

    def columns(self, ids: pa.Array) -> dict[str, pa.Array]:
        """cluster, duplicate, similarity and copies of the records with these ids."""
        keys = hash_strings(ids)
        at = np.searchsorted(self.ids, keys)
        known = at < self.ids.size
        known[known] = self.ids[at[known]] == keys[known]
        at = at[known]

        def spread(values: npt.NDArray[Any], alone: int, null: bool) -> pa.Array:
            out = np.full(keys.size, alone, values.dtype)
            out[known] = values[at]
            return pa.array(out, mask=~known if null else None)

        return {
            "cluster": spread(self.cluster, 0, True),
            "duplicate": spread(self.duplicate, 0, False),
            "similarity": spread(self.similarity, 0, True),
            "copies": spread(self.copies, 1, False),
        }


def keeper_order(values: Sequence[pa.Array], high: bool) -> Places:
    """Row numbers from the first record to keep to the last: ties in pool order, nulls last."""
    column = pa.chunked_array(values).combine_chunks()
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
    order = pc.array_sort_indices(column, order="descending" if high else "ascending", null_placement="at_end")
    return np.asarray(order, np.int64)


def equal_groups(first: Keys, second: Keys, rank: Places | None) -> tuple[Places, Places]:
    """Rows whose two keys both occur again, group by group and the lowest rank first, and the number of each's group.

    Without ranks the first row of a group comes first.
    """
    ascending = np.sort(first)
    repeated = np.unique(ascending[1:][ascending[1:] == ascending[:-1]])
    del ascending
    if not repeated.size:
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    # Only what occurs twice is worth the slow sort by several keys.
    rows = np.flatnonzero(repeated[np.minimum(np.searchsorted(repeated, first), repeated.size - 1)] == first)
    one, two = first[rows], second[rows]
    order = np.lexsort((rows if rank is None else rank[rows], two, one))
    rows, one, two = rows[order], one[order], two[order]
    fresh = np.ones(rows.size, bool)
    fresh[1:] = (one[1:] != one[:-1]) | (two[1:] != two[:-1])
    group = np.cumsum(fresh) - 1
    many = np.bincount(group)[group] > 1
    return rows[many], group[many]
