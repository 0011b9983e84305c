"""Domain specificity: how much does a model of the target's domain read a record better than a general one?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.kernels.hashing import half
from tilth.kernels.perplexity import WordModel
from tilth.signals.quality.tokens import sample_texts

__all__ = ["DomainSpecificity"]

Models = tuple[WordModel, WordModel, WordModel]


class DomainSpecificity(Signal[Models]):
    """Bits per byte that a model of the pool's text needs more than a model of the target's text for this record.

    High is text of the domain that general text does not prepare for: there, pretraining in the domain pays. The mean
    over a task's records is the task's domain specificity. All are word n-gram models and read equally much, or the
    difference would measure that. The pool's side is two models of two halves, and a record is judged by the one that
    has not read it (nor its exact copies). Null for a record without words.

    Cost: seconds to train, then a few ten MB/s a core. Trap: a record that also stands in the target looks like the
    most specific of all, so take overlap out first; and a pool that is mostly domain text already makes a domain model
    as its general one. Source: domain specificity of legal tasks (arXiv 2104.08671), there
    with BERT's own losses after as many steps on general and on legal text.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> target = TablePool(pa.table({"text": ["the lessee shall vacate the premises", "the court so orders"] * 20}))
    >>> web = [f"we had a nice {day} at the {place}" for day in ("day", "walk", "lunch") for place in ("lake", "park")]
    >>> pool = TablePool(pa.table({"text": [*web, "the lessee so orders", "we had a lunch"]}))
    >>> scored = score_in_memory(DomainSpecificity(), pool, Goal(target, target, Budget(1)))
    >>> legal, plain = scored.column("domain_specificity.bits_per_byte").to_pylist()[-2:]
    >>> legal > 0 > plain
    True
    """

    paper: ClassVar[str] = "when_does_pretraining_help_assessing_selfsupervised"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    order: int = Field(3, ge=1, le=3, description="words looked at, the one judged included")
    discount: float = Field(0.75, gt=0, lt=1, description="taken from every count and given to the level below")
    sample_mb: float = Field(4.0, gt=0, le=64, description="megabytes of text that each model reads, at most")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"bits_per_byte": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Models:
        if goal is None:
            raise UsageError("domain_specificity learns the domain from the goal's target; state a goal.")
        most = int(self.sample_mb * 1e6)
        domain = pa.array(sample_texts(goal.target, most, run.at("domain")), pa.string())
        general = pa.array(sample_texts(pool, 2 * most, run.at("general")), pa.string())
        side = half(general)
        sides = [general.filter(pa.array(side != h)) for h in (0, 1)] + [domain]
        equal = min(_size(texts) for texts in sides)
        zero, one, own = (WordModel.of(_first(texts, equal), self.order, self.discount) for texts in sides)
        return zero, one, own

    def score(self, batch: pa.RecordBatch, state: Models, run: Run) -> Columns:
        texts = pc.fill_null(batch.column("text"), "")
        side, size = half(texts), np.maximum(pc.binary_length(texts).to_numpy(zero_copy_only=False), 1)
        (zero, tokens), (one, _), (own, _) = (model.bits(texts) for model in state)
        gain = (np.where(side == 0, zero, one) - own) / size
        return {"bits_per_byte": pa.array(gain.astype(np.float32), mask=tokens == 0)}


def _size(texts: pa.Array) -> int:
    return int(pc.sum(pc.binary_length(texts)).as_py() or 0)


def _first(texts: pa.Array, size: int) -> pa.Array:
    """The first texts, up to this many bytes; the last one is cut."""
    ends = np.cumsum(pc.binary_length(texts).to_numpy(zero_copy_only=False))
    whole = int(np.searchsorted(ends, size, "right"))
    rest = size - (int(ends[whole - 1]) if whole else 0)
    if whole == len(texts) or not rest:
        return texts.slice(0, whole)
    cut = texts[whole].as_py().encode()[:rest].decode(errors="ignore")
    return pa.concat_arrays([texts.slice(0, whole), pa.array([cut], pa.string())])
