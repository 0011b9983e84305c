"""What a signal found for some records while it was fitted, looked up by their ids when they are scored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core import Pool
from tilth.kernels.hashing import hash_strings

__all__ = ["ById", "over_seeds"]


@dataclass(frozen=True)
class ById:
    """Values by record.

    Attributes:
        ids: hashes of the ids, ascending.
        values: name -> value of each of these records; NaN and None are unknown.
        curves: what is measured -> group of records -> (seeds, passes) means over the group; for pictures only.
    """

    ids: npt.NDArray[np.uint64]
    values: Mapping[str, npt.NDArray[Any]]
    curves: Mapping[str, Mapping[str, npt.NDArray[np.float64]]] = field(default_factory=dict)

    @classmethod
    def of(cls, pool: Pool, rows: npt.NDArray[np.int64], values: Mapping[str, npt.NDArray[Any]]) -> Self:
        """From the values of these rows of the pool."""
        hashes = hash_strings(pool.column("id"))[rows]
        order = np.argsort(hashes)
        return cls(hashes[order], {name: np.asarray(v)[order] for name, v in values.items()})

    def columns(self, ids: pa.Array) -> dict[str, pa.Array]:
        """The values of the records with these ids; null for others, and where the value is NaN."""
        keys = hash_strings(ids)
        at = np.minimum(np.searchsorted(self.ids, keys), max(self.ids.size - 1, 0))
        known = self.ids[at] == keys if self.ids.size else np.zeros(keys.size, np.bool_)
        return {
            name: _nulled(v[at] if len(v) else np.zeros((keys.size, *v.shape[1:]), v.dtype), known)
            for name, v in self.values.items()
        }


def over_seeds(values: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
    """``score`` and ``spread``, mean and standard deviation of (seeds, n) numbers; one seed has no spread."""
    spread = values.std(0) if len(values) > 1 else np.full(values.shape[1], np.nan)
    return {"score": values.mean(0), "spread": spread}


def _nulled(values: npt.NDArray[Any], known: npt.NDArray[np.bool_]) -> pa.Array:
    if values.ndim == 2:  # a list for every record
        rows = [row if k else None for row, k in zip(values.tolist(), known, strict=True)]
        return pa.array(rows, pa.list_(pa.from_numpy_dtype(values.dtype)))
    if values.dtype.kind == "O":  # lists of any length
        return pa.array([row if k else None for row, k in zip(values, known, strict=True)])
    if values.dtype.kind == "f":
        known = known & ~np.isnan(values)
    return pa.array(values, mask=~known)
