"""manifest.json: every file of an export with its hash, and how it came to be. Written last; without it, not done."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import orjson

from tilth.io.files import file_bytes

__all__ = ["NAME", "write_manifest"]

NAME: Final = "manifest.json"


def write_manifest(folder: Path, info: Mapping[str, Any]) -> Path:
    """List every file below the folder with size and sha256, add `info`, and write it whole.

    Args:
        info: plain data: input hashes, versions, parameters, seed, requested and realised mixture.
    """
    files = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": _sha256(path)}
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".tmp" and path != folder / NAME
    }
    option = orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS
    return file_bytes(folder / NAME, orjson.dumps({**info, "files": files}, default=str, option=option))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
