"""Family: small language models of several sizes, that have read more or less, and what each needs for a text.

Every model is trained twice, on either half of the pool, and a text of the pool is judged by those that have not read
it (nor its exact copies), so none is at home in a text and all losses are honest. `Family.grow` trains once per pool,
fields and seed and keeps the models in `run.shared`, so methods with equal families share them.

With `vary`, every model reads the values of a column, such as ``source``, in shares of its own (one draw from a flat
Dirichlet distribution): then models differ in what they know as well as in how much.

>>> import pyarrow as pa
>>> from tilth.core import TablePool
>>> texts = [f"the rain falls on field {i} and field {i + 1}" for i in range(80)]
>>> pool = TablePool(pa.table({"text": texts}))
>>> family = Family(depths=(1,), tokens=(500, 5000), vocab=300, context=32)
>>> some, more = family.grow(pool, Run()).bits(pool.column("text")).mean(1)
>>> bool(more < some)
True
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated, Any, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import BaseModel, ConfigDict, Field

from tilth.core import Pool, Run
from tilth.core.method import digest
from tilth.core.pool import column_digest
from tilth.kernels.hashing import half
from tilth.models.learner import sample_of
from tilth.models.tokenizer import Tokenizer

__all__ = ["Family", "Kin"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
VERSION: Final = 1
"""Raised whenever the same fields and pool give other models: it invalidates what is shared."""
END: Final = 0  # the id that ends a document


class Family(BaseModel):
    """Which models are trained: every depth with every number of tokens, the least first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    depths: tuple[Annotated[int, Field(ge=1, le=12)], ...] = Field(
        (1, 2), min_length=1, description="layers, which also set width and learning rate"
    )
    tokens: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (10_000, 30_000, 100_000), min_length=1, description="tokens that a model reads"
    )
    passes: int = Field(2, ge=1, le=100, description="times a small pool is read at most; all budgets shrink alike")
    vary: str = Field("", description="column, such as source, whose values each model reads in shares of its own")
    vocab: int = Field(1024, ge=257, le=65_000, description="ids of the tokenizer trained on the pool")
    context: int = Field(64, ge=16, le=4096, description="tokens of a window")
    batch: int = Field(8, ge=1, le=1024, description="windows of a step")
    longest: int = Field(1000, ge=16, description="characters of a record that are read and judged")

    @property
    def needs(self) -> tuple[str, ...]:
        """The columns it reads."""
        return ("id", "text", self.vary) if self.vary else ("id", "text")

    @property
    def members(self) -> tuple[tuple[int, int], ...]:
        """Depth and tokens of each model, in the order of all that is said about them."""
        return tuple((depth, tokens) for depth in self.depths for tokens in self.tokens)

    def shortened(self, texts: pa.Array | pa.ChunkedArray) -> pa.ChunkedArray:
        """What is read and judged of some texts."""
        return pc.utf8_slice_codeunits(pc.fill_null(texts, ""), 0, self.longest)

    def grow(self, pool: Pool, run: Run) -> Kin:
        """Train the models, or find those that an equal family has trained on this pool."""
        values = column_digest(pool.column(self.vary)) if self.vary else ""
        key = f"family-{digest([VERSION, self.model_dump(), pool.fingerprint, values, run.seed, run.device])}"
        items = [_Item(key, number, side) for number in range(len(self.members)) for side in (0, 1)]
        grown = run.map(partial(_grown, self, pool, run.alone()), items, "train a family of models")
        tokenizer = _tokenizer(self, pool, run, key)
        return Kin(self, tokenizer, [grown[::2], grown[1::2]], run.device)


