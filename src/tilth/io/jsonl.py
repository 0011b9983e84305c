"""JSON Lines: one object per line; plain, .gz or .zst."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import orjson

from tilth.io.reader import MAX_DEPTH, MAX_KEYS, Bad, Row, excerpt, unfit
from tilth.io.streams import MAX_LINE, Broken, blocks, lines

__all__ = ["read"]


def read(path: Path, max_line: int = MAX_LINE) -> Iterator[Row | Bad]:
    """One row per line; empty lines are passed over. A repeated key keeps its last value.

    When compressed data is cut, the rows before the cut are given and the cut itself, with the unfinished
    line in front of it, is one Bad.
    """
    number = 0
    try:
        for number, line, size in lines(blocks(path), max_line):
            parsed = _parse(number, line, size, max_line)
            if parsed is not None:
                yield parsed
    except Broken as error:
        yield Bad(number + 1, str(error))


def _parse(number: int, line: bytes, size: int, limit: int) -> Row | Bad | None:
    if size > limit:
        return Bad(number, f"line of {size:,} bytes; at most {limit:,} are accepted", excerpt(line))
    if not line.strip():
        return None
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Bad(number, _why(line, error), excerpt(line))
    if not isinstance(value, dict):
        return Bad(number, f"not an object but {_name(value)}", excerpt(line))
    # the counts bound depth and keys from above, so ordinary lines need no walk
    if line.count(b"{") + line.count(b"[") > MAX_DEPTH or line.count(b":") > MAX_KEYS:
        reason = unfit(value)
        if reason:
            return Bad(number, reason, excerpt(line))
    return Row(number, value)


def _why(line: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        line.decode()
    except UnicodeDecodeError as wrong:
        return f"invalid UTF-8 at byte {wrong.start} of the line"
    return f"invalid JSON: {error.msg.split(': line ')[0]} at column {error.colno}"


def _name(value: object) -> str:
    return {list: "an array", str: "a string", type(None): "null", bool: "a boolean"}.get(type(value), "a number")
