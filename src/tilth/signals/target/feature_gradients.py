"""FeatureGradients: which of the pool's columns tell together what an outcome is, and what they tell of each record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import DataError, UsageError
from tilth.models.feature_gradients import choose, gradient, ridge, standardised, with_products

__all__ = ["FeatureGradients", "Weights"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Weights:
    """What was learnt of each column, products after the columns.

    Attributes:
        names: the columns; of a product both, ``a * b``.
        used: how much of each is used: near a half or above where it matters, near 0 where not.
        slopes: what a standard deviation of it adds to the outcome, in standard deviations; NaN with too few records.
        explained: estimated share of the outcome's variance that all of them explain; above 1 they are too correlated
            for the estimate, and only the order of `used` counts.
        scales: means and spreads of the columns, then of columns and products made from these.
    """

    names: tuple[str, ...]
    used: Floats
    slopes: Floats
    explained: float
    scales: tuple[Floats, ...]


class FeatureGradients(Signal[Weights]):
    """Learns which columns explain an outcome together, and gives each record what they predict for it.

    The outcome is a column of numbers that is dear, late or known for some records only, such as `tracin.cosine` or a
    rating; or, with `value`, whether a column says so, such as ``outcome: source, value: trusted``. Gradient descent on
    a relaxed choice of columns finds those that matter (`models/feature_gradients.py`), also such as help only beside
    another and say nothing alone; `products` adds the product of each pair, for columns that matter only in concert.
    ``score`` is the prediction of the chosen columns in standard deviations of the outcome, for records whose outcome
    is unknown too. How much of each column is used is what the signal learns: `Weights`, by `apply.signal_state`.

    Null columns count as their mean; records without any get nulls, and so do all where hardly a record has an outcome.
    Cost: linear in records and columns; a second for 20,000 records of 20 columns. Trap: it explains the outcome that
    it is given, shortcuts included; columns that say nearly the same share the weight or trade places, and the estimate
    of what is explained then exceeds 1. A column that adds little falls below the penalty, which is shared by all
    columns and so is dear for each of a few; with more columns than records only ``order: 1`` finds any. Source: Sheth
    and Fusi 2019, arXiv 1908.10382.

    >>> from tilth.core import TablePool
    >>> rng = np.random.default_rng(0)
    >>> a, b, c, noise = rng.normal(size=(4, 500))
    >>> columns = {"plain": a + b, "hidden": b, "other": c, "rating": a + 0.3 * noise}
    >>> pool = TablePool(pa.table({"text": [""] * 500, **columns}))
    >>> signal = FeatureGradients(columns=("plain", "hidden", "other"), outcome="rating", penalty=0.5)
    >>> learnt = signal.fit(pool, None, Run())
    >>> (learnt.used > 0.3).tolist()  # `hidden` says nothing of the rating alone: it corrects `plain`
    [True, True, False]
    >>> bool(abs(np.corrcoef(b, columns["rating"])[0, 1]) < 0.1)
    True
    """

    paper: ClassVar[str] = "feature_gradients"

    columns: tuple[str, ...] = Field(
        min_length=1,
        description="columns of numbers to choose from",
        examples=[("perplexity.bits_per_token", "quality.rps_doc_word_count", "quality.rps_doc_mean_word_length")],
    )
    outcome: str = Field(description="column that is to be explained", examples=["importance.per_token"])
    value: str = Field("", description="the outcome is whether the column has this value; empty: its number")
    products: bool = Field(False, description="also offer the product of each pair of columns")
    order: int = Field(4, ge=1, le=4, description="longest chain of records in the estimate; 1 sees columns singly")
    penalty: float = Field(1.0, ge=0, description="weight of using columns at all, against what they explain")
    steps: int = Field(300, ge=1, le=100_000, description="steps of the descent")
    records: int = Field(20_000, ge=100, description="records learnt from, at most")

    @property
    def needs(self) -> Sequence[str]:
        return (*self.columns, self.outcome)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Weights:
        if self.outcome in self.columns:
            raise UsageError(f"feature_gradients: {self.outcome} is the outcome; take it out of `columns`.")
        table = pool.table(self.needs)
        x, y = self._numbers(table), self._outcome(table.column(len(self.columns)))
        rows = run.rng("records").permutation(np.flatnonzero(np.isfinite(y)))[: self.records]
        plain, *scales = standardised(x[rows])
        wide, *more = standardised(with_products(plain) if self.products else plain)
        names = (*self.columns, *(f"{a} * {b}" for a, b in combinations(self.columns, 2) if self.products))
        if rows.size <= self.order or np.ptp(y[rows]) == 0:
            unknown = np.full(len(names), np.nan)
            return Weights(names, np.zeros(len(names)), unknown, float("nan"), (*scales, *more))
        target = standardised(y[rows][:, None])[0][:, 0]
        used = choose(
            wide, target, run.rng("descent"), order=self.order, penalty=self.penalty, steps=self.steps
        )  # fmt: skip
        share = gradient(wide, target, np.ones(len(names)), self.order)[0]
        return Weights(names, used, ridge(wide, target, used), share, (*scales, *more))

    def score(self, batch: pa.RecordBatch, state: Weights, run: Run) -> Columns:
        x = self._numbers(batch)
        mean, spread, wide_mean, wide_spread = state.scales
        plain = np.where(np.isfinite(x), (x - mean) / spread, 0)
        wide = ((with_products(plain) if self.products else plain) - wide_mean) / wide_spread
        # Column by column, as a product of matrices may add in another order for another batch.
        total = np.zeros(len(x))
        for values, slope in zip(wide.T, state.slopes, strict=True):
            total += values * slope
        return {"score": pa.array(total.astype(np.float32), mask=~np.isfinite(x).any(1) | np.isnan(total))}

    def _numbers(self, rows: pa.Table | pa.RecordBatch) -> Floats:
        """(n, columns); NaN where one is null."""
        found = [_float(rows.column(i), name) for i, name in enumerate(self.columns)]
        return np.stack(found, 1)

    def _outcome(self, column: pa.ChunkedArray) -> Floats:
        if not self.value:
            return _float(column, self.outcome)
        return _float(pc.equal(pc.cast(column, pa.string()), self.value), self.outcome)


def _float(column: pa.Array | pa.ChunkedArray, name: str) -> Floats:
    kind = column.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_boolean(kind)):
        raise DataError(f"feature_gradients reads numbers; {name} is {kind}. For an outcome of names state `value`.")
    return np.asarray(
        pc.fill_null(pc.cast(column, pa.float64()), float("nan")).to_numpy(zero_copy_only=False), np.float64
    )
