"""Plain text and Markdown: one record per file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tilth.io.reader import Bad, Row, excerpt
from tilth.io.streams import Broken, whole

__all__ = ["read"]

MAX_FILE: Final = 256 << 20


def read(path: Path, max_file: int = MAX_FILE) -> Iterator[Row | Bad]:
    """One row with the file's text as it stands; an empty file gives none."""
    try:
        data = whole(path, max_file)
        if data:
            yield Row(1, {"text": data.decode(), "file": path.name})
    except Broken as error:
        yield Bad(1, str(error))
    except UnicodeDecodeError as error:
        yield Bad(1, f"invalid UTF-8 at byte {error.start}", excerpt(error.object))
