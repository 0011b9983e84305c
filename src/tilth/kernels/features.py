"""Texts as sparse rows of hashed n-grams: the features of linear classifiers."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.hashing import mix64
from tilth.kernels.words import _ROLL, Cut, token_hashes

__all__ = ["hashed_rows"]

Ints = npt.NDArray[np.int64]


@njit(cache=True, nogil=True)
def _rows(
    starts: npt.NDArray[np.int64], tokens: npt.NDArray[np.uint64], n: int, buckets: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    indptr = np.zeros(starts.size, np.int64)
    indices = np.empty(tokens.size * n, np.int32)
    values = np.empty(tokens.size * n, np.float32)
    longest = 0
    for text in range(starts.size - 1):
        longest = max(longest, starts[text + 1] - starts[text])
    found = np.empty(longest * n, np.int32)
    last = np.zeros(n, np.uint64)  # last[k]: hash of the k + 1 tokens that end here
    filled = 0
    for text in range(starts.size - 1):
        count = 0
        for i in range(starts[text], starts[text + 1]):
            for k in range(n - 1, 0, -1):
                if k <= i - starts[text]:
                    last[k] = last[k - 1] * _ROLL + tokens[i]
                    found[count] = np.int32(((mix64(last[k]) >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32))
                    count += 1
            last[0] = tokens[i]
            found[count] = np.int32(((tokens[i] >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32))
            count += 1
        row = np.sort(found[:count])
        j = 0
        while j < count:
            k = j
            while k < count and row[k] == row[j]:
                k += 1
            indices[filled] = row[j]
            values[filled] = k - j
            filled += 1
            j = k
        indptr[text + 1] = filled
    return indptr, indices[:filled].copy(), values[:filled].copy()


def hashed_rows(
    texts: pa.Array | pa.ChunkedArray, n: int, buckets: int, cut: Cut = "words"
) -> tuple[Ints, npt.NDArray[np.int32], npt.NDArray[np.float32]]:
    """How often each text's n-grams, of 1 to `n` tokens, fall into each bucket: offsets, buckets ascending, counts."""
    starts, tokens = token_hashes(texts, cut)
    indptr, indices, values = _rows(starts, tokens, n, buckets)
    return indptr, indices, values
