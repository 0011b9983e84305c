"""Checkpoints: a run that was cut goes on from its last one and ends with the same bits."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, Self, runtime_checkable

import numpy as np
import torch
from torch import nn

from tilth.core.files import write_atomic

__all__ = ["Checkpoint", "Stateful", "content"]


@runtime_checkable
class Stateful(Protocol):
    """Something that changes while training and must be saved with it."""

    def state(self) -> Any:
        """Everything needed to go on, picklable."""

    def load(self, state: Any) -> None:
        """Go on from what `state` returned."""


@dataclass(frozen=True)
class Checkpoint:
    """Where a training run is saved, and how often.

    Attributes:
        folder: one file per run is kept there, named by what the run is made of; it is removed when the run ends.
        every: steps between two writes. It has no influence on any result.
        key: what the run is made of; trainers add data, weights and options to it.
    """

    folder: Path
    every: int = 50
    key: str = ""

    def keyed(self, *parts: object) -> Self:
        """The same place for a run made of these parts too."""
        return replace(self, key=content([self.key, *parts]))

    @property
    def path(self) -> Path:
        """The file."""
        return self.folder / f"{self.key or 'run'}.checkpoint"

    def read(self) -> dict[str, Any] | None:
        """The last state that was written, or None."""
        if not self.path.exists():
            return None
        found: dict[str, Any] = torch.load(self.path, map_location="cpu", weights_only=False)  # our own file
        return found

    def write(self, state: dict[str, Any]) -> None:
        """Replace what is kept; a reader finds the old state or the new one, whole."""
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self.path, buffer.getvalue())

    def clear(self) -> None:
        """Remove the file: the run has ended."""
        self.path.unlink(missing_ok=True)


def content(parts: Iterable[object]) -> str:
    """16 hex digits of arrays, modules and plain values; equal exactly when they are."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, nn.Module):
            for name, tensor in part.state_dict().items():
                h.update(f"{name} {tuple(tensor.shape)}".encode())
                h.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        elif isinstance(part, np.ndarray):
            h.update(f"{part.dtype} {part.shape}".encode())
            h.update(np.ascontiguousarray(part).tobytes())
        else:
            h.update(repr(part).encode())
        h.update(b"\0")
    return h.hexdigest()[:16]
