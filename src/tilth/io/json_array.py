"""A .json file that holds one array of objects (as alpaca is published); one that holds JSON Lines is read as such."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

import orjson

from tilth.core.errors import BadInput
from tilth.io import jsonl
from tilth.io.reader import Bad, Row, excerpt, unfit
from tilth.io.streams import Broken, blocks, whole

__all__ = ["read"]

MAX_FILE: Final = 512 << 20


def read(path: Path, max_file: int = MAX_FILE) -> Iterator[Row | Bad]:
    """One row per element. An array is parsed in one piece, so its size is limited; JSON Lines have no such limit."""
    if not _is_array(path):
        yield from jsonl.read(path)
        return
    try:
        rows = orjson.loads(whole(path, max_file))
    except (orjson.JSONDecodeError, Broken) as error:
        raise BadInput(
            f"{path} is one JSON array and cannot be read: {error}. Convert what is whole: jq -c '.[]' {path.name}."
        ) from None
    for number, value in enumerate(rows, 1):
        if not isinstance(value, dict):
            yield Bad(number, "not an object", excerpt(repr(value)))
        elif reason := unfit(value):
            yield Bad(number, reason)
        else:
            yield Row(number, value)


def _is_array(path: Path) -> bool:
    try:
        for block in blocks(path):
            if start := block.lstrip()[:1]:
                return start == b"["
    except Broken:
        return False
    return False
