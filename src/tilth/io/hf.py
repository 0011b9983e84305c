"""Hugging Face datasets saved to disk (Arrow files, read without the `datasets` package), and tables in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa

from tilth.core.errors import BadInput
from tilth.io.parquet import rows
from tilth.io.reader import Bad, Row

__all__ = ["is_saved", "read", "read_table"]


def is_saved(folder: Path) -> bool:
    """Whether `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote this folder."""
    return (folder / "state.json").is_file() or (folder / "dataset_dict.json").is_file()


def read(path: Path) -> Iterator[Row | Bad]:
    """One row per row of a saved dataset (all its splits, in their order) or of one Arrow file.

    Raises:
        BadInput: when a file is missing or damaged.
    """
    number = 0
    for file in [path] if path.is_file() else _files(path):
        for row in _arrow(file):
            number += 1
            yield Row(number, row.value) if isinstance(row, Row) else Bad(number, row.reason, row.excerpt)


def read_table(data: Any) -> Iterator[Row | Bad]:
    """The rows of a table in memory: Arrow, pandas, polars, a `datasets.Dataset`, whatever speaks Arrow's C stream.

    Raises:
        BadInput: when `data` is none of these.
    """
    if hasattr(data, "with_format") and hasattr(data, "iter"):  # a Dataset; this way its shuffles and selections hold
        tables = data.with_format("arrow").iter(batch_size=1000)
        yield from rows(batch for table in tables for batch in table.to_batches())
    elif hasattr(data, "__arrow_c_stream__"):
        yield from rows(pa.RecordBatchReader.from_stream(data))
    elif hasattr(data, "to_arrow"):
        yield from rows(data.to_arrow().to_batches())
    else:
        raise BadInput(f"A table in memory is Arrow, pandas, polars or a Dataset. Got {type(data).__name__}.")


def _files(folder: Path) -> list[Path]:
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits", [])
        return [file for split in splits for file in _files(_inside(folder, split))]
    state = _json(folder / "state.json")
    if state.get("_indices_data_files"):
        raise BadInput(f"{folder} was saved with an index over its rows. Save it again after `flatten_indices()`.")
    return [_inside(folder, entry.get("filename")) for entry in state.get("_data_files", [])]


def _inside(folder: Path, name: object) -> Path:
    """A name from a foreign file, never a way out of the folder."""
    if not isinstance(name, str) or name != Path(name).name:
        raise BadInput(f"{folder}: its state file names {name!r}, which is no file of this folder.")
    return folder / name


def _json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise BadInput(f"{path} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise BadInput(f"{path} is not a JSON object.")
    return value


def _arrow(path: Path) -> Iterator[Row | Bad]:
    try:
        with pa.memory_map(str(path)) as source, _open(source) as batches:
            yield from rows(batches)
    except (pa.ArrowException, OSError, ValueError, MemoryError) as error:
        raise BadInput(f"{path} is no whole Arrow file: {str(error).splitlines()[0]} Save it again.") from None


def _open(source: pa.NativeFile) -> Any:
    """Datasets are saved as Arrow streams; an .arrow file by others may be the random-access form."""
    if source.read(6) == b"ARROW1":
        source.seek(0)
        file = pa.ipc.open_file(source)
        return pa.RecordBatchReader.from_batches(
            file.schema, (file.get_batch(i) for i in range(file.num_record_batches))
        )
    source.seek(0)
    return pa.ipc.open_stream(source)
