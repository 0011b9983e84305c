"""Blocks: vectors cut into equal pieces of near ones, so that what needs all pairs of records needs only a piece's."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["blocks", "merged"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Ordered: TypeAlias = tuple[Ints, Floats]

SAMPLE = 2048  # rows from which a direction is found
CHUNK = 1 << 14  # rows projected at a time


def blocks(values: Reals, size: int, rng: np.random.Generator) -> list[Ints]:
    """Row numbers in pieces of at most `size`, found by halving at the median along the direction of most spread.

    One piece where that is enough. Cost: rows times width for each of log2(rows / size) halvings.

    >>> near = blocks(np.float32([[0, 0], [9, 9], [0, 1], [9, 8]]), 2, np.random.Generator(np.random.PCG64(0)))
    >>> sorted(piece.tolist() for piece in near)
    [[0, 2], [1, 3]]
    """
    waiting, done = [np.arange(len(values))], []
    while waiting:
        rows = waiting.pop()
        if rows.size <= size:
            done.append(np.sort(rows))
            continue
        some = values[rng.permutation(rows)[:SAMPLE]].astype(np.float64)
        some -= some.mean(0)
        direction = np.linalg.svd(some, full_matrices=False)[2][0] if some.any() else np.ones(some.shape[1])
        along = np.concatenate([values[rows[i : i + CHUNK]] @ direction for i in range(0, rows.size, CHUNK)])
        order = np.argpartition(along, rows.size // 2)
        waiting += [rows[order[: rows.size // 2]], rows[order[rows.size // 2 :]]]
    return done


def merged(pieces: Iterable[Ints], of: Callable[[Ints], Ordered], last: int | None = None) -> Ordered:
    """The order of all rows from the order inside each piece, by what each pick was worth when it was picked.

    For a sum over pieces that do not touch each other this is greedy over all of them.

    Args:
        of: places inside a piece in the order of picking, and what each is worth, which may not rise.
        last: picks that are needed at most; None for all.
    """
    rows, worth = [], []
    for piece in pieces:
        order, gains = of(piece)
        rows.append(piece[order])
        worth.append(np.minimum.accumulate(gains.astype(np.float64)))  # rounding must not reorder a piece
    every, gain = np.concatenate(rows), np.concatenate(worth)
    best = np.argsort(-gain, kind="stable")[:last]
    return every[best], gain[best]
