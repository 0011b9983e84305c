"""Pools on disk: a Lance dataset of fragments and columns, a lock, and the marks that make it crash-safe.

A pool is a folder::

    pool.json          kind and fragments with their content keys; written last, so its presence means complete
    records.lance/     the records, and one struct column per signal
    quarantine.jsonl   what could not be read, with file, line and reason
    work/              finished pieces of unfinished work, keyed by content; deleted when the work is committed
    shared/            models that several signals need and one of them trained; may be deleted at any time
    lock               held while somebody writes
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core.errors import PoolCorrupt, PoolLocked
from tilth.core.method import digest
from tilth.core.pool import Fragment, Pool, select, stored_names
from tilth.core.records import Kind, schema
from tilth.engine.local import no_space, write_atomic

__all__ = ["StoredFragment", "StoredPool", "locked", "write_fragment"]

os.environ.setdefault("LANCE_LOG", "error")  # Lance warns of every first write into a new folder

FORMAT = "2.1"  # the first Lance file format that keeps null structs
ENCODING = {"lance-encoding:compression": "none"}  # the default compression is several times slower to write and scan
BATCH_ROWS = 1024


@lru_cache(maxsize=4)
def _dataset(path: str, version: int) -> Any:
    import lance

    return lance.dataset(path, version=version)


class StoredFragment(Fragment):
    """A handle on one fragment of a stored pool at one version; small and picklable."""

    def __init__(self, path: str, version: int, number: int, key: str, count: int, offset: int, kind: Kind) -> None:
        self._path, self._version, self._number, self._kind = path, version, number, kind
        self.key, self.count, self.offset = key, count, offset

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The named columns, about a thousand records at a time."""
        dataset = _dataset(self._path, self._version)
        names = stored_names(columns, dataset.schema, self._kind)
        fragment = dataset.get_fragment(self._number)
        for batch in fragment.to_batches(columns=names, batch_size=BATCH_ROWS, batch_readahead=2):
            yield select(batch, columns, self._kind)


class StoredPool(Pool):
    """A pool on disk.

    Raises:
        PoolCorrupt: on construction, when the folder holds no complete pool.
    """

    def __init__(self, folder: Path, version: int | None = None) -> None:
        import lance

        self.folder = Path(folder)
        try:
            self._meta = json.loads((self.folder / "pool.json").read_text())
            self._path = str(self.folder / "records.lance")
            self._lance = lance.dataset(self._path, version=version)
        except (OSError, ValueError, KeyError) as error:
            raise PoolCorrupt(
                f"{self.folder} holds no complete pool ({error}). Run the import again; finished files are kept."
            ) from None
        self.kind = self._meta["kind"]

    def __reduce__(self) -> tuple[Any, ...]:
        return StoredPool, (self.folder, self.version)

    @property
    def version(self) -> int:
        """The version this handle reads; adding a column makes a new one, old ones stay readable."""
        return int(self._lance.version)

    @property
    def schema(self) -> pa.Schema:
        """Stored columns."""
        return self._lance.schema

    @property
    def fingerprint(self) -> str:
        """A function of the records, made at import."""
        return str(self._meta["fingerprint"])

    @property
    def text_bytes(self) -> int:
        """Bytes of text, all fields of the kind together."""
        return int(self._meta["text_bytes"])

    @property
    def origin(self) -> Mapping[str, Any]:
        """What was imported: files with size and hash, per source; and how many lines were quarantined."""
        return self._meta["origin"]  # type: ignore[no-any-return]

    def fragments(self) -> Sequence[Fragment]:
        """The fragments of this version, checked to be all there."""
        known, offset, out = self._meta["fragments"], 0, []
        stored = self._lance.get_fragments()
        if len(stored) != len(known):
            raise PoolCorrupt(f"{self.folder} should have {len(known)} fragments and has {len(stored)}; import again.")
        for item, part in zip(known, stored, strict=True):
            out.append(
                StoredFragment(
                    self._path, self.version, part.fragment_id, item["key"], item["count"], offset, self.kind
                )
            )
            offset += item["count"]
        return out

    def take(self, rows: npt.ArrayLike, columns: Sequence[str]) -> pa.Table:
        """The named columns of the records at these row numbers, in the order given, repeats allowed."""
        wanted, back = np.unique(np.asarray(rows, np.int64), return_inverse=True)
        names = stored_names(columns, self.schema, self.kind)
        tops = list(dict.fromkeys(name.partition(".")[0] for name in names))
        table = self._lance.take(wanted, columns=tops).combine_chunks()
        batches = table.to_batches() or [pa.RecordBatch.from_pylist([], schema=table.schema)]
        chosen = pa.Table.from_batches([select(batch, columns, self.kind) for batch in batches])
        return chosen.take(pa.array(back))

    def column_fingerprint(self, name: str) -> str | None:
        """What made a signal's column (`tilth.engine.apply`), None when the pool has no such column."""
        top = name.partition(".")[0]
        if top not in self.schema.names:
            return None
        metadata = self.schema.field(top).metadata or {}
        return str(metadata.get(b"tilth:fingerprint", b"record").decode())

    def column_maker(self, name: str) -> dict[str, Any]:
        """The signal that made a column, as plain data; empty for a field of the records."""
        metadata = self.schema.field(name).metadata or {}
        return json.loads(metadata.get(b"tilth:method", b"{}"))  # type: ignore[no-any-return]

    def work(self, key: str) -> Path:
        """The folder for finished pieces of the work with this key."""
        return self.folder / "work" / key

    def with_columns(
        self,
        name: str,
        columns: Mapping[str, pa.DataType],
        parts: Callable[[Fragment], pa.Table],
        about: dict[str, str],
    ) -> StoredPool:
        """A new version with one more struct column, committed at once for all fragments.

        Args:
            name: the column; one of this name is replaced.
            columns: its fields.
            parts: the fields' values for a fragment, one row per record.
            about: metadata kept with the column.
        """
        import lance

        pool = self
        if name in self.schema.names:
            self._lance.drop_columns([name])
            pool = StoredPool(self.folder)
        kind = pa.struct([pa.field(n, t) for n, t in columns.items()])
        target = pa.schema([pa.field(name, kind, metadata=about | ENCODING)])
        merged, new_schema = [], None
        with no_space(self.folder):
            for fragment, stored in zip(pool.fragments(), pool._lance.get_fragments(), strict=True):
                table = parts(fragment).combine_chunks()
                if table.num_rows != fragment.count:
                    raise PoolCorrupt(
                        f"{name}: fragment {fragment.key} has {fragment.count} records, its scores {table.num_rows}. "
                        f"Delete {self.work('')} and score again."
                    )
                values = pa.StructArray.from_arrays(
                    [_one_chunk(table.column(n), t) for n, t in columns.items()], fields=list(kind)
                )
                batch = pa.RecordBatch.from_arrays([values], schema=target)
                metadata, new_schema = stored.merge_columns(pa.RecordBatchReader.from_batches(target, [batch]))
                merged.append(metadata)
            lance.LanceDataset.commit(
                self._path, lance.LanceOperation.Merge(merged, new_schema), read_version=pool.version
            )
        return StoredPool(self.folder)

    def forget_work(self, key: str) -> None:
        """Delete finished pieces that are no longer needed."""
        shutil.rmtree(self.work(key), ignore_errors=True)


