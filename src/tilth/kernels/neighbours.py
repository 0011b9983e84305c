"""Keeping the k largest similarities of each row while blocks of a similarity matrix pass by."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["keep_largest", "keep_largest_both"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]


@njit(cache=True, nogil=True, inline="always")
def _insert(values: Reals, places: Places, value: float, place: int) -> None:
    """Put a value that is larger than the last into a descending list; of equal ones the first to come stays first."""
    at = values.size - 1
    while at > 0 and values[at - 1] < value:
        values[at] = values[at - 1]
        places[at] = places[at - 1]
        at -= 1
    values[at] = value
    places[at] = place


@njit(cache=True, nogil=True)
def keep_largest(block: Reals, rows: Ints, columns: Ints, values: Reals, places: Places) -> None:
    """Take a block of similarities into the lists of its rows.

    Args:
        block: (rows, columns) similarities.
        rows, columns: which rows of the whole these are; a row is no neighbour of itself.
        values, places: (n, k) lists, descending; changed.
    """
    last = values.shape[1] - 1
    for i in range(rows.size):
        row = rows[i]
        floor = values[row, last]
        for j in range(columns.size):
            if block[i, j] > floor and columns[j] != row:
                _insert(values[row], places[row], block[i, j], columns[j])
                floor = values[row, last]


@njit(cache=True, nogil=True)
def keep_largest_both(block: Reals, row: int, column: int, values: Reals, places: Places) -> None:
    """Take a block right of the diagonal into the lists of its rows and of its columns.

    Args:
        block: (rows, columns) similarities.
        row, column: where the block begins in the whole; every row lies before every column.
        values, places: (n, k) lists, descending; changed.
    """
    last = values.shape[1] - 1
    floors = values[column : column + block.shape[1], last].copy()
    for i in range(block.shape[0]):
        mine = row + i
        floor = values[mine, last]
        for j in range(block.shape[1]):
            value = block[i, j]
            if value > floor:
                _insert(values[mine], places[mine], value, column + j)
                floor = values[mine, last]
            if value > floors[j]:
                _insert(values[column + j], places[column + j], value, mine)
                floors[j] = values[column + j, last]
