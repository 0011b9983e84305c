"""Exact inductive bias: how unlikely does a linear model that fits this source's labels generalise by luck?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.inductive_bias import exact_bits
from tilth.signals.difficulty._parts import Floats, Part, keys, parts

__all__ = ["ExactInductiveBias"]


class ExactInductiveBias(Signal[dict[str, dict[str, Any]]]):
    """Bits a source's labels need beyond what its examples say, for linear models of words with Gaussian weights.

    Of all such models that fit the training records, which share errs at most `error` on unseen ones? The bits are
    -log2 of that share: 0 when every fit generalises, many when one must know beforehand. Errors are squared distances
    of the outputs from the labels (one output a class), as a share of what always answering with the mean gives. The
    share of models is computed exactly, also far below what sampling could see (`models.inductive_bias.exact_bits`).

    Like `inductive_bias` it belongs to a set, so every record of a source has its source's number. A source is cut at
    random into `train` and `test` records; null where it has too few or one class. `floor` is the error that no fitting
    model can go below, as such a share; with `error` below it the bits are infinite.

    Cost: two decompositions a source, below a second. Trap: bits add up over test records and outputs, and depend on
    `scale` and `width`: compare sources of the same run and number of classes. Many sources with few records
    have wide luck: look at more than one seed. Source: towards exact computation of inductive bias (arXiv 2406.15941).

    >>> import numpy as np, pyarrow as pa
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> rng = np.random.default_rng(0)
    >>> texts = [" ".join(rng.choice([f"w{i}" for i in range(30)], 10)) for _ in range(300)]
    >>> rule, luck = [str("w1 " in t) for t in texts], [str(x) for x in rng.random(300) < 0.3]
    >>> pool = TablePool(pa.table({"text": texts * 2, "label": rule + luck, "source": ["rule"] * 300 + ["luck"] * 300}),
    ...                  "labeled")
    >>> signal = ExactInductiveBias(train=100, test=40, width=64)
    >>> bits = score_in_memory(signal, pool).column("exact_inductive_bias.bits").to_pylist()
    >>> bits[0] < bits[-1]
    True
    """

    paper: ClassVar[str] = "towards_exact_computation_of_inductive_bias"

    by: str = Field("source", description="column whose values are the sets that are measured")
    error: float = Field(0.5, gt=0, description="squared error wanted, as a share of that of the mean label")
    train: int = Field(200, ge=1, le=4000, description="records that every model must fit")
    test: int = Field(50, ge=2, le=1000, description="records on which it must generalise")
    scale: float = Field(1.0, gt=0, description="standard deviation of a weight before anything is fitted")
    width: int = Field(1024, ge=16, le=1 << 13, description="columns that words are hashed into")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(("text", "label", self.by)))

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"bits": pa.float64(), "floor": pa.float64()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> dict[str, dict[str, Any]]:
        most = self.train + self.test
        return {part.key: self._bits(part) for part in parts(pool, self.by, self.width, most, run)}

    def _bits(self, part: Part) -> dict[str, Any]:
        if len(part.rows) < self.train + self.test:
            return {}
        wanted: Floats = np.equal.outer(part.labels, np.unique(part.labels)).astype(np.float64)
        wanted -= wanted[: self.train].mean(0)
        test = wanted[self.train :]
        chance = float((test**2).sum(1).mean())
        if chance == 0 or wanted.shape[1] < 2:
            return {}
        rows = np.concatenate([part.rows, np.ones((len(part.rows), 1))], axis=1)
        fitted, unseen = rows[: self.train], rows[self.train :]
        bits, floor = exact_bits(fitted, wanted[: self.train], unseen, test, self.error * chance, self.scale)
        return {"bits": bits, "floor": floor / chance if isfinite(floor) else None}

    def score(self, batch: pa.RecordBatch, state: dict[str, dict[str, Any]], run: Run) -> Columns:
        rows = [state.get(key, {}) for key in keys(batch.column(self.by)).to_pylist()]
        return {name: pa.array([row.get(name) for row in rows], kind) for name, kind in self.makes.items()}
