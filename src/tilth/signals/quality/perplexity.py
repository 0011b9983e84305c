"""Perplexity: how surprising is a record's wording to a model of good text?"""

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

__all__ = ["Perplexity"]


class Perplexity(Signal[tuple[WordModel, ...]]):
    """Bits that a word n-gram model of the target's text needs per byte, and per token, of a record.

    Low is fluent text like the target's; word salad, noise, other languages and other domains are high. Words the
    model does not know are spelled by byte frequencies, so the number is always finite. Trained on the pool instead,
    low means typical of the pool; two models of two halves are then made, and a record is judged by the one that has
    not seen it (nor its exact copies).

    Cost: seconds to train, then a few ten MB/s a core. Trap: low is not good: boilerplate and lists of common words
    are the lowest of all, so drop both tails. White space and capitals cost nothing, so padding lowers bits per byte,
    though not per token. A record that also stands in the target has been seen and scores far too low. Weights of the
    goal are not used. Source: n-gram perplexity as a filter, CCNet (arXiv 1911.00359); smoothing by interpolated
    absolute discounting (Ney, Essen and Kneser 1994).

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> target = TablePool(pa.table({"text": ["the rain falls on the field", "the seed lies in the field"] * 9}))
    >>> pool = TablePool(pa.table({"text": ["the seed lies on the field", "field the on lies seed the", "xq zzv"]}))
    >>> scored = score_in_memory(Perplexity(), pool, Goal(target, target, Budget(1)))
    >>> fluent, shuffled, noise = scored.column("perplexity.bits_per_byte").to_pylist()
    >>> fluent < shuffled < noise
    True
    """

    paper: ClassVar[str] = ""
    version: ClassVar[int] = 2  # 2: words are hashed another way
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    train: Literal["target", "pool"] = Field("target", description="whose text the model is trained on")
    order: int = Field(3, ge=1, le=3, description="words looked at, the one judged included")
    discount: float = Field(0.75, gt=0, lt=1, description="taken from every count and given to the level below")
    sample_mb: float = Field(4.0, gt=0, le=64, description="megabytes of text it is trained on, at most")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"bits_per_byte": pa.float32(), "bits_per_token": pa.float32(), "tokens": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> tuple[WordModel, ...]:
        if self.train == "target" and goal is None:
            raise UsageError("perplexity learns from the goal's target; state a goal, or choose train: pool.")
        side = goal.target if self.train == "target" and goal is not None else pool
        texts = pa.array(sample_texts(side, int(self.sample_mb * 1e6), run.at("perplexity")), pa.string())
        parts = [texts] if self.train == "target" else [texts.filter(pa.array(half(texts) != h)) for h in (0, 1)]
        return tuple(WordModel.of(part, self.order, self.discount) for part in parts)

    def score(self, batch: pa.RecordBatch, state: tuple[WordModel, ...], run: Run) -> Columns:
        texts = pc.fill_null(batch.column("text"), "")
        bits, tokens = np.zeros(len(texts)), np.zeros(len(texts), np.int32)
        side = half(texts) if len(state) > 1 else np.zeros(len(texts), np.int64)
        for h, model in enumerate(state):
            rows = np.flatnonzero(side == h)
            bits[rows], tokens[rows] = model.bits(texts.take(pa.array(rows)))
        size = pc.binary_length(texts).to_numpy(zero_copy_only=False)
        # A text without words has no perplexity; 0 would rank it as the best there is.
        return {
            "bits_per_byte": pa.array((bits / np.maximum(size, 1)).astype(np.float32), mask=tokens == 0),
            "bits_per_token": pa.array((bits / np.maximum(tokens, 1)).astype(np.float32), mask=tokens == 0),
            "tokens": tokens,
        }
