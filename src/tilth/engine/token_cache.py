"""TokenCache: the records of a plan as token ids on disk, made once, read through memory maps, checked block by block.

cache.json         written last; a folder without it is no cache
rows.npy           (records,) row numbers in the pool, ascending
offsets.npy        (records + 1,) record i is ids[offsets[i]:offsets[i + 1]], its end token included
ids.bin            uint16 or uint32
learned.bin        one byte per id, dialogues only: 1 where it is an assistant's
parts/             finished pieces of a cache in the making; gone when it is complete
"""

from __future__ import annotations

import errno
import json
import os
import re
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadInput, MissingExtra, PoolCorrupt, UsageError
from tilth.core.files import no_space, write_atomic
from tilth.core.method import digest
from tilth.core.pool import Pool
from tilth.engine.local import Workers
from tilth.engine.store import locked
from tilth.engine.sums import Sums, sums
from tilth.models.tokenizer import Tokenizer

__all__ = ["TokenCache", "discard", "token_cache", "writable"]

Ints = npt.NDArray[np.int64]
VERSION: Final = 1
KINDS: Final = ("text", "instruction")
PIECE: Final = 4096  # records encoded at a time


@dataclass(frozen=True)
class TokenCache:
    """An open cache.

    Attributes:
        folder: where it lies.
        told: what ``cache.json`` says.
    """

    folder: Path
    told: Mapping[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a finished cache. The small files are checked at once, the large ones block by block as they are read.

        Raises:
            PoolCorrupt: when there is none, or it is not what was written.
        """
        try:
            told = json.loads((folder / "cache.json").read_text())
            made = cls(folder, told)
            made.sums.sizes()
            for name in ("rows.npy", "offsets.npy"):
                made.sums.whole(name)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise PoolCorrupt(
                f"{folder} holds no complete token cache ({error}). It is made anew when asked for."
            ) from None
        return made

    @cached_property
    def sums(self) -> Sums:
        """What the files were when written."""
        return Sums(self.folder, self.told["files"])

    @cached_property
    def rows(self) -> Ints:
        """(records,) their row numbers in the pool."""
        return cast(Ints, np.asarray(np.load(self.folder / "rows.npy", mmap_mode="r")))

    @cached_property
    def offsets(self) -> Ints:
        """(records + 1,) where each record begins."""
        return cast(Ints, np.asarray(np.load(self.folder / "offsets.npy", mmap_mode="r")))

    @cached_property
    def ids(self) -> npt.NDArray[Any]:
        """All ids, mapped."""
        return self._mapped("ids.bin", self.told["dtype"])

    @cached_property
    def learned(self) -> npt.NDArray[np.uint8] | None:
        """Which ids are learned, mapped; None where all are."""
        return self._mapped("learned.bin", "uint8") if "learned.bin" in self.told["files"] else None

    def check(self, starts: Ints, stops: Ints) -> None:
        """Compare the blocks that hold these stretches of ids with their checksums, each the first time it is read.

        Raises:
            PoolCorrupt: when a block is not what was written.
        """
        width = np.dtype(self.told["dtype"]).itemsize
        for name, size in (("ids.bin", width), ("learned.bin", 1)):
            if name in self.told["files"]:
                self.sums.check(name, starts * size, stops * size)

    def _mapped(self, name: str, dtype: str) -> npt.NDArray[Any]:
        if not self.told["files"][name]["bytes"]:
            return np.zeros(0, dtype)
        return np.asarray(np.memmap(self.folder / name, dtype, "r"))

    def __getstate__(self) -> dict[str, Any]:
        return {"folder": self.folder, "told": self.told}  # maps are opened anew in another process


def token_cache(
    folder: Path | str,
    pool: Pool,
    rows: Ints,
    tokenizer: Tokenizer,
    workers: Workers,
) -> TokenCache:
    """The cache of these records; made where it is missing or broken, in pieces that a killed run need not make again.

    Args:
        folder: where caches lie, each in a folder of its own; or a remote one, such as ``s3://bucket/tokens``, of which
            a finished cache is copied to this machine.
        rows: row numbers of the records, ascending.

    Raises:
        UsageError: when the pool's kind has no tokens to stream.
        BadInput: when the tokenizer has no token that ends a document, or none of the records has a token.
    """
    if pool.kind not in KINDS:
        raise UsageError(
            f"A stream reads {' and '.join(KINDS)}; this pool holds {pool.kind} records. Export it, or hand the plan "
            f"to a trainer with `tilth.models.hub.dataset`."
        )
    told = [
        VERSION,
        pool.fingerprint,
        pool.kind,
        tokenizer.fingerprint,
        digest([rows.size, zlib.crc32(rows.tobytes())]),
    ]
    if re.match(r"[a-z0-9]{2,}:/[^/]", str(folder)):  # a Path folds the slashes
        raise UsageError(f"{folder} is an address that was made into a path. Give it as text, with both slashes.")
    place = _local(str(folder), digest(told)) if "://" in str(folder) else Path(folder) / digest(told)
    with suppress(PoolCorrupt):
        return TokenCache.open(place)  # without the lock, as the folder may be one that cannot be written to
    with writable(place), locked(place, wait=float("inf")):
        try:
            return TokenCache.open(place)
        except PoolCorrupt:
            _make(place, pool, rows, tokenizer, workers)
        return TokenCache.open(place)


@contextmanager
def writable(folder: Path) -> Iterator[None]:
    """Say what to do where a folder that lacks something cannot be written to.

    Raises:
        UsageError: when it cannot.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EACCES, errno.EPERM, errno.EROFS):
            raise
        raise UsageError(
            f"{folder} lacks tokens or an order and cannot be written to ({error}). Give a `cache` folder that can be, "
            f"or `file://{folder.parent.absolute()}`, whose tokens are copied."
        ) from error


