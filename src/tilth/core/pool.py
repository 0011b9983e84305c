"""Pool: a versioned columnar collection of records, read fragment by fragment."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.errors import MissingColumns
from tilth.core.method import digest
from tilth.core.records import FIELDS, Kind, render, render_fields

__all__ = ["Fragment", "Pool", "TablePool", "select"]

BATCH: Final = 4096


class Fragment(ABC):
    """An immutable piece of a pool: the unit of parallel and resumable work. Handles are small and picklable."""

    key: str
    """A function of the fragment's contents; work done on it is remembered under this key."""
    count: int
    """Number of records."""
    offset: int
    """Row number, in the pool, of the fragment's first record."""

    @abstractmethod
    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The named columns, a few thousand records at a time, in order.

        A name may be dotted (``quality.word_count``); ``text`` exists for every kind (see
        `records.render`). A batch's columns are named exactly as asked.
        """


class Pool(ABC):
    """What do I have? A lazy handle: nothing is read before `batches`, `table` or `take` is called."""

    kind: Kind

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Stored columns; a signal's columns are the fields of one struct column named after it."""

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """A function of the records (not of the signals' columns)."""

    @abstractmethod
    def fragments(self) -> Sequence[Fragment]:
        """The pieces, in order."""

    @property
    def count(self) -> int:
        """Number of records."""
        return sum(fragment.count for fragment in self.fragments())

    def column_names(self) -> list[str]:
        """Every name that can be read, dotted ones included."""
        names = ["text"] if "text" not in self.schema.names else []
        for field in self.schema:
            names.append(field.name)
            if pa.types.is_struct(field.type) and field.name not in FIELDS[self.kind]:
                names += [f"{field.name}.{child.name}" for child in field.type]
        return names

    def require(self, columns: Sequence[str], who: str) -> None:
        """Raise MissingColumns unless every named column can be read."""
        from difflib import get_close_matches

        have = self.column_names()
        missing = [c for c in columns if c not in have]
        if missing:
            near = get_close_matches(missing[0], have, n=2)
            hint = f" Did you mean {' or '.join(near)}?" if near else ""
            raise MissingColumns(
                f"{who} needs {', '.join(missing)}; the pool has {', '.join(have)}.{hint} "
                f"Columns of signals appear after the signal is scored: `tilth score`."
            )

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The named columns of all records, in order."""
        for fragment in self.fragments():
            yield from fragment.batches(columns)

    def table(self, columns: Sequence[str]) -> pa.Table:
        """The named columns in memory: for short columns, not for text of a large pool."""
        batches = list(self.batches(columns))
        if not batches:
            return pa.table({c: pa.array([], pa.string()) for c in columns})
        return pa.Table.from_batches(batches)

    def column(self, name: str) -> pa.ChunkedArray:
        """One column in memory."""
        return self.table([name]).column(0)

    @abstractmethod
    def take(self, rows: npt.ArrayLike, columns: Sequence[str]) -> pa.Table:
        """The named columns of the records at these row numbers, in the order given, repeats allowed."""

    def shares(self, by: str, weight: str | None = None) -> dict[str, float]:
        """Each value of a column and its share of the records, or of the sum of a numeric column."""
        table = self.table([by, weight] if weight else [by])
        keys = pc.fill_null(pc.cast(table.column(0), pa.string()), "")
        amounts = table.column(1) if weight else pa.array(np.ones(len(table)))
        sums = pa.table({"k": keys, "w": amounts}).group_by("k").aggregate([("w", "sum")]).sort_by("k")
        values = sums["w_sum"].to_numpy().astype(float)
        return dict(zip(sums["k"].to_pylist(), (values / values.sum()).tolist(), strict=True))


class TablePool(Pool):
    """A pool in memory, over an Arrow table: for probes, goals and tests.

    Args:
        table: has at least the kind's own fields; a missing ``id`` or ``source`` is filled in.
        kind: the kind of its records.
        fragment: records per fragment.
    """

    def __init__(self, table: pa.Table, kind: Kind = "text", fragment: int = 1 << 16) -> None:
        self.kind = kind
        missing = [name for name in FIELDS[kind] if name not in table.column_names]
        if missing:
            raise MissingColumns(f"A {kind} pool needs {', '.join(missing)}; got {table.column_names}.")
        if "id" not in table.column_names:
            table = table.add_column(0, "id", pa.array([f"r{i:08d}" for i in range(len(table))]))
        if "source" not in table.column_names:
            table = table.append_column("source", pa.array(["memory"] * len(table)))
        self._table = table
        self._size = max(1, fragment)

    @property
    def schema(self) -> pa.Schema:
        return self._table.schema

    @property
    def fingerprint(self) -> str:
        names = ("id", *FIELDS[self.kind], "source", "goal", "weight", "meta")
        own = [c for c in names if c in self._table.column_names]
        return digest([self.kind, *(column_digest(self._table.column(c)) for c in own)])

    def fragments(self) -> Sequence[Fragment]:
        starts = range(0, len(self._table), self._size)
        return [_TableFragment(self._table.slice(s, self._size), self.kind, s) for s in starts]

    def take(self, rows: npt.ArrayLike, columns: Sequence[str]) -> pa.Table:
        """The named columns of the records at these row numbers, in the order given, repeats allowed."""
        part = self._table.take(pa.array(np.asarray(rows, np.int64))).combine_chunks()
        batches = part.to_batches() or [pa.RecordBatch.from_pylist([], schema=part.schema)]
        return pa.Table.from_batches([select(batch, columns, self.kind) for batch in batches])

    def with_column(self, name: str, values: pa.Array | pa.ChunkedArray) -> TablePool:
        """The same pool with one column added or replaced."""
        table = self._table.drop_columns([name]) if name in self._table.column_names else self._table
        return TablePool(table.append_column(name, values), self.kind, self._size)


class _TableFragment(Fragment):
    def __init__(self, table: pa.Table, kind: Kind, offset: int) -> None:
        self._table, self._kind = table, kind
        self.count, self.offset = len(table), offset
        self.key = digest([offset, len(table), column_digest(table.column("id"))])

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        for batch in self._table.combine_chunks().to_batches(max_chunksize=BATCH):
            yield select(batch, columns, self._kind)


def select(batch: pa.RecordBatch, columns: Sequence[str], kind: Kind) -> pa.RecordBatch:
    """The named columns of a batch: dotted names reach into structs, ``text`` is rendered where it is not stored."""
    arrays = []
    for name in columns:
        if name in batch.schema.names:
            arrays.append(batch.column(name))
        elif name == "text":
            arrays.append(render(kind, batch))
        else:
            outer, _, inner = name.partition(".")
            arrays.append(pc.struct_field(batch.column(outer), inner))
    return pa.RecordBatch.from_arrays(arrays, names=list(columns))


def stored_names(columns: Sequence[str], schema: pa.Schema, kind: Kind) -> list[str]:
    """The stored columns one must read to answer for these names (dotted ones kept dotted)."""
    names: dict[str, None] = {}
    for name in columns:
        if name == "text" and "text" not in schema.names:
            names.update(dict.fromkeys(render_fields(kind)))
        else:
            names[name] = None
    return list(names)


def column_digest(column: pa.ChunkedArray) -> str:
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        from tilth.kernels.hashing import hash_strings  # numba takes a while to import; `tilth --help` does not need it

        hashes = hash_strings(column)
        return digest([len(column), column.null_count, int(np.bitwise_xor.reduce(_positional(hashes)))])
    return digest(column.to_pylist())


def _positional(hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Hashes made to depend on their position, so that a reordered column digests differently."""
    place = np.arange(1, hashes.size + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (hashes ^ place) * np.uint64(0xFF51AFD7ED558CCD)
    return np.append(mixed ^ (mixed >> np.uint64(33)), np.uint64(0))
