"""Parquet, row group by row group; and the rows of any Arrow batches."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tilth.core.errors import BadInput
from tilth.io.reader import Bad, Row, unfit

__all__ = ["read", "rows"]

_ROWS = 256


def read(path: Path) -> Iterator[Row | Bad]:
    """One row per row.

    Raises:
        BadInput: when the file is damaged; the rows before the damage have been given.
    """
    try:
        with pq.ParquetFile(path, pre_buffer=False) as file:
            yield from rows(file.iter_batches(batch_size=_ROWS))
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        first = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise BadInput(f"{path} is no whole Parquet file: {first} Fetch or write it again.") from None


def rows(batches: Iterable[pa.RecordBatch]) -> Iterator[Row | Bad]:
    """The rows of Arrow batches as plain values; a row with a value that is not what its type says is Bad."""
    number = 0
    for batch in batches:
        plain = _plain(batch)
        for start in range(0, len(plain), _ROWS):
            for value in _values(plain.slice(start, _ROWS)):
                number += 1
                if isinstance(value, str):
                    yield Bad(number, value)
                elif reason := unfit(value):
                    yield Bad(number, reason)
                else:
                    yield Row(number, value)


def _plain(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Dates and times as ISO strings: as Python objects they would depend on what else is installed."""
    for i, field in enumerate(batch.schema):
        if pa.types.is_temporal(field.type) and not pa.types.is_duration(field.type):
            batch = batch.set_column(i, field.name, pc.cast(batch.column(i), pa.string()))
    return batch


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    try:
        yield from batch.to_pylist()
    except (UnicodeDecodeError, ValueError, OverflowError):
        for i in range(len(batch)):
            yield _value(batch.slice(i, 1))


def _value(row: pa.RecordBatch) -> dict[str, Any] | str:
    try:
        value: dict[str, Any] = row.to_pylist()[0]
        return value
    except UnicodeDecodeError as error:
        return f"invalid UTF-8 at byte {error.start} of a string"
    except (ValueError, OverflowError) as error:
        return f"a value cannot be read: {error}"
