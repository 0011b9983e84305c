"""Texts as bags of hashed n-grams: which buckets a text's words and word pairs fall into, and sums over them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import mix64
from tilth.kernels.words import _BASIS, _CLASS, _LOWER, _PRIME, _ROLL

__all__ = ["bag", "bag_sums"]

_S32 = np.uint64(32)


@njit(cache=True, nogil=True)
def _bag(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], n: int, buckets: np.uint64
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    texts = offsets.size - 1
    starts = np.zeros(texts + 1, np.int64)
    out = np.empty((offsets[texts] - offsets[0]) * n, np.int32)  # pages that are not written cost nothing
    last = np.zeros(n, np.uint64)  # last[k]: hash of the k + 1 tokens that end here
    filled = 0
    for text in range(texts):
        i, stop = offsets[text], offsets[text + 1]
        seen = 0
        while i < stop:
            kind = _CLASS[data[i]]
            if kind == 0:
                i += 1
                continue
            h = _BASIS
            while i < stop and _CLASS[data[i]] == kind:
                h = (h ^ np.uint64(_LOWER[data[i]])) * _PRIME
                i += 1
            token = mix64(h)
            seen = min(seen + 1, n)
            for k in range(seen - 1, 0, -1):
                last[k] = last[k - 1] * _ROLL + token
            last[0] = token
            for k in range(seen):
                out[filled] = ((mix64(last[k]) >> _S32) * buckets) >> _S32
                filled += 1
        starts[text + 1] = filled
    return starts, out[:filled]


def bag(texts: pa.Array | pa.ChunkedArray, n: int, buckets: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
    """Offsets (int64) and buckets: the n-grams of text i, of 1 to `n` tokens, fall into ``ids[o[i]:o[i + 1]]``.

    Tokens are cut as ``wordpunct`` (see `tilth.kernels.words`).
    """
    offsets, data = string_buffers(texts)
    starts, ids = _bag(offsets, data, n, np.uint64(buckets))
    return starts, ids


@njit(cache=True, nogil=True)
def bag_sums(
    starts: npt.NDArray[np.int64], ids: npt.NDArray[np.int32], values: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Per text, the sum of its buckets' values."""
    out = np.zeros(starts.size - 1)
    for text in range(out.size):
        total = 0.0
        for j in range(starts[text], starts[text + 1]):
            total += values[ids[j]]
        out[text] = total
    return out
