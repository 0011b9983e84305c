"""Windows of tokens, filled from pieces of records."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["IGNORED", "Before", "fill"]

Ints = npt.NDArray[np.int64]
IGNORED = -100  # the label of what is not learned, as torch and transformers have it


class Before(NamedTuple):
    """What stands before pieces and is not learned: piece k's is ``ids[starts[k]:starts[k] + lengths[k]]``."""

    ids: npt.NDArray[Any]
    starts: Ints
    lengths: Ints

    @classmethod
    def nothing(cls, pieces: int, dtype: npt.DTypeLike) -> Before:
        """Nothing, before so many pieces."""
        return cls(np.zeros(0, dtype), np.zeros(pieces, np.int64), np.zeros(pieces, np.int64))


@njit(cache=True, nogil=True)
def fill(
    ids: npt.NDArray[Any],
    learned: npt.NDArray[np.uint8],
    starts: Ints,
    lengths: Ints,
    rows: Ints,
    before: Before,
    across: bool,
    end: int,
    out: npt.NDArray[np.int64],
) -> None:
    """Lay pieces side by side into windows; every place of `out` is written once.

    Args:
        ids: of all records.
        learned: which of them are learned; empty: all.
        starts, lengths: of each piece in `ids`.
        rows: the window of each piece, ascending.
        before: what stands before each piece, in its window, position count and segment, and is not learned.
        across: whether the pieces of a window are one text: positions run on, all in segment 0, and a piece's first
            token is learned; else it is learned only where something stands before it, as what precedes it otherwise is
            of another record.
        end: the id of filling, whose label is `IGNORED`, position 0 and segment -1.
        out: (4, windows, context) ids, labels, positions and segments.
    """
    row, column, segment = 0, 0, 0
    for k in range(starts.size):
        while row < rows[k]:
            _rest(out, row, column, end)
            row, column, segment = row + 1, 0, 0
        tokens, labels, positions, segments = out[0, row], out[1, row], out[2, row], out[3, row]
        told, length, at = before.lengths[k], lengths[k], starts[k]
        base, mine = (column, 0) if across else (0, segment)
        for i in range(told):
            tokens[column + i] = before.ids[before.starts[k] + i]
            labels[column + i] = IGNORED
        for i in range(length):
            tokens[column + told + i] = ids[at + i]
        for i in range(told + length):
            positions[column + i] = base + i
            segments[column + i] = mine
        column += told
        if learned.size:
            for i in range(length):
                labels[column + i] = ids[at + i] if learned[at + i] else IGNORED
        else:
            for i in range(length):
                labels[column + i] = ids[at + i]
        if not across and told == 0 and length > 0:
            labels[column] = IGNORED
        column += length
        segment += 1
    while row < out.shape[1]:
        _rest(out, row, column, end)
        row, column = row + 1, 0


@njit(cache=True, nogil=True)
def _rest(out: npt.NDArray[np.int64], row: int, column: int, end: int) -> None:
    out[0, row, column:] = end
    out[1, row, column:] = IGNORED
    out[2, row, column:] = 0
    out[3, row, column:] = -1
