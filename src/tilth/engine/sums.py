"""Sums: large files compared block by block with checksums of what was written, each when it is first read."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from tilth.core.errors import PoolCorrupt

__all__ = ["Sums", "sums"]

Ints = npt.NDArray[np.int64]
BLOCK: Final = 1 << 20  # bytes under one checksum


def sums(path: Path) -> dict[str, Any]:
    """The size of a file and the checksums of its blocks, as plain data."""
    found = []
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            found.append(zlib.crc32(block))
    return {"bytes": path.stat().st_size, "crc32": found}


@dataclass(frozen=True)
class Sums:
    """The files of a folder and what they were when written.

    Attributes:
        folder: where they lie.
        files: name -> what `sums` said.
    """

    folder: Path
    files: Mapping[str, Any]
    _seen: dict[str, npt.NDArray[np.bool_]] = field(default_factory=dict, repr=False, compare=False)
    _whole: set[str] = field(default_factory=set, repr=False, compare=False)

    def sizes(self) -> None:
        """Compare the sizes.

        Raises:
            ValueError: when a file is shorter or longer than it was.
            OSError: when it is not there.
        """
        for name, wanted in self.files.items():
            if (size := (self.folder / name).stat().st_size) != wanted["bytes"]:
                raise ValueError(f"{name} has {size:,} bytes instead of {wanted['bytes']:,}")

    def check(self, name: str, starts: Ints, stops: Ints) -> None:
        """Compare the blocks that hold these stretches of bytes, each the first time.

        Raises:
            PoolCorrupt: when a block is not what was written.
        """
        if self.known(name):
            return
        seen = self._blocks(name)
        first, last = starts // BLOCK, np.minimum(np.maximum(stops - 1, starts) // BLOCK, seen.size - 1)
        some = np.zeros(seen.size + 1, np.int64)
        np.add.at(some, first, 1)
        np.add.at(some, last + 1, -1)
        self._compare(name, np.flatnonzero((np.cumsum(some[:-1]) > 0) & ~seen))

    def known(self, *names: str) -> bool:
        """Whether all of these files were compared, from here, before."""
        return self._whole.issuperset(names)

    def whole(self, name: str) -> None:
        """Compare all of a file; see `check`."""
        self._compare(name, np.flatnonzero(~self._blocks(name)))

    def _blocks(self, name: str) -> npt.NDArray[np.bool_]:
        if name not in self._seen:
            self._seen[name] = np.zeros(len(self.files[name]["crc32"]), bool)
        return self._seen[name]

    def _compare(self, name: str, blocks: Ints) -> None:
        if not blocks.size:
            return
        wanted = self.files[name]["crc32"]
        with open(self.folder / name, "rb") as file:
            for block in blocks.tolist():
                file.seek(block * BLOCK)
                if zlib.crc32(file.read(BLOCK)) != wanted[block]:
                    raise PoolCorrupt(
                        f"{self.folder / name} is not what was written: block {block} of {len(wanted)} has another "
                        f"checksum. Delete the folder; it is made anew when asked for."
                    )
                self._blocks(name)[block] = True
        if self._blocks(name).all():
            self._whole.add(name)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "folder": self.folder,
            "files": self.files,
            "_seen": {},
            "_whole": set(),
        }  # another process looks for itself
