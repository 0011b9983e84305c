"""Sliding windows: long texts scored with a long past at every token."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.kernels.packing import Placed, best_fit_decreasing
from tilth.models.batches import Windows, side_by_side

__all__ = ["sliding_windows"]

Ints = npt.NDArray[np.int64]


def sliding_windows(offsets: Ints, ids: npt.NDArray[np.uint32], context: int, stride: int, end: int) -> Windows:
    """Every token of every record scored once, in windows that move on by `stride`.

    A record's first window scores all its `context` tokens; each later one reads `context` tokens up to its end and
    scores the last `stride`, so a token far inside has at least ``context - stride`` tokens before it. The first token
    is predicted from `end`. Short records and windows share rows and do not attend to one another (`documents`).

    >>> made = sliding_windows(np.array([0, 5]), np.arange(1, 6, dtype=np.uint32), context=3, stride=2, end=0)
    >>> made.inputs.tolist(), made.targets.tolist()
    ([[0, 1, 2], [2, 3, 4]], [[1, 2, 3], [-1, 4, 5]])
    """
    if not 1 <= stride <= context:
        raise ValueError(f"a stride is 1 to the context's {context} tokens; got {stride}")
    parts: list[npt.NDArray[np.uint32]] = []
    learned: list[npt.NDArray[np.bool_]] = []
    pieces: list[tuple[int, int, int, int]] = []  # record, where it begins, start, stop; positions among `parts`
    used = 0
    for record in range(offsets.size - 1):
        text = ids[offsets[record] : offsets[record + 1]]
        done = 0
        while done < text.size:
            stop = min(done + (stride if done else context), text.size)
            start = max(0, stop - context) if done else 0
            before = 1 if start else 0  # the token that a later window's first input is
            parts.append(text[start - before : stop])
            learned.append(np.arange(start - before, stop) >= done)
            pieces.append((record, used if not start else -1, used + before, used + before + stop - start))
            used += before + stop - start
            done = stop
    table = np.array(pieces, np.int64).reshape(-1, 4)
    row = best_fit_decreasing(table[:, 3] - table[:, 2], context)
    return side_by_side(
        np.concatenate(parts) if parts else np.zeros(0, np.uint32),
        np.concatenate(learned) if learned else np.zeros(0, np.bool_),
        np.arange(offsets.size - 1),
        Placed(table[:, 0], table[:, 1], np.full(len(table), -1), table[:, 2], table[:, 3], row),
        context,
        end,
    )
