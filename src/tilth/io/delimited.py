"""CSV and TSV with a header line; plain, .gz or .zst. Quoting as in RFC 4180: a field that begins with ``"``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tilth.core.errors import BadInput
from tilth.io.reader import MAX_KEYS, Bad, Row, excerpt
from tilth.io.streams import MAX_LINE, Broken, blocks, lines

__all__ = ["read"]

_QUOTE: Final = b'"'


def read(path: Path, max_record: int = MAX_LINE) -> Iterator[Row | Bad]:
    """One row per record, every value a string; empty lines are passed over. A row's number is its first line.

    The parser is our own because that of the standard library has one field size limit per process, and goes
    on to the end of the file after a stray quote without saying where it began.
    """
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    header: list[str] | None = None
    for number, record in _records(path, b"\t" if name.endswith(".tsv") else b",", max_record):
        if isinstance(record, Bad):
            yield record
            continue
        try:
            fields = [field.decode() for field in record]
        except UnicodeDecodeError as error:
            yield Bad(number, f"invalid UTF-8 at byte {error.start} of a field", excerpt(error.object))
            continue
        if header is None:
            header = _header(fields, path)
        elif len(fields) != len(header):
            reason = f"{len(fields)} fields where the header has {len(header)}"
            yield Bad(number, reason, excerpt(" | ".join(fields[:20])))
        else:
            yield Row(number, dict(zip(header, fields, strict=True)))


def _header(fields: list[str], path: Path) -> list[str]:
    names = [field.strip() for field in fields]
    if len(set(names)) != len(names) or "" in names or len(names) > MAX_KEYS:
        raise BadInput(f"{path}: the first line must name the columns, each once. Got {excerpt(', '.join(names))}.")
    return names


def _records(path: Path, delimiter: bytes, limit: int) -> Iterator[tuple[int, list[bytes] | Bad]]:
    """The fields of each record. A quoted field may hold line breaks, so a record may span lines."""
    first, number = 0, 0
    fields: list[bytes] = []
    quoted: list[bytes] | None = None  # pieces of the quoted field that is open
    size = 0
    try:
        for number, line, length in lines(blocks(path), limit):
            if quoted is None:
                if not line.strip():
                    continue
                first, fields, size = number, [], 0
            size += length
            if size > limit:
                reason = f"a record of more than {limit:,} bytes; is a quote opened on line {first} never closed?"
                yield first, Bad(first, reason, excerpt(line))
                quoted = None
                continue
            body = line[:-1] if line.endswith(b"\r") else line
            quoted, wrong = _split(body, delimiter, fields, quoted)
            if wrong:
                yield first, Bad(first, wrong, excerpt(line))
            elif quoted is None:
                yield first, fields
            else:
                quoted.append(line[len(body) :] + b"\n")
    except Broken as error:
        yield number + 1, Bad(number + 1, str(error))
        return
    if quoted is not None:
        reason = f"the quote opened in this record is not closed before the file ends (line {number})"
        yield first, Bad(first, reason, excerpt(b"".join(quoted)))


def _split(
    line: bytes, delimiter: bytes, fields: list[bytes], quoted: list[bytes] | None
) -> tuple[list[bytes] | None, str]:
    """Append the line's fields; returns the pieces of a quoted field left open, and what is wrong."""
    if quoted is None and _QUOTE not in line:
        fields += line.split(delimiter)
        return None, ""
    at = 0
    while True:
        if quoted is None:
            if line.startswith(_QUOTE, at):
                quoted, at = [], at + 1
                continue
            end = line.find(delimiter, at)
            fields.append(line[at:] if end < 0 else line[at:end])
            if end < 0:
                return None, ""
            at = end + 1
            continue
        end = line.find(_QUOTE, at)
        if end < 0:
            quoted.append(line[at:])
            return quoted, ""
        if line.startswith(_QUOTE, end + 1):  # a doubled quote is a quote
            quoted.append(line[at : end + 1])
            at = end + 2
            continue
        fields.append(b"".join([*quoted, line[at:end]]))
        quoted, at = None, end + 1
        if at == len(line):
            return None, ""
        if not line.startswith(delimiter, at):
            return None, f"text after the closing quote of field {len(fields)}; a quote inside quotes is doubled"
        at += 1
