"""PerplexitySlice: at which quantile of perplexity does a record lie, in the pool and among its like?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal

__all__ = ["PerplexitySlice"]

Values = npt.NDArray[np.float32]
Quantiles: TypeAlias = dict[str, dict[str, Values]]
"""Output -> group -> the values of its records, ascending."""


class PerplexitySlice(Signal[Quantiles]):
    """The share of records that are less perplexing than this one: in the pool, in its source, among its length.

    Reads `perplexity`'s column, so score that first. 0 is the least perplexing record, 1 the most; equals share the
    middle of their places. ``pool`` ranks all records, ``source`` those of one source, so that a slice takes as much of
    each, and ``length`` those whose number of words lies between the same two powers of 2, since short texts scatter
    more and crowd both ends. The slice itself is a policy's: ``keep: perplexity_slice.length BETWEEN 0.02 AND 0.22``
    takes a fifth and leaves out what is lowest of all, which is boilerplate.

    Records without a perplexity, those without words, get nulls and count for nobody. Cost: a sort. Trap: the low end
    is also the dull end: words repeat more in it than in the pool, in the exam by a third and more, so look at how
    varied a slice is before it replaces everything. A quantile is of this pool, not of another.
    Source: the perplexity slice of POINTS, arXiv 2409.04828, which keeps the lowest fifth.

    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.signals.quality.perplexity import Perplexity
    >>> target = TablePool(pa.table({"text": ["the rain falls on the field", "the seed lies in the field"] * 9}))
    >>> pool = TablePool(pa.table({"text": ["the seed lies on the field", "field the on lies seed the", "xq zzv", ""]}))
    >>> scored = score_in_memory(Perplexity(), pool, Goal(target, target, Budget(1)))
    >>> scored = score_in_memory(PerplexitySlice(), scored)
    >>> [v and round(v, 2) for v in scored.column("perplexity_slice.pool").to_pylist()]
    [0.17, 0.5, 0.83, None]
    """

    paper: ClassVar[str] = "points"

    column: str = Field("perplexity.bits_per_token", description="the perplexity that is ranked")
    words: str = Field("perplexity.tokens", description="the column with the number of words, for `length`")

    @property
    def needs(self) -> Sequence[str]:
        return (self.column, self.words, "source")

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"pool": pa.float32(), "source": pa.float32(), "length": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Quantiles:
        table = pool.table(self.needs)
        values, groups = self._read(table)
        found: Quantiles = {}
        for name, group in groups.items():
            known = ~np.isnan(values)
            found[name] = {str(key): np.sort(values[known & (group == key)]) for key in np.unique(group[known])}
        return found

    def score(self, batch: pa.RecordBatch, state: Quantiles, run: Run) -> Columns:
        values, groups = self._read(batch)
        return {name: _ranks(values, group, state[name]) for name, group in groups.items()}

    def _read(self, rows: pa.RecordBatch | pa.Table) -> tuple[Values, dict[str, npt.NDArray[np.str_]]]:
        """Perplexities, NaN where there is none, and the names of each record's groups."""
        column, words, source = (rows.column(i) for i in range(3))
        values = pc.cast(column, pa.float32()).to_numpy(zero_copy_only=False).astype(np.float32)
        count = pc.cast(pc.fill_null(words, 0), pa.float64()).to_numpy(zero_copy_only=False)
        octave = np.floor(np.log2(np.maximum(count, 1))).astype(np.int64)
        names = np.array(pc.fill_null(pc.cast(source, pa.string()), "").to_pylist(), np.str_)
        return values, {"pool": np.full(values.size, "", np.str_), "source": names, "length": octave.astype(np.str_)}


def _ranks(values: Values, group: npt.NDArray[np.str_], known: Mapping[str, Values]) -> pa.Array:
    """The share of each record's group that lies below it, equals counted half."""
    out = np.full(values.size, np.nan)
    for key in np.unique(group):
        mine, all_ = group == key, known.get(str(key), np.zeros(0, np.float32))
        below, upto = (np.searchsorted(all_, values[mine], side) for side in ("left", "right"))
        out[mine] = (below + upto) / 2 / max(all_.size, 1)
    out[np.isnan(values)] = np.nan
    return pa.array(out.astype(np.float32), mask=np.isnan(out))
