"""Export as Parquet: the records as stored, with `phase` and `copy`; `prefix` and `weight` where a plan has some."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tilth.core.records import Kind, schema
from tilth.io.files import rename, replacing, slices

__all__ = ["write"]


def write(
    records: Iterable[pa.RecordBatch],
    folder: Path,
    kind: Kind,
    *,
    shard_bytes: int = 500 << 20,
    name: str = "train",
) -> list[Path]:
    """Write ``name-00000-of-00002.parquet`` and so on, zstd, in row groups of 1,024; returns the files.

    Args:
        shard_bytes: a file is closed once it has this many bytes on disk.
    """
    tables = slices(records)
    table = next(tables, None)
    columns = table.schema if table is not None else schema(kind)
    parts: list[Path] = []
    while table is not None or not parts:
        part = folder / f"{name}-{len(parts):05d}.tmp"
        with replacing(part) as file, pq.ParquetWriter(file, columns, compression="zstd", compression_level=3) as out:
            while table is not None and file.tell() < shard_bytes:
                out.write_table(table)
                table = next(tables, None)
        parts.append(part)
    # how many there are is known only now, and their names say it
    files = [folder / f"{name}-{i:05d}-of-{len(parts):05d}.parquet" for i in range(len(parts))]
    for part, path in zip(parts, files, strict=True):
        rename(part, path)
    return files
