"""Run: the world a method may touch. Passed in, never imported."""

from __future__ import annotations

import hashlib
import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.core.files import write_atomic

__all__ = ["Run"]

T = TypeVar("T")
R = TypeVar("R")


class Progress(Protocol):
    """How progress is shown: wraps an iterable of known length."""

    def __call__(self, items: Iterable[Any], label: str, total: int | None) -> Iterator[Any]: ...


class Mapper(Protocol):
    """How independent pieces of work are run: results in the order of the items."""

    def __call__(self, func: Callable[[Any], Any], items: Sequence[Any], label: str) -> list[Any]: ...


def _silent(items: Iterable[Any], label: str, total: int | None) -> Iterator[Any]:
    return iter(items)


def _serial(func: Callable[[Any], Any], items: Sequence[Any], label: str) -> list[Any]:
    return [func(item) for item in items]


def _best_device() -> str:
    """The only place that asks for a GPU; torch is imported here, when somebody wants to know."""
    try:
        import torch
    except ImportError:
        return "cpu"
    return "cuda" if torch.cuda.is_available() else "cpu"  # noqa: TID251


@dataclass(frozen=True)
class Run:
    """Randomness by place, device, progress and parallel work.

    Attributes:
        seed: the one seed of the whole run.
        place: the path that names where in the run we are; `rng` depends on it, never on call order.
        device: where neural models run; ``auto`` becomes ``cuda`` where torch finds one, else ``cpu``.
        scratch: a folder for temporary files of the method in hand, or None (then use `tempfile`).
        shared: a folder for what several methods need and one of them makes, or None; see `share`.
        varied: names of places whose numbers are drawn anew, with the number of the draw; see `vary`.
    """

    seed: int = 0
    place: tuple[str | int, ...] = ()
    device: str = "cpu"
    scratch: Path | None = None
    shared: Path | None = None
    varied: tuple[tuple[str, int], ...] = ()
    progress: Progress = field(default=_silent, repr=False, compare=False)
    mapper: Mapper = field(default=_serial, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.device == "auto":
            object.__setattr__(self, "device", _best_device())

    def at(self, *key: str | int) -> Self:
        """The same run at a named place inside this one."""
        return replace(self, place=(*self.place, *key))

    def alone(self) -> Self:
        """The same run for a piece of work in another process: silent, and what it maps it does itself."""
        return replace(self, progress=_silent, mapper=_serial)

    def vary(self, **draws: int) -> Self:
        """The same run with other numbers at every place that has one of these names in its path; the rest stays.

        So ``run.vary(init=3)`` is another draw of the initial weights with the same order of the data. Every number is
        a draw of its own, 0 too, and differs from the run that varies nothing.

        >>> run = Run().at("trial", 0)
        >>> run.number("init") == run.vary(init=3).number("init")
        False
        >>> run.number("order") == run.vary(init=3).number("order")
        True
        """
        return replace(self, varied=tuple(sorted({**dict(self.varied), **draws}.items())))

    def number(self, *key: str | int) -> int:
        """A 64-bit number that is a function of seed and place (and of `varied`, where it names the place) only."""
        path = (*self.place, *key)
        varied = tuple(pair for pair in self.varied if pair[0] in path)
        text = repr((self.seed, path, varied) if varied else (self.seed, path)).encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "little")

    def rng(self, *key: str | int) -> np.random.Generator:
        """A generator that is a function of seed and place, never of call order or worker."""
        return np.random.Generator(np.random.PCG64(self.number(*key)))

    def uniform(self, ids: pa.Array | pa.ChunkedArray, *key: str | int) -> npt.NDArray[np.float64]:
        """One number in (0, 1) per record, a function of seed, place and record id: batching cannot change it."""
        from tilth.kernels.hashing import hash_strings

        bits = hash_strings(ids, self.number(*key)) >> np.uint64(11)
        return (bits.astype(np.float64) + 0.5) * 2.0**-53

    def track(self, items: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Iterate and show progress; silent in workers and tests."""
        if total is None and isinstance(items, Sequence):
            total = len(items)
        return self.progress(items, label, total)

    def share(self, key: str, make: Callable[[Self], T]) -> T:
        """What several methods need, such as a trained model: `make(run)`, kept in `shared` for all who ask for `key`.

        `make` gets this run at a place that depends on the key alone, so whoever comes first makes the same. What it
        returns must be picklable; with no folder to share, everybody makes it anew.
        """
        here = replace(self, place=("shared", key), varied=())
        if self.shared is None:
            return make(here)
        file = self.shared / f"{key}.pkl"
        if file.exists():
            kept: T = pickle.loads(file.read_bytes())  # our own file
            return kept
        value = make(here)
        write_atomic(file, pickle.dumps(value, protocol=5))
        return value

    def map(self, func: Callable[[T], R], items: Sequence[T], label: str) -> list[R]:
        """`func` of every item, in order. The engine runs it in processes and resumes it per item.

        `func` must be picklable (a module-level function or a `functools.partial` of one) and its
        result small or written to `scratch`.
        """
        return self.mapper(func, items, label)
