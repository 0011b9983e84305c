"""What the policies that look at embeddings share: reading or making them, and filling a budget in an order."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.errors import BadInput, DataError, UsageError
from tilth.core.plan import Plan, take_budget
from tilth.core.pool import Pool
from tilth.core.run import Run
from tilth.models.encoder import Encoder, StaticEncoder, encoder

__all__ = [
    "VECTORS",
    "Source",
    "Vectors",
    "fill",
    "most",
    "nearest",
    "needed",
    "of_names",
    "of_target",
    "read",
    "source",
    "too_many",
]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]

VECTORS: Final = (
    "where embeddings come from: a column of numbers; static (learned from the pool), minilm or a model's folder (with "
    "a slash); auto takes the column `embedding` if there is one, else static"
)
COLUMN: Final = "embedding"  # what auto looks for
LEARNT: Final = 50_000  # records a static encoder is learned from
PIECE: Final = 4096  # records taken at a time


@dataclass(frozen=True)
class Vectors:
    """The embeddings of the kept records that have one.

    Attributes:
        rows: (n,) row numbers in the pool, ascending.
        values: (n, width).
        missing: kept records without one: null, not a number, or a text in which the encoder knows no word.
        told: where they are from, for people.
    """

    rows: Ints
    values: Reals
    missing: int
    told: str

    @property
    def lost(self) -> str:
        """The end of a note, naming what is dropped for want of an embedding; empty when nothing is."""
        return f"; {self.missing:,} without an embedding dropped" if self.missing else ""


@dataclass(frozen=True)
class Source:
    """Where embeddings come from: a column of pool and target, and what makes vectors of it where it is text.

    Attributes:
        name: the column.
        made: None where the column holds the numbers.
        told: what a policy's field said.
    """

    name: str
    made: Encoder | None
    told: str


def needed(vectors: str) -> tuple[str, ...]:
    """The columns that must be there."""
    return ("id", vectors) if _is_column(vectors) else ("id", "text")


def source(vectors: str, plan: Plan, pool: Pool, run: Run) -> Source:
    """What a policy's field names; for a policy that reads several times, so that an encoder is learned once."""
    if _is_column(vectors):
        return Source(vectors, None, vectors)
    if vectors == "auto" and COLUMN in pool.column_names():
        return Source(COLUMN, None, vectors)
    if vectors in ("auto", "static"):
        return Source("text", run.share(f"static-{plan.pool}-{run.seed}", partial(_learnt, pool)), vectors)
    return Source("text", encoder(vectors, [], run), vectors)


def read(
    vectors: str | Source,
    plan: Plan,
    pool: Pool,
    run: Run,
    who: str,
    unit: bool = True,
    rows: Ints | None = None,
) -> Vectors:
    """The embeddings of the records that a plan keeps, in memory once: 4 bytes a number.

    Args:
        vectors: the policy's field, see `VECTORS`, or its `source`.
        rows: read these records alone, ascending.
        unit: scale each to length one, so that inner products are cosines; one of length 0 is missing then.

    Raises:
        MissingColumns: when a column is named that the pool has not.
        DataError: when no record has an embedding, or they differ in width.
        MissingExtra: when the encoder's package is not installed.
    """
    origin = vectors if isinstance(vectors, Source) else source(vectors, plan, pool, run)
    name, made = origin.name, origin.made
    pool.require([name], who)
    pieces = _kept(plan, pool, name) if rows is None else _taken(rows, pool, name)
    size = int(plan.kept.sum()) if rows is None else rows.size
    values, count = np.zeros((0, 0), np.float32), 0
    where = np.empty(size, np.int64)
    for mine, column in run.track(pieces, f"{who}: embeddings"):
        found, has = _numbers(column, made, who, name)
        lengths = np.linalg.norm(found, axis=1)
        good = np.isfinite(lengths) & ((lengths > 0) | (not unit))
        found, has = found[good], has[good]
        if found.size and not values.size:
            values = np.empty((size, found.shape[1]), np.float32)
        if found.size and found.shape[1] != values.shape[1]:
            raise DataError(f"{who}: embeddings in {name!r} have {values.shape[1]} numbers, then {found.shape[1]}.")
        values[count : count + has.size] = found / lengths[good, None] if unit else found
        where[count : count + has.size] = mine[has]
        count += has.size
    if not count:
        raise DataError(
            f"{who}: none of {size:,} records has an embedding in {name!r} ({origin.told}). Name a column with "
            f"embeddings as `vectors`, or an encoder that knows the texts' words, such as minilm."
        )
    width = values.shape[1]
    told = (
        f"{width} numbers of {name}" if made is None else f"{width} numbers by {origin.told.replace('auto', 'static')}"
    )
    return Vectors(where[:count], values[:count], size - count, told)


