"""Bytes of a file, decompressed block by block, and the lines in them; memory stays bounded whatever the file holds."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO, Final

import zstandard

from tilth.core.errors import BadInput

__all__ = ["MAX_LINE", "Broken", "blocks", "lines", "whole"]

MAX_LINE: Final = 32 << 20
EXCERPT: Final = 200
_BLOCK: Final = 1 << 20
_BOM: Final = b"\xef\xbb\xbf"


class Broken(Exception):
    """The data ends or is damaged here; everything before it was good."""


def blocks(path: Path) -> Iterator[bytes]:
    """The contents of a file, decompressed when its name ends in .gz or .zst, without a leading byte order mark.

    Raises:
        BadInput: when the file cannot be opened or is UTF-16.
        Broken: where compressed data is cut or damaged; all blocks before it have been given out.
    """
    try:
        with path.open("rb") as file:
            unpack = {".gz": _gunzip, ".zst": _unzstd}.get(path.suffix.lower(), _plain)
            first = True
            for block in unpack(file):
                if first:
                    if block[:2] in (b"\xff\xfe", b"\xfe\xff"):
                        raise BadInput(f"{path} is UTF-16. Convert it: iconv -f UTF-16 -t UTF-8.")
                    block = block.removeprefix(_BOM)
                    first = False
                yield block
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}.") from None


def lines(parts: Iterable[bytes], limit: int = MAX_LINE) -> Iterator[tuple[int, bytes, int]]:
    r"""Each line's number (from 1), its bytes without the ``\n``, and its length.

    Of a line longer than `limit` only the first bytes are kept, enough for an excerpt.
    """
    number, size = 1, 0
    held: list[bytes] = []
    for block in parts:
        *done, rest = block.split(b"\n")
        for piece in done:
            size += len(piece)
            held.append(piece if size <= limit else piece[:EXCERPT])
            yield number, _line(held, size, limit), size
            number, size = number + 1, 0
            held = []
        if rest:
            size += len(rest)
            if size <= limit:
                held.append(rest)
            else:
                held = [b"".join([*held, rest[:EXCERPT]])[:EXCERPT]]
    if held:
        yield number, _line(held, size, limit), size


def _line(held: list[bytes], size: int, limit: int) -> bytes:
    line = held[0] if len(held) == 1 else b"".join(held)
    return line if size <= limit else line[:EXCERPT]


def whole(path: Path, limit: int) -> bytes:
    """The whole contents of a small file.

    Raises:
        BadInput, Broken: as `blocks`; also Broken when there are more than `limit` bytes.
    """
    parts: list[bytes] = []
    size = 0
    for block in blocks(path):
        size += len(block)
        if size > limit:
            raise Broken(f"larger than {limit:,} bytes; split it into smaller files")
        parts.append(block)
    return b"".join(parts)


def _plain(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _gunzip(file: BinaryIO) -> Iterator[bytes]:
    # zlib rather than gzip, whose buffering throws away the good data in front of a break; small bites, as an
    # error loses what its bite would have given
    stream = zlib.decompressobj(31)
    started = False
    data = b""
    given = 0
    while True:
        if not data:
            data = file.read(1 << 14)
            if not data:
                break
        if not started:
            data = data.lstrip(b"\0")  # members may be padded with zeros
            if not data:
                continue
            started = True
        try:
            out = stream.decompress(data, 1 << 16)
        except zlib.error as error:
            raise Broken(_damaged(given, str(error))) from None
        given += len(out)
        if out:
            yield out
        data = stream.unconsumed_tail
        if stream.eof:
            data = stream.unused_data
            stream, started = zlib.decompressobj(31), False
    if started:
        raise Broken(_cut(given))


def _unzstd(file: BinaryIO) -> Iterator[bytes]:
    # decompressobj rather than stream_reader: the latter ends silently where a frame is cut.
    # Small bites bound the output: 4 bytes can stand for a block of 128 KiB.
    maker = zstandard.ZstdDecompressor()
    stream = maker.decompressobj()
    open_frame = False
    given = 0
    while data := file.read(1024):
        while data:
            open_frame = True
            try:
                out = stream.decompress(data)
            except zstandard.ZstdError as error:
                raise Broken(_damaged(given, str(error))) from None
            given += len(out)
            if out:
                yield out
            data = b""
            if stream.eof:
                data = stream.unused_data
                stream, open_frame = maker.decompressobj(), False
    if open_frame:
        raise Broken(_cut(given))


def _cut(given: int) -> str:
    return f"the compressed data is cut off after {given:,} bytes of content; fetch the file again for the rest"


def _damaged(given: int, why: str) -> str:
    return f"the compressed data is damaged after {given:,} bytes of content ({why}); fetch the file again for the rest"
