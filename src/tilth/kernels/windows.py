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
    heads: npt.NDArray[np.bool_],
    before: Before,
    across: bool,
    out: npt.NDArray[np.int64],
) -> None:
    """Lay pieces side by side into windows.

    Args:
        ids: of all records.
        learned: which of them are learned; empty: all.
        starts, lengths: of each piece in `ids`.
        rows: the window of each piece, ascending.
        heads: whether a piece begins its record, so that only what stands before it can predict its first token.
        before: what stands before each piece, in its window, position count and segment, and is not learned.
        across: whether the pieces of a window are one text: positions run on, all in segment 0, firsts are learned.
        out: (4, windows, context) ids, labels, positions and segments; filled with the end token, `IGNORED`, 0 and -1.
    """
    row, column, segment = -1, 0, 0
    for k in range(starts.size):
        if rows[k] != row:
            row, column, segment = rows[k], 0, 0
        told = before.lengths[k]
        for i in range(told):
            out[0, row, column] = np.int64(before.ids[before.starts[k] + i])
            out[2, row, column] = column if across else i
            out[3, row, column] = 0 if across else segment
            column += 1
        predicted = across or told > 0 or not heads[k]
        for i in range(lengths[k]):
            at = starts[k] + i
            token = np.int64(ids[at])
            out[0, row, column] = token
            hidden = learned.size > 0 and learned[at] == 0
            if not hidden and (predicted or i > 0):
                out[1, row, column] = token
            out[2, row, column] = column if across else told + i
            out[3, row, column] = 0 if across else segment
            column += 1
        segment += 1
