"""Foreign files to tables of records, chunk by chunk: pure functions that the engine runs, resumes and commits."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

import orjson
import pyarrow as pa

from tilth.core.errors import BadInput
from tilth.core.records import Record, schema
from tilth.io.detect import Layout, to_record
from tilth.io.reader import Bad, Row, excerpt, open_reader

__all__ = ["CHUNK", "Chunk", "chunks", "pack", "sample"]

CHUNK: Final = 32 << 20


@dataclass(frozen=True)
class Chunk:
    """A piece of an import.

    Attributes:
        index: its place among the chunks of its file, from 0.
        table: its records, with the schema `core.records.schema` gives their kind.
        quarantine: what could not be a record: file, line, reason, excerpt.
    """

    index: int
    table: pa.Table
    quarantine: list[dict[str, Any]]


def sample(path: Path, count: int = 100) -> list[dict[str, Any]]:
    """The first rows of a file, for `detect`; bad ones are passed over.

    Raises:
        BadInput: when the file is of no supported format.
    """
    read = open_reader(path)(path)
    return [item.value for item in islice(_while_readable(read), count * 10) if isinstance(item, Row)][:count]


def chunks(
    path: Path,
    layout: Layout,
    source: str,
    defaults: Mapping[str, str],
    bytes_per_chunk: int = CHUNK,
    *,
    strict: bool = False,
    name: str = "",
) -> Iterator[Chunk]:
    """The chunks of one file. The same file always gives the same chunks; an empty one gives none.

    Args:
        name: how the quarantine calls the file; its path where not given.
        strict: raise at the first thing that cannot be a record.

    Raises:
        BadInput: when the file's format is not supported, or anything is bad and `strict` is set.
    """
    items = open_reader(path)(path)
    yield from pack(items, name or str(path), layout, source, defaults, bytes_per_chunk, strict=strict)


def pack(
    items: Iterator[Row | Bad],
    file: str,
    layout: Layout,
    source: str,
    defaults: Mapping[str, str],
    bytes_per_chunk: int = CHUNK,
    *,
    strict: bool = False,
) -> Iterator[Chunk]:
    """As `chunks`, for rows from anywhere, such as `hf.read_table`."""
    index, size = 0, 0
    records: list[Record] = []
    quarantine: list[dict[str, Any]] = []
    for item in items if strict else _while_readable(items):
        got = to_record(item.value, layout, source, defaults) if isinstance(item, Row) else item
        if isinstance(got, dict):
            records.append(got)
            size += _size(got)
        else:
            bad = got if isinstance(got, Bad) else Bad(item.number, got, _show(item))
            if strict:
                raise BadInput(f"{file}, line {bad.number}: {bad.reason}. Got: {bad.excerpt}")
            quarantine.append({"file": file, "line": bad.number, "reason": bad.reason, "excerpt": bad.excerpt})
            size += 500
        if size >= bytes_per_chunk:
            yield Chunk(index, pa.Table.from_pylist(records, schema(layout.kind)), quarantine)
            index, size, records, quarantine = index + 1, 0, [], []
    if records or quarantine:
        yield Chunk(index, pa.Table.from_pylist(records, schema(layout.kind)), quarantine)


def _while_readable(items: Iterable[Row | Bad]) -> Iterator[Row | Bad]:
    """The items up to where the whole file fails, and that failure as the last one."""
    try:
        yield from items
    except BadInput as error:
        yield Bad(0, str(error))


def _size(record: Record) -> int:
    """Roughly the record's bytes; only its being the same every time matters."""
    return 64 + sum(_length(value) for value in record.values())


def _length(value: Any) -> int:
    if isinstance(value, list):
        return sum(_length(v) for v in value)
    if isinstance(value, dict):
        return sum(_length(v) for v in value.values())
    return len(value.encode()) if isinstance(value, str) else 0


def _show(item: Row | Bad) -> str:
    if isinstance(item, Bad):
        return item.excerpt
    return excerpt(orjson.dumps(item.value, default=str, option=orjson.OPT_NON_STR_KEYS))