def of_target(
    vectors: str | Source, target: Pool, plan: Plan, pool: Pool, run: Run, who: str, unit: bool = True
) -> Vectors:
    """The embeddings of the goal's target, made the way the pool's are."""
    origin = vectors if isinstance(vectors, Source) else source(vectors, plan, pool, run)
    name, made = origin.name, origin.made
    target.require([name], f"{who} on the target (embeddings of pool and target must come from one place)")
    parts, rows, offset = [], [], 0
    for batch in target.batches([name]):
        found, has = _numbers(batch.column(0), made, who, name)
        parts.append(found)
        rows.append(has + offset)
        offset += batch.num_rows
    found = np.concatenate([part for part in parts if part.size] or [np.zeros((0, 1), np.float32)])
    where = np.concatenate([r for r, part in zip(rows, parts, strict=True) if part.size] or [np.zeros(0, np.int64)])
    lengths = np.linalg.norm(found, axis=1)
    good = np.isfinite(lengths) & ((lengths > 0) | (not unit))
    if not good.any():
        raise DataError(
            f"{who}: no example of the target has an embedding in {name!r} ({origin.told}); its words may not be the "
            f"pool's. Name a column or another encoder as `vectors`."
        )
    found = found[good] / lengths[good, None] if unit else found[good]
    return Vectors(where[good], found, offset - int(good.sum()), "")


def of_names(name: str, texts: Sequence[str], plan: Plan, pool: Pool, run: Run) -> Reals:
    """The embeddings of short texts, such as tags, by an encoder; all zeros where it knows no word."""
    made = source(name, plan, pool, run).made
    if made is None:
        raise BadInput(f"Names are embedded by static, minilm or a model's folder (with a slash); got {name!r}.")
    return made.encode(texts)


def fill(plan: Plan, order: Ints) -> npt.NDArray[np.bool_]:
    """Which records the budget has room for when they are taken in this order of row numbers."""
    keep = np.zeros(len(plan), bool)
    keep[order[: take_budget((plan.sizes * plan.repeats)[order], plan.budget.amount)]] = True
    return keep


def most(plan: Plan, rows: Ints) -> int:
    """How many of these records the budget can have room for at most, whichever are taken."""
    sizes = np.sort((plan.sizes * plan.repeats)[rows])
    return min(rows.size, take_budget(sizes, plan.budget.amount) + 1)


def too_many(who: str, count: int, limit: int, field: str, other: str) -> UsageError:
    """The error of a policy that will not start what would take hours."""
    return UsageError(
        f"{who} would compare {count:,} records in pairs; its limit `{field}` is {limit:,}. Give it a smaller budget "
        f"or `{other}`, keep fewer records before it, or raise `{field}` and wait."
    )


def nearest(values: Reals, place: int) -> Ints:
    """All places, those of the vectors most like the one at this place first: a choice without any variety."""
    return np.argsort(-(values @ values[place]), kind="stable")


def _is_column(vectors: str) -> bool:
    return vectors not in ("auto", "static", "minilm") and os.sep not in vectors and "/" not in vectors


def _kept(plan: Plan, pool: Pool, name: str) -> Iterator[tuple[Ints, pa.Array]]:
    """Row numbers of kept records and their part of a column, in pieces."""
    kept, offset = plan.kept, 0
    for batch in pool.batches([name]):
        mine = np.flatnonzero(kept[offset : offset + batch.num_rows])
        yield mine + offset, batch.column(0).take(pa.array(mine))
        offset += batch.num_rows


def _taken(rows: Ints, pool: Pool, name: str) -> Iterator[tuple[Ints, pa.Array]]:
    """The same of some records alone, without going through the others."""
    for start in range(0, rows.size, PIECE):
        mine = rows[start : start + PIECE]
        column = pool.take(mine, [name]).column(0)
        yield mine, column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)


def _learnt(pool: Pool, run: Run) -> StaticEncoder:
    """A static encoder of the whole pool, so that every policy of a recipe has the same one."""
    rows = np.sort(run.rng("encoder records").permutation(pool.count)[:LEARNT])
    return StaticEncoder.train(pool.take(rows, ["text"]).column(0), run)


def _numbers(column: pa.Array, made: Encoder | None, who: str, name: str) -> tuple[Reals, Ints]:
    """The vectors of a piece of a column, and the places of those that have one."""
    if made is not None:
        return made.encode(column), np.arange(len(column))
    kind = column.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not lists or not (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        raise BadInput(f"{who}: embeddings are lists of numbers; {name!r} is {kind}.")
    has = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
    column = column.take(pa.array(has))
    if not has.size:
        return np.zeros((0, 0), np.float32), has
    lengths = pc.list_value_length(column).to_numpy(zero_copy_only=False)
    if lengths.min() != lengths.max() or lengths[0] == 0:
        raise DataError(f"{who}: embeddings in {name!r} have between {lengths.min()} and {lengths.max()} numbers.")
    flat = pc.fill_null(column.flatten().cast(pa.float32()), float("nan"))
    return flat.to_numpy(zero_copy_only=False).reshape(has.size, int(lengths[0])), has
