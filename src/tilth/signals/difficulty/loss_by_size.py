"""LossBySize: what do small models of several sizes need for a record, and what does scale save?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.family import Family
from tilth.signals._by_id import ById

__all__ = ["LossBySize"]


class LossBySize(Signal[ById]):
    """Bits per byte of a record under a family of tiny language models of several sizes and amounts of reading.

    ``bits_per_byte`` lists them in the order of `Family.members`: for each depth, each number of tokens. ``drop`` is
    the share of the first one's bits that the last does without, what scale brings for this record: large for text that
    has more to learn in it, near 0, or below, for noise, which no model learns. Every model is trained on either half
    of the pool and judges the other, so no record was read by its judges, nor its exact copies.

    Records without text get nulls, and so do all in a pool of one text. Cost: training the family, about as long as
    reading twice the sum of its tokens for each depth, and a pass over the pool per model; `preselect` with an equal
    family trains nothing more. Trap: scale here is tiny, so a high drop means word forms and phrases of the pool, not
    knowledge; what the pool has much of drops most. Source: losses of model families as in predictive data selection,
    Shum et al. 2025, arXiv 2503.00808; the two halves are our own.

    >>> import numpy as np
    >>> from tilth.core import Run, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> rng = np.random.default_rng(0)
    >>> prose = [f"the rain falls on field {i} and the seed lies in the soil of field {i + 1}" for i in range(90)]
    >>> noise = ["".join(rng.choice([*"abcdefghijkl "], 60)) for _ in range(10)]
    >>> family = Family(depths=(1,), tokens=(500, 10_000), vocab=300, passes=10)
    >>> scored = score_in_memory(LossBySize(family=family), TablePool(pa.table({"text": prose + noise})))
    >>> drop = scored.column("loss_by_size.drop").to_numpy()
    >>> bool(drop[:90].min() > drop[90:].max())
    True
    """

    paper: ClassVar[str] = "predictive_data_selection"

    family: Family = Field(default_factory=Family, description="the models")

    @property
    def needs(self) -> Sequence[str]:
        return self.family.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"bits_per_byte": pa.list_(pa.float32()), "drop": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        texts = pool.column("text")
        bits = self.family.grow(pool, run).bits(texts) if len(texts) else np.zeros((1, 0))
        rows = np.flatnonzero(~np.isnan(bits).any(0))
        known = bits[:, rows].T.astype(np.float32)
        return ById.of(pool, rows, {"bits_per_byte": known, "drop": 1 - known[:, -1] / known[:, 0]})

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))
