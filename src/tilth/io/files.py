"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import pyarrow as pa

from tilth.core.errors import NoSpace

__all__ = ["file_bytes", "rename", "replacing", "slices"]


@contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """A file to write: ``name.tmp`` until the block ends, then on disk and renamed; gone if the block fails.

    Raises:
        NoSpace: when the disk is full.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        rename(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno in (28, 122):  # no space left, quota exceeded
            raise NoSpace(f"The disk is full while writing {path}. Free some space and run again.") from None
        raise


def rename(old: Path, new: Path) -> None:
    """Give a finished file its name, and make the name itself survive a crash."""
    os.replace(old, new)
    folder = os.open(new.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def file_bytes(path: Path, data: bytes) -> Path:
    """Write a small file whole."""
    with replacing(path) as file:
        file.write(data)
    return path


def slices(records: Iterable[pa.RecordBatch], rows: int = 1024) -> Iterator[pa.Table]:
    """The same rows in tables of exactly `rows` (the last may be shorter): output must not depend on how they came."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in records:
        while len(batch):
            part = batch.slice(0, rows - count)
            held.append(part)
            count += len(part)
            batch = batch.slice(len(part))
            if count == rows:
                yield pa.Table.from_batches(held).combine_chunks()
                held, count = [], 0
    if held:
        yield pa.Table.from_batches(held).combine_chunks()
