"""What a build depends on, told by names, sizes and times alone: cheap enough to look at before every build."""

from __future__ import annotations

import glob
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

__all__ = ["of_code", "of_files", "of_recipe"]


def of_files(paths: Iterable[Path]) -> list[list[Any]]:
    """Path, size and modification time of each file; of a folder, of each file in it."""
    marks: list[list[Any]] = []
    for path in paths:
        for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
            stat = file.stat()
            marks.append([str(file), stat.st_size, stat.st_mtime_ns])
    return marks


def of_recipe(raw: Mapping[str, Any], base: Path) -> list[list[Any]]:
    """Marks of every file that a raw recipe's sources and goal name."""
    patterns = [*_paths(raw.get("sources")), *_paths(raw.get("goal"))]
    found = {Path(p) for pattern in patterns for p in glob.glob(str(base / pattern), recursive=True)}
    return of_files(sorted(found))


def of_code() -> list[list[Any]]:
    """Marks of tilth's own files: a changed method must not be mistaken for a finished build."""
    return of_files(sorted(Path(__file__).parent.rglob("*.py")))


def _paths(value: Any) -> Iterator[str]:
    """Every string in a nest of mappings and lists; those that name no file match nothing."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _paths(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _paths(inner)
