"""Windows of tokens, filled from pieces of records."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["IGNORED", "fill"]

Ints = npt.NDArray[np.int64]
IGNORED = -100  # the label of what is not learned, as torch and transformers have it


@njit(cache=True, nogil=True)
def fill(
    ids: npt.NDArray[Any],
    learned: npt.NDArray[np.uint8],
    starts: Ints,
    lengths: Ints,
    rows: Ints,
    across: bool,
    out: npt.NDArray[np.int64],
) -> None:
    """Lay pieces side by side into windows.

    Args:
        ids: of all records.
        learned: which of them are learned; empty: all.
        starts, lengths: of each piece in `ids`.
        rows: the window of each piece, ascending.
        across: whether the pieces of a window are one text: positions run on, all in segment 0, and a piece's first
            token is learned; else it is not, as what precedes it there is of another record.
        out: (4, windows, context) ids, labels, positions and segments; filled with the end token, `IGNORED`, 0 and -1.
    """
    row, column, segment = -1, 0, 0
    for k in range(starts.size):
        if rows[k] != row:
            row, column, segment = rows[k], 0, 0
        for i in range(lengths[k]):
            at = starts[k] + i
            token = np.int64(ids[at])
            out[0, row, column] = token
            hidden = learned.size > 0 and learned[at] == 0
            if not hidden and (across or i > 0):
                out[1, row, column] = token
            out[2, row, column] = column if across else i
            out[3, row, column] = 0 if across else segment
            column += 1
        segment += 1
