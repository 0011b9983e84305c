"""Nearest neighbours of every row by inner product: exactly, or among the rows of the nearest k-means clusters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from tilth.kernels.neighbours import keep_largest, keep_largest_both
from tilth.models import kmeans

__all__ = ["exact", "listed"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]
Track: TypeAlias = Callable[[Iterable[int], str, int | None], Iterable[int]]

BLOCK = 4096  # rows whose similarities to as many exist at once: 64 MB
LIST = 1024  # rows in a list on average


def _empty(n: int, k: int) -> tuple[Reals, Places]:
    return np.full((n, k), -np.inf, np.float32), np.full((n, k), -1, np.int32)


def _same(items: Iterable[int], label: str, total: int | None) -> Iterable[int]:
    del label, total
    return items


def exact(values: Reals, k: int, track: Track = _same) -> tuple[Places, Reals]:
    """The k most similar other rows of every row, the most similar first, and their inner products.

    Every pair is looked at once, a block at a time. Cost: n^2 x width / 2 multiplications; memory of the lists and one
    block.

    Args:
        values: (n, width), n < 2^31.
        k: where there are fewer other rows, the lists end in -1 with a similarity of minus infinity.

    >>> exact(np.float32([[1, 0], [0.8, 0.6], [0, 1]]), 1)[0].ravel().tolist()
    [1, 0, 1]
    """
    n = len(values)
    similar, places = _empty(n, k)
    for row in track(range(0, n, BLOCK), "neighbours", -(-n // BLOCK)):
        mine = values[row : row + BLOCK]
        inside = np.arange(row, row + len(mine))
        keep_largest(mine @ mine.T, inside, inside, similar, places)
        for column in range(row + BLOCK, n, BLOCK):
            keep_largest_both(mine @ values[column : column + BLOCK].T, row, column, similar, places)
    return places, similar


def listed(
    values: Reals, k: int, rng: np.random.Generator, probes: int = 16, track: Track = _same
) -> tuple[Places, Reals]:
    """The same among rows of the `probes` lists nearest to a row's own, lists being the clusters of a k-means.

    Nearly all true neighbours are found where rows lie in clumps. Cost: n x probes x list x width multiplications,
    with about 1,024 rows in a list, and the k-means.
    """
    n = len(values)
    similar, places = _empty(n, k)
    model = kmeans.fit(values, max(1, round(n / LIST)), rng, sample=20, steps=5)
    label, _ = model.assign(values)
    order = np.argsort(label, kind="stable")
    bounds = np.searchsorted(label[order], np.arange(len(model.centres) + 1))
    norms = (model.centres**2).sum(1)
    for number in track(range(len(model.centres)), "neighbours", len(model.centres)):
        mine = order[bounds[number] : bounds[number + 1]]
        away = norms - 2 * (model.centres @ model.centres[number])
        near = np.argsort(away, kind="stable")[:probes]
        for other in near.tolist():
            theirs = order[bounds[other] : bounds[other + 1]]
            for start in range(0, mine.size, BLOCK):
                rows = mine[start : start + BLOCK]
                keep_largest(values[rows] @ values[theirs].T, rows, theirs, similar, places)
    return places, similar
