"""Goal: what the model should become good at, and how much it may read."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.errors import BadRecipe
from tilth.core.limits import Limits
from tilth.core.method import digest
from tilth.core.pool import Pool

__all__ = ["Budget", "Goal"]

Unit = Literal["tokens", "records", "pairs"]
_SCALE = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9, "g": 10**9, "t": 10**12}


@dataclass(frozen=True)
class Budget:
    """How much a model may read: tokens (text, instruction), records (labeled, preference) or pairs (retrieval)."""

    amount: int
    unit: Unit = "tokens"

    @classmethod
    def parse(cls, text: str | int) -> Self:
        """From ``20M tokens``, ``5000 records``, ``1.5B`` or a plain number (tokens)."""
        match = re.fullmatch(r"\s*([\d_]+(?:\.\d+)?)\s*([kmbgt]?)\s*(tokens?|records?|pairs?)?\s*", str(text).lower())
        if not match:
            raise BadRecipe(f"A budget reads like '20M tokens' or '5000 records'. Got {text!r}.")
        number, scale, unit = match.groups()
        amount = round(float(number.replace("_", "")) * _SCALE[scale])
        if amount < 1:
            raise BadRecipe(f"A budget must be at least one token, record or pair. Got {text!r}.")
        return cls(amount, {"r": "records", "p": "pairs"}.get((unit or "t")[0], "tokens"))  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.amount:,} {self.unit}"


@dataclass(frozen=True)
class Goal:
    """What for, and how much?

    Attributes:
        target: examples policies may look at. An optional ``goal`` column names several targets and an
            optional ``weight`` column weights them.
        holdout: examples only a proof may see; same columns.
        budget: how much the model may read.
        limits: what every mixture must keep to.
    """

    target: Pool
    holdout: Pool
    budget: Budget
    limits: Limits = field(default_factory=Limits)

    @property
    def fingerprint(self) -> str:
        """A function of target, holdout, budget and limits."""
        limits = [self.limits.as_dict()] if self.limits.as_dict() else []
        return digest([self.target.fingerprint, self.holdout.fingerprint, str(self.budget), *limits])

    def blind(self) -> Self:
        """The goal as a policy may see it: the target stands in for the holdout."""
        return replace(self, holdout=self.target)

    def weights(self, pool: Pool) -> pa.Array:
        """The weight of each item of target or holdout (float64); 1 where none is given."""
        if "weight" not in pool.schema.names:
            return pa.array([1.0] * pool.count, pa.float64())
        column = pc.fill_null(pc.cast(pool.column("weight"), pa.float64()), 1.0)
        return column.combine_chunks()