def discard(cache: TokenCache) -> None:
    """Take a broken cache away, so that the next one who asks makes it anew."""
    with writable(cache.folder), locked(cache.folder, wait=float("inf")):
        (cache.folder / "cache.json").unlink(missing_ok=True)


def _make(place: Path, pool: Pool, rows: Ints, tokenizer: Tokenizer, workers: Workers) -> None:
    if tokenizer.eod is None:
        raise BadInput("The tokenizer has no token that ends a document (</s>, <|endoftext|>, ...); give another one.")
    (place / "cache.json").unlink(missing_ok=True)
    parts = place / "parts"
    pieces = [rows[start : start + PIECE] for start in range(0, rows.size, PIECE)]
    work = [(number, piece) for number, piece in enumerate(pieces)]
    lengths = workers.map(partial(_encoded, pool, tokenizer, parts), work, "tokens", parts / "done")
    offsets = np.append(0, np.cumsum(np.concatenate([np.zeros(0, np.int64), *lengths]))).astype(np.int64)
    if not offsets[-1]:
        kind = " A dialogue without an assistant's turn teaches nothing." if pool.kind == "instruction" else ""
        raise BadInput(f"None of the {rows.size:,} records has a token to read.{kind} Plan others.")
    names = ["ids.bin"] + (["learned.bin"] if pool.kind == "instruction" else [])
    files = {}
    with no_space(place):
        for name in names:
            files[name] = _joined(place / name, [parts / f"{number}.{name}" for number in range(len(pieces))])
        for name, array in (("rows.npy", rows), ("offsets.npy", offsets)):
            np.save(place / "array.tmp.npy", array)
            os.replace(place / "array.tmp.npy", place / name)
            files[name] = sums(place / name)
    told = {
        "version": VERSION,
        "pool": pool.fingerprint,
        "kind": pool.kind,
        "tokenizer": tokenizer.fingerprint,
        "end": tokenizer.eod,
        "dtype": _type(tokenizer).name,
        "records": int(rows.size),
        "tokens": int(offsets[-1]),
        "files": files,
    }
    write_atomic(place / "cache.json", json.dumps(told).encode())
    shutil.rmtree(parts)


def _type(tokenizer: Tokenizer) -> np.dtype[Any]:
    return np.dtype(np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32)


def _encoded(pool: Pool, tokenizer: Tokenizer, parts: Path, work: tuple[int, Ints]) -> Ints:
    """Encode some records into files of their own; their lengths, the end token counted."""
    number, rows = work
    end = cast(int, tokenizer.eod)
    if pool.kind == "instruction":
        from tilth.models.dialogues import encode_dialogues

        talks = encode_dialogues(tokenizer, pool.take(rows, ["messages"]).column(0).to_pylist(), end=end)
        offsets, ids = talks.offsets, talks.ids
        write_atomic(parts / f"{number}.learned.bin", talks.learned.astype(np.uint8).tobytes())
    else:
        texts = [text or "" for text in pool.take(rows, ["text"]).column(0).to_pylist()]
        offsets, ids = tokenizer.encode_batch(texts)
        ids = np.insert(ids, offsets[1:], end)
        offsets = offsets + np.arange(offsets.size)
    write_atomic(parts / f"{number}.ids.bin", ids.astype(_type(tokenizer)).tobytes())
    return np.diff(offsets).astype(np.int64)


def _joined(path: Path, parts: Sequence[Path]) -> dict[str, Any]:
    temporary = path.with_name(path.name + ".tmp")
    with open(temporary, "wb") as out:
        for part in parts:
            with open(part, "rb") as file:
                shutil.copyfileobj(file, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    os.replace(temporary, path)
    return sums(path)


def _local(url: str, key: str) -> Path:
    """The folder on this machine for a cache that lies elsewhere, filled from there if it is not yet."""
    try:
        import fsspec
    except ImportError as error:
        raise MissingExtra(f"Reading {url} needs fsspec: pip install 'tilth[remote]'. {error}") from None
    base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "tilth" / "tokens" / digest([url])
    place = base / key
    files, root = fsspec.core.url_to_fs(f"{url.rstrip('/')}/{key}")
    with locked(place, wait=float("inf")):
        if not (place / "cache.json").exists() and files.exists(f"{root}/cache.json"):
            told = files.cat_file(f"{root}/cache.json")
            for name in json.loads(told)["files"]:
                files.get_file(f"{root}/{name}", str(place / f"{name}.tmp"))
                os.replace(place / f"{name}.tmp", place / name)
            write_atomic(place / "cache.json", told)
    return place