def _one_chunk(column: pa.ChunkedArray, kind: pa.DataType) -> pa.Array:
    cast = column.cast(kind)
    return (
        cast.chunk(0)
        if cast.num_chunks == 1
        else pa.concat_arrays(cast.chunks)
        if cast.num_chunks
        else pa.array([], kind)
    )


def storage_schema(kind: Kind) -> pa.Schema:
    """The kind's schema with the encoding stated, never left to the default."""
    return pa.schema([field.with_metadata(ENCODING) for field in schema(kind)])


def write_fragment(folder: Path, table: pa.Table, kind: Kind) -> dict[str, Any]:
    """Write one fragment's data file, not yet part of any version; its metadata as plain data."""
    from lance.fragment import write_fragments

    target = storage_schema(kind)
    with no_space(folder):
        (made,) = write_fragments(
            table.cast(target).combine_chunks(), str(folder / "records.lance"),
            schema=target, data_storage_version=FORMAT,
            max_rows_per_file=max(1, table.num_rows), max_bytes_per_file=1 << 40,
        )  # fmt: skip
    return made.to_json()  # type: ignore[no-any-return]


def commit_import(
    folder: Path, kind: Kind, fragments: Sequence[Mapping[str, Any]], origin: Mapping[str, Any], text_bytes: int
) -> StoredPool:
    """Make the written fragments a pool: one Lance commit, then ``pool.json``."""
    import lance
    from lance.fragment import FragmentMetadata

    with no_space(folder):
        metadata = [FragmentMetadata.from_json(json.dumps(f["lance"])) for f in fragments]
        lance.LanceDataset.commit(
            str(folder / "records.lance"), lance.LanceOperation.Overwrite(storage_schema(kind), metadata)
        )
    known = [{"key": f["key"], "count": f["count"]} for f in fragments]
    meta = {
        "kind": kind,
        "fingerprint": digest([kind, known]),
        "fragments": known,
        "text_bytes": text_bytes,
        "origin": origin,
    }
    write_atomic(folder / "pool.json", json.dumps(meta, indent=1).encode())
    return StoredPool(folder)


@contextmanager
def locked(folder: Path, wait: float = 0.0) -> Iterator[None]:
    """Hold the folder's lock; it is released when the process ends, however it ends.

    Raises:
        PoolLocked: when another process holds it for longer than `wait` seconds.
    """
    folder.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait
    with open(folder / "lock", "a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise PoolLocked(
                        f"{folder} is being written by process {file.read().strip() or 'unknown'}. Wait for it to "
                        f"end, or give `--wait SECONDS`."
                    ) from None
                time.sleep(0.1)
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
