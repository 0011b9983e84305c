"""Tokens: how long a record is for a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.tokenizer import Tokenizer

__all__ = ["Tokens", "sample_texts", "tokenizer_of"]


class Tokens(Signal[str]):
    """Number of tokens of each record; every token budget stands on this column.

    Without a tokenizer of yours a byte-level BPE is trained on a sample of the pool, the same for the same records.
    Cost: about 12 MB/s a core, the slowest of the signals that every build needs. Trap: budgets in tokens of one
    tokenizer are not budgets in tokens of another; give the one you will train with. Source: byte-pair encoding
    (Sennrich et al. 2016, arXiv 1508.07909), byte level as in GPT-2.

    >>> import pyarrow as pa
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> pool = TablePool(pa.table({"text": ["seed and soil and seed and soil", "seed", ""] * 50}))
    >>> counts = score_in_memory(Tokens(vocab=300), pool).column("tokens.count").to_pylist()[:3]
    >>> counts[0] > counts[1] > counts[2] == 0
    True
    """

    tokenizer: str = Field("", description="path of a tokenizer.json; trained on the pool when empty")
    vocab: int = Field(4096, ge=257, le=65_000, description="ids of the tokenizer trained here")
    sample_mb: float = Field(4.0, gt=0, le=64, description="megabytes of text it is trained on")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"count": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> str:
        if self.tokenizer:
            return Tokenizer.load(Path(self.tokenizer)).to_json()
        texts = sample_texts(pool, int(self.sample_mb * 1e6), run.at("tokenizer"))
        return Tokenizer.train(texts, self.vocab).to_json()

    def score(self, batch: pa.RecordBatch, state: str, run: Run) -> Columns:
        texts = pc.fill_null(batch.column("text"), "").to_pylist()
        return {"count": tokenizer_of(state).count(texts)}


_tokenizers: dict[str, Tokenizer] = {}


def tokenizer_of(state: str) -> Tokenizer:
    """The tokenizer that `Tokens.fit` returned as JSON; built once per process."""
    if state not in _tokenizers:
        _tokenizers.clear()
        _tokenizers[state] = Tokenizer(state)
    return _tokenizers[state]


def sample_texts(pool: Pool, size: int, run: Run, longest: int = 20_000) -> list[str]:
    """About `size` bytes of text of random records, each cut to its first `longest` characters, by record id."""
    picked: list[str] = []
    share = 4000.0 / max(pool.count, 4000)  # a few thousand records are plenty, and bound what is held
    for batch in pool.batches(["id", "text"]):
        wanted = np.flatnonzero(run.uniform(batch.column("id"), "sample") < share)
        for text in batch.column("text").take(pa.array(wanted)).to_pylist():
            picked.append((text or "")[:longest])
    taken = sum(len(text) for text in picked)
    if taken <= size:
        return picked
    keep = max(1, int(len(picked) * size / taken))
    order = run.rng("thin").permutation(len(picked))[:keep]
    return [picked[i] for i in sorted(order)]
