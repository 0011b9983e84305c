"""WARC and WET archives, by warcio (extra `web`): one row per page; plain, .gz or .zst."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tilth.core.errors import MissingExtra
from tilth.io import html
from tilth.io.reader import Bad, Row, excerpt
from tilth.io.streams import Broken, blocks

__all__ = ["read"]

_PAGES: Final = ("text/html", "application/xhtml+xml")


def read(path: Path) -> Iterator[Row | Bad]:
    """One row per response (its main text) and per conversion record (its text); other records are no pages.

    A response that is no HTML page, or says another status than 200, is Bad. Numbers count all records.
    """
    try:
        from warcio.archiveiterator import ArchiveIterator
    except ImportError:
        raise MissingExtra("Reading WARC needs warcio. Install it: pip install 'tilth[web]'.") from None
    number = 0
    pipe = _Pipe(blocks(path))
    try:
        for number, record in enumerate(ArchiveIterator(io.BufferedReader(pipe, 1 << 16)), 1):
            if record.rec_type in ("response", "conversion"):
                yield _row(number, record)
    except Exception as error:  # warcio raises whatever its parsing meets in hostile input
        if isinstance(error, MissingExtra):
            raise
        pipe.broken = pipe.broken or f"the archive cannot be read on from here ({type(error).__name__}: {error})"
    if pipe.broken:
        yield Bad(number + 1, pipe.broken)


def _row(number: int, record: Any) -> Row | Bad:
    headers = record.rec_headers
    url = headers.get_header("WARC-Target-URI") or ""
    data = record.content_stream().read(html.MAX_PAGE + 1)
    if len(data) > html.MAX_PAGE:
        return Bad(number, f"larger than {html.MAX_PAGE:,} bytes", excerpt(url))
    if record.rec_type == "conversion":
        try:
            value: dict[str, str] | str = {"text": data.decode()}
        except UnicodeDecodeError as error:
            value = f"invalid UTF-8 at byte {error.start}"
    else:
        value = _response(record, data)
    if isinstance(value, str):
        return Bad(number, value, excerpt(url))
    known = {"url": url, "date": headers.get_header("WARC-Date"), "id": headers.get_header("WARC-Record-ID")}
    return Row(number, {**value, **{name: text for name, text in known.items() if text}})


def _response(record: Any, data: bytes) -> dict[str, str] | str:
    http = record.http_headers
    status = http.get_statuscode() if http else "200"
    if status != "200":
        return f"HTTP status {status}"
    content = (http.get_header("Content-Type") or "") if http else ""
    kind, _, rest = content.partition(";")
    if kind.strip().lower() not in (*_PAGES, ""):
        return f"not HTML but {kind.strip()}"
    return html.page(data, rest.partition("=")[2].strip(" \"'"))


class _Pipe(io.RawIOBase):
    """Blocks as a file that ends where the data breaks, and remembers why."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts
        self._rest = memoryview(b"")
        self.broken = ""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            try:
                self._rest = memoryview(next(self._parts, b""))
            except Broken as error:
                self.broken = str(error)
            if not self._rest:
                return 0
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count