@dataclass(frozen=True)
class Kin:
    """The trained models.

    Attributes:
        models: by the half of the pool that they are to judge, shape and weights of each; None where the other half
            has nothing to read.
    """

    family: Family
    tokenizer: Tokenizer
    models: Sequence[Sequence[tuple[Any, Any] | None]]
    device: str

    def bits(self, texts: pa.Array | pa.ChunkedArray, side: Literal[0, 1] | None = None) -> Floats:
        """Bits per byte of texts, (members, texts); NaN where there is nothing to judge or nobody who may.

        Args:
            side: which models judge; None, for texts of the pool, those that have not read them.
        """
        from tilth.models.batches import windows_to_score
        from tilth.models.merging import decoder
        from tilth.models.train import bits_per_byte, threads

        short = self.family.shortened(texts)
        size = pc.binary_length(short).to_numpy().astype(np.int64)
        judges = half(short) if side is None else np.full(size.size, side)
        out = np.full((len(self.family.members), size.size), np.nan)
        for which in (0, 1):
            rows = np.flatnonzero((judges == which) & (size > 0))
            if not rows.size:
                continue
            offsets, ids = self.tokenizer.encode_batch(short.take(pa.array(rows)).to_pylist())
            data = windows_to_score(offsets, ids, self.family.context, END)
            for number, found in enumerate(self.models[which]):
                if found is not None:
                    with threads(1):
                        model = decoder(*found, self.device).eval()
                        out[number, rows] = bits_per_byte(model, data, size[rows], self.device)
        return out


@dataclass(frozen=True)
class _Item:
    key: str
    number: int
    side: int


def _tokenizer(family: Family, pool: Pool, run: Run, key: str) -> Tokenizer:
    def make(here: Run) -> Tokenizer:
        return Tokenizer.train(sample_of(family.shortened(pool.column("text")).to_pylist(), here), family.vocab)

    return run.share(f"{key}-tokenizer", make)


def _grown(family: Family, pool: Pool, run: Run, item: _Item) -> tuple[Any, Any] | None:
    """Shape and weights of a model that has read the half of the pool that it is not to judge."""

    def make(here: Run) -> tuple[Any, Any] | None:
        from tilth.models.batches import reading_order, windows
        from tilth.models.feeds import Fixed
        from tilth.models.merging import state_of
        from tilth.models.optim import Options, precision_of
        from tilth.models.train import generator, threads, train_lm
        from tilth.models.transformer import Config, build

        depth, wanted = family.members[item.number]
        texts = family.shortened(pool.column("text"))
        read = np.flatnonzero((half(texts) != item.side) & (pc.binary_length(texts).to_numpy() > 0))
        if not read.size:
            return None
        tokenizer = _tokenizer(family, pool, run, item.key)
        offsets, ids = tokenizer.encode_batch(texts.take(pa.array(read)).to_pylist())
        lengths = np.diff(offsets) + 1
        tokens = max(1, round(wanted * min(1.0, family.passes * int(lengths.sum()) / max(family.tokens))))
        # Both models of a member read in the same shares.
        readings = _readings(pool, family.vary, read, lengths, replace(here, place=("shared", item.key, item.number)))
        repeats = np.floor(readings * tokens + here.rng("sample").random(lengths.size)).astype(np.int64)
        order = reading_order(repeats if repeats.any() else repeats + 1, here.rng("order"))
        data = windows(offsets, ids, order, family.context, END, tokens)
        config = Config.of_depth(depth, tokenizer.vocab_size, family.context)
        with threads(1):
            start = replace(here, place=("shared", item.key, "depth", depth))  # alike for all, so reading alone differs
            model = build(config, generator(start.rng("init"))).to(here.device)
            options = Options(
                rate=config.rate, batch=min(family.batch, len(data)), precision=precision_of("auto", here.device)
            )
            train_lm(model, Fixed(data, options.batch, here.device), options)
            return config, state_of(model)

    return run.share(f"{item.key}-{item.number}-{item.side}", make)


def _readings(pool: Pool, vary: str, read: Ints, lengths: Ints, run: Run) -> Floats:
    """How often each record is to be read, divided by the number of tokens to read in all."""
    if not vary:
        return np.full(read.size, 1 / lengths.sum())
    names = pc.fill_null(pc.cast(pool.column(vary), pa.string()), "").to_pylist()
    found, value = np.unique(np.array(names, object), return_inverse=True)
    share, mine = run.rng("shares").dirichlet(np.ones(found.size)), value[read]
    there = np.bincount(mine, lengths, found.size)
    share = np.where(there > 0, share, 0)
    return np.asarray(share[mine] / share.sum() / there[mine])
