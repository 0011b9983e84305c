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
        for start in range(0, len(batch), _ROWS):
            for value in _values(batch.slice(start, _ROWS)):
                number += 1
                if isinstance(value, str):
                    yield Bad(number, value)
                elif reason := unfit(value):
                    yield Bad(number, reason)
                else:
                    yield Row(number, value)


def _values(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | str]:
    """Each row's values, or what is wrong with them. Foreign buffers are checked first: Arrow trusts their offsets."""
    try:
        yield from _plain(batch)
    except (ValueError, OverflowError) as error:
        if len(batch) == 1:
            yield f"a value is not what its type says: {str(error).splitlines()[0]}"
            return
        for i in range(len(batch)):
            yield from _values(batch.slice(i, 1))


def _plain(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """Plain values, dates and times as ISO strings: as Python objects they would depend on what else is installed."""
    batch.validate(full=True)
    for i, field in enumerate(batch.schema):
        if pa.types.is_temporal(field.type) and not pa.types.is_duration(field.type):
            batch = batch.set_column(i, field.name, pc.cast(batch.column(i), pa.string()))
    values: list[dict[str, Any]] = batch.to_pylist()
    return values
