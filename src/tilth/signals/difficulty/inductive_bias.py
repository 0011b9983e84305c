"""Inductive bias: how many bits must a learner bring along to generalise from this labelled source?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.inductive_bias import closed_form_bits, intrinsic_dimension, margin
from tilth.signals.difficulty._parts import keys, parts

__all__ = ["InductiveBias"]


class InductiveBias(Signal[dict[str, dict[str, Any]]]):
    """Closed-form bits of inductive bias that a labelled source asks for, and what they are computed from.

    The number belongs to a set, not to a record, so all records of a source (or of whatever `by` names) have the same:
    a column is what policies, reports and ``tilth why`` read, and sources are what one compares. The formula
    (`models.inductive_bias`) takes the intrinsic dimension of the texts as bags of words, the smallest distance of
    two of different labels, their number, the classes and the errors allowed. More dimensions cost exponentially, a
    smaller margin polynomially, more records help little.

    Bits are negative where the records determine more than there is to choose; null where nothing can be said: one
    class, or fewer different texts than neighbours. `conflicts` counts records of the sample whose words another one
    has under another label; they and copies are left out, or the margin is zero.

    Cost: `sample` squared times `width` for the distances, about a second a source. Trap: the bits are no real
    requirement of any learner, and depend on the features: compare sources of one run, not runs. The margin is the
    smallest of the sample and falls with it. Source: model-agnostic measure of generalisation difficulty
    (arXiv 2305.01034).

    >>> import numpy as np, pyarrow as pa
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> rng = np.random.default_rng(0)
    >>> def text(word): return " ".join(rng.choice([f"{word}{i}" for i in range(20)], 15))
    >>> apart, alike = ([text(word) for word in words * 100] for words in ("ab", "aa"))
    >>> pool = TablePool(pa.table({"text": apart + alike, "label": ["yes", "no"] * 200,
    ...                            "source": ["apart"] * 200 + ["alike"] * 200}), "labeled")
    >>> bits = score_in_memory(InductiveBias(), pool).column("inductive_bias.bits").to_pylist()
    >>> bits[0] < bits[-1]
    True
    """

    paper: ClassVar[str] = "modelagnostic_measure_of_generalization_difficulty"

    by: str = Field("source", description="column whose values are the sets that are measured")
    error: float = Field(0.01, gt=0, lt=1, description="share of errors allowed")
    neighbours: int = Field(5, ge=2, le=100, description="neighbours that the intrinsic dimension is estimated from")
    sample: int = Field(2000, ge=10, le=20_000, description="records of a set that distances are measured on, at most")
    width: int = Field(1024, ge=16, le=1 << 14, description="columns that words are hashed into")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(("text", "label", self.by)))

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        numbers = dict.fromkeys(("bits", "dimension", "margin"), pa.float64())
        return {**numbers, "classes": pa.int32(), "conflicts": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> dict[str, dict[str, Any]]:
        found = {}
        for part in parts(pool, self.by, self.width, self.sample, run):
            dimension, gap = intrinsic_dimension(part.rows, self.neighbours), margin(part.rows, part.labels)
            classes = np.unique(part.labels).size
            known = classes > 1 and isfinite(dimension)
            bits = closed_form_bits(part.count, dimension, 1.0, classes, gap, self.error) if known else None
            found[part.key] = {
                "bits": bits,
                "dimension": dimension if isfinite(dimension) else None,
                "margin": gap if isfinite(gap) else None,
                "classes": classes,
                "conflicts": part.conflicts,
            }
        return found

    def score(self, batch: pa.RecordBatch, state: dict[str, dict[str, Any]], run: Run) -> Columns:
        rows = [state.get(key, {}) for key in keys(batch.column(self.by)).to_pylist()]
        return {name: pa.array([row.get(name) for row in rows], kind) for name, kind in self.makes.items()}
