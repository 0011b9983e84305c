"""What every reader gives: rows, and for what cannot be a row, the reason. Readers are found by a file's suffix."""

from __future__ import annotations

import glob
import importlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

from tilth.core.errors import BadInput

__all__ = ["MAX_DEPTH", "MAX_KEYS", "SUFFIXES", "Bad", "Read", "Row", "excerpt", "expand", "open_reader", "unfit"]

MAX_DEPTH: Final = 100
MAX_KEYS: Final = 10_000

SUFFIXES: Final = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json_array",
    ".parquet": "parquet",
    ".csv": "delimited",
    ".tsv": "delimited",
    ".txt": "text",
    ".md": "text",
    ".markdown": "text",
    ".rst": "text",
    ".html": "html",
    ".htm": "html",
    ".warc": "warc",
    ".wet": "warc",
    ".arrow": "hf",
    ".lance": "lance",
}
"""Suffix -> module of this package whose `read` reads it; all but the columnar ones may also end in .gz or .zst."""
_COLUMNAR: Final = {".parquet", ".arrow", ".lance"}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of foreign data.

    Attributes:
        number: its line (or row, or record) in the file, from 1.
        value: column name -> value.
    """

    number: int
    value: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bad:
    """Something in a file that is no row, and why.

    Attributes:
        number: its line (or row, or record) in the file, from 1; 0 = the whole file.
        reason: what is wrong, and where it helps, what to do.
        excerpt: the first characters of it, control characters escaped.
    """

    number: int
    reason: str
    excerpt: str = ""


Read = Callable[[Path], Iterator[Row | Bad]]


def excerpt(data: bytes | str) -> str:
    """The first 200 characters, safe to print: control characters and undecodable bytes are escaped."""
    text = data[:800].decode("utf-8", "backslashreplace") if isinstance(data, bytes) else data[:800]
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text[:200])


def unfit(value: Any) -> str:
    """Why a parsed value is not accepted (too deep, too many keys), or the empty string."""
    stack = [(value, 1)]
    while stack:
        item, depth = stack.pop()
        if depth > MAX_DEPTH:
            return f"nested deeper than {MAX_DEPTH} levels"
        if isinstance(item, dict):
            if len(item) > MAX_KEYS:
                return f"an object with {len(item):,} keys; at most {MAX_KEYS:,} are accepted"
            stack += [(v, depth + 1) for v in item.values() if isinstance(v, (dict, list))]
        elif isinstance(item, list):
            stack += [(v, depth + 1) for v in item if isinstance(v, (dict, list))]
    return ""


def open_reader(path: Path) -> Read:
    """The reader for a file or folder, chosen by its name.

    Raises:
        BadInput: when nothing here reads it.
    """
    module = _module(path)
    if module is None:
        what = "folder is no saved dataset" if path.is_dir() else "file's format is not known from its name"
        raise BadInput(
            f"{path}: this {what}. Supported: {', '.join(SUFFIXES)} (text formats also with .gz or .zst), a saved "
            f"Hugging Face dataset folder, and a folder with queries, corpus and qrels."
        )
    read: Read = importlib.import_module(f"tilth.io.{module}").read
    return read


def _module(path: Path) -> str | None:
    suffix = path.suffix.lower()
    if path.is_dir() and suffix != ".lance":
        from tilth.io import beir, hf

        return "hf" if hf.is_saved(path) else "beir" if beir.is_beir(path) else None
    if suffix in (".gz", ".zst"):
        suffix = Path(path.stem).suffix.lower()
        return None if suffix in _COLUMNAR else SUFFIXES.get(suffix)
    return SUFFIXES.get(suffix)


def expand(pattern: str, base: Path) -> list[Path]:
    """The files a pattern names, sorted: a path, a glob (``**`` crosses folders), or a folder to search.

    A folder that is itself a dataset (saved Hugging Face dataset, Lance, queries/corpus/qrels) is one result; any
    other folder stands for every supported file below it.

    Raises:
        BadInput: when nothing matches, naming the nearest names there are.
    """
    literal = base / pattern
    if literal.is_dir() and _module(literal) is None:
        found = [p for p in literal.rglob("*") if p.is_file() and _module(p)]
        if not found:
            raise BadInput(f"{literal} holds no file of a supported format ({', '.join(SUFFIXES)}).")
        return sorted(found)
    if literal.exists():
        return [literal]
    matches = [Path(p) for p in glob.glob(str(literal), recursive=True)]
    found = [p for p in matches if p.is_file() or _module(p)]
    if not found:
        raise BadInput(f"Nothing matches {str(literal)!r}. {_nearest(literal)}")
    return sorted(found)


def _nearest(wanted: Path) -> str:
    folder, below = wanted.parent, wanted.name
    while not folder.is_dir() and folder != folder.parent:
        folder, below = folder.parent, folder.name
    names = sorted(p.name for p in folder.iterdir()) if folder.is_dir() else []
    near = get_close_matches(below, names, n=3, cutoff=0.5) or names[:5]
    return f"{folder} has {', '.join(near)}." if near else f"{folder} is empty."
