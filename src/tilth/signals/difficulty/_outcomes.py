"""Who answered which record right: read from what the input had beside the record, or from a column of lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa

from tilth.core.errors import UsageError

__all__ = ["MISSING", "attempts", "matrix", "named", "outcome", "values"]

MISSING: Final = -1
_CODES: Final[Mapping[Any, int]] = {1: 1, 0: 0, None: MISSING, "1": 1, "0": 0, "": MISSING}


def values(column: pa.Array | pa.ChunkedArray, systems: Sequence[str]) -> Iterator[Any]:
    """What each record has: a list, or name of a system -> value; None when there is nothing.

    Args:
        column: JSON objects as in `meta`, structs, or lists.
        systems: names of the fields with outcomes, or patterns such as ``model_*``. One that is a list stands for all
            systems, by their places. A column of lists needs no names.
    """
    kind = column.type
    parse = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    exact = not any(set(name) & set("*?[") for name in systems)
    for raw in column.to_pylist():
        value = orjson.loads(raw) if parse and raw else raw or None
        if isinstance(value, dict):
            if exact:
                value = {name: v for name in systems if (v := value.get(name)) is not None}
            else:
                value = {k: v for k, v in value.items() if v is not None and any(fnmatchcase(k, s) for s in systems)}
            if len(value) == 1 and isinstance(only := next(iter(value.values())), list):
                value = only
        yield value or None


def named(value: Any) -> Mapping[str, Any]:
    """The same by name of the system; those of a list are called by their places."""
    return {str(i): v for i, v in enumerate(value)} if isinstance(value, list) else value or {}


def outcome(value: Any, who: str, system: str) -> int:
    """1, 0, or `MISSING`.

    Raises:
        UsageError: when the value is none of them.
    """
    try:
        return _CODES[value]
    except (KeyError, TypeError):
        raise UsageError(
            f"{who} expected outcomes of 1 (right), 0 (wrong) or null (not asked); got {value!r} of system {system}."
        ) from None


def matrix(found: Sequence[Any], systems: Sequence[str], who: str) -> npt.NDArray[np.int8]:
    """(records, systems): 1 right, 0 wrong, `MISSING` where a system was not asked."""
    place = {name: i for i, name in enumerate(systems)}
    out = np.full((len(found), len(systems)), MISSING, np.int8)
    for row, value in enumerate(found):
        for name, v in named(value).items():
            out[row, place[name]] = outcome(v, who, name)
    return out


def attempts(value: Any, who: str) -> Iterator[tuple[str, Any, int]]:
    """Player, period and outcome of each attempt at a record; without attempts, its outcomes, in period 0.

    Raises:
        UsageError: when an attempt names no player or an outcome is none.
    """
    if isinstance(value, list) and any(isinstance(entry, dict) for entry in value):
        for entry in value:
            if not isinstance(entry, dict) or entry.get("player") is None or "right" not in entry:
                raise UsageError(f"{who} expected attempts of player, right and period (or none); got {entry!r}.")
            player = str(entry["player"])
            yield player, entry.get("period", 0), outcome(entry["right"], who, player)
    else:
        for name, v in named(value).items():
            yield name, 0, outcome(v, who, name)
