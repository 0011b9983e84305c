"""Where in a text it is worth looking for personal data: one pass over the bytes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers

__all__ = ["MARGIN", "windows"]

MARGIN = 72
"""Bytes kept on both sides of a hot spot: more than the longest thing looked for may reach to one side."""


@njit(cache=True, nogil=True)
def _hot(data: npt.NDArray[np.uint8], i: int, stop: int) -> int:
    """End of the hot spot that starts at i, or 0: an @, a run of digits, dots or colons as in numbers and addresses."""
    c = data[i]
    if c == 64:  # @
        return i + 1
    hexed = 48 <= c <= 57 or 97 <= c <= 102 or 65 <= c <= 70
    if hexed or c == 58:  # hexadecimal groups with two colons or more
        j, colons = i, 0
        while j < min(stop, i + 48):  # no address is longer, and a long run must not be read again and again
            d = data[j]
            if d == 58:
                colons += 1
            elif not (48 <= d <= 57 or 97 <= d <= 102 or 65 <= d <= 70):
                break
            j += 1
        if colons >= 2:
            return j
    if 48 <= c <= 57:  # seven digits, or four with three dots, at most two separators between digits
        j, last, digits, dots = i, i, 0, 0
        while j < stop and j - last <= 3:
            d = data[j]
            if 48 <= d <= 57:
                digits += 1
                last = j
            elif d == 46:
                dots += 1
            elif not (d == 32 or d == 45 or d == 40 or d == 41 or d == 47):
                break
            j += 1
        if digits >= 7 or (digits >= 4 and dots >= 3):
            return last + 1
    return 0


@njit(cache=True, nogil=True)
def _scan(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], margin: int, out: npt.NDArray[np.int64], fill: bool
) -> int:
    """Number of windows; with `fill`, their text, start and stop (bytes from the text's start) as rows of `out`."""
    count = 0
    for t in range(offsets.size - 1):
        start, stop = offsets[t], offsets[t + 1]
        low, high = 0, -1  # the window being grown, high < 0 while there is none
        i = start
        while i < stop:
            c = data[i]
            hot = 0
            if c == 64 or c == 58 or 48 <= c <= 57 or 97 <= c <= 102 or 65 <= c <= 70:
                first = i == start or not _alnum(data[i - 1])
                if c == 64 or c == 58 or first or 48 <= c <= 57:
                    hot = _hot(data, i, stop)
            if hot:
                a, b = max(start, i - margin), min(stop, hot + margin)
                while a > start and 128 <= data[a] < 192:  # never cut a character
                    a -= 1
                while b < stop and 128 <= data[b] < 192:
                    b += 1
                if high >= 0 and a <= high:
                    high = max(high, b)
                else:
                    if high >= 0:
                        if fill:
                            out[count, 0], out[count, 1], out[count, 2] = t, low - start, high - start
                        count += 1
                    low, high = a, b
                i = hot
            elif 48 <= c <= 57:
                while i < stop and 48 <= data[i] <= 57:
                    i += 1
            else:
                i += 1
        if high >= 0:
            if fill:
                out[count, 0], out[count, 1], out[count, 2] = t, low - start, high - start
            count += 1
    return count


@njit(cache=True, nogil=True, inline="always")
def _alnum(c: int) -> bool:
    return 48 <= c <= 57 or 97 <= c <= 122 or 65 <= c <= 90


def windows(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """Rows (text, start, stop) in bytes, in order and disjoint, that contain all there can be; nulls have none."""
    offsets, data = string_buffers(texts)
    none = np.zeros((0, 3), np.int64)
    out = np.empty((_scan(offsets, data, MARGIN, none, False), 3), np.int64)
    _scan(offsets, data, MARGIN, out, True)
    return out
