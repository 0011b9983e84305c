"""A 64-bit hash of every string of a column, a function of its bytes and a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers

__all__ = ["hash_bytes", "hash_strings", "mix64"]

_M1 = np.uint64(0xFF51AFD7ED558CCD)
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_GOLD = np.uint64(0x9E3779B97F4A7C15)
_S33 = np.uint64(33)
_S29 = np.uint64(29)
_S8 = np.uint64(8)


@njit(cache=True, nogil=True, inline="always")
def mix64(x: np.uint64) -> np.uint64:
    """MurmurHash3's finaliser: every input bit reaches every output bit."""
    x = (x ^ (x >> _S33)) * _M1
    x = (x ^ (x >> _S33)) * _M2
    return x ^ (x >> _S33)


@njit(cache=True, nogil=True)
def hash_bytes(data: npt.NDArray[np.uint8], start: int, stop: int, seed: np.uint64) -> np.uint64:
    """The hash of ``data[start:stop]``; eight bytes a step, the length mixed in."""
    h = seed ^ (np.uint64(stop - start) * _GOLD)
    i = start
    while i + 8 <= stop:
        word = np.uint64(0)
        for j in range(8):
            word |= np.uint64(data[i + j]) << np.uint64(8 * j)
        h = mix64(h ^ word) + _GOLD
        i += 8
    word = np.uint64(0)
    j = 0
    while i < stop:
        word |= np.uint64(data[i]) << np.uint64(8 * j)
        i += 1
        j += 1
    return mix64(h ^ word)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def _hash_all(offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], seed: np.uint64) -> npt.NDArray[np.uint64]:
    out = np.empty(offsets.size - 1, np.uint64)
    for i in range(out.size):
        out[i] = hash_bytes(data, offsets[i], offsets[i + 1], seed)
    return out


def hash_strings(texts: pa.Array | pa.ChunkedArray, seed: int = 0) -> npt.NDArray[np.uint64]:
    """One uint64 per string; nulls hash as empty strings."""
    offsets, data = string_buffers(texts)
    result: npt.NDArray[np.uint64] = _hash_all(offsets, data, np.uint64(seed & 0xFFFFFFFFFFFFFFFF))
    return result
