"""A 64-bit hash of every string of a column, a function of its bytes and a seed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit

from tilth.kernels.buffers import string_buffers

__all__ = ["half", "hash_bytes", "hash_span", "hash_strings", "mix64"]

_M1 = np.uint64(0xFF51AFD7ED558CCD)
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_GOLD = np.uint64(0x9E3779B97F4A7C15)
_1, _2, _3, _4, _5, _6, _7, _8, _16, _24, _32, _40, _48, _56 = (
    np.uint64(n) for n in (1, 2, 3, 4, 5, 6, 7, 8, 16, 24, 32, 40, 48, 56)
)
_S31 = np.uint64(31)
_S33 = np.uint64(33)
_LONG = np.uint64(64)


@njit(cache=True, nogil=True, inline="always")
def mix64(x: np.uint64) -> np.uint64:
    """MurmurHash3's finaliser: every input bit reaches every output bit."""
    x = (x ^ (x >> _S33)) * _M1
    x = (x ^ (x >> _S33)) * _M2
    return x ^ (x >> _S33)


@njit(cache=True, nogil=True, inline="always")
def _word(data: npt.NDArray[np.uint8], i: np.uint64) -> np.uint64:
    """Eight bytes from `i` on. Compiled to one load, but only with unsigned places, which need no check of sign."""
    return (
        np.uint64(data[i]) | np.uint64(data[i + _1]) << _8 | np.uint64(data[i + _2]) << _16
        | np.uint64(data[i + _3]) << _24 | np.uint64(data[i + _4]) << _32 | np.uint64(data[i + _5]) << _40
        | np.uint64(data[i + _6]) << _48 | np.uint64(data[i + _7]) << _56
    )  # fmt: skip


@njit(cache=True, nogil=True, inline="always")
def _stirred(h: np.uint64, word: np.uint64) -> np.uint64:
    h = (h ^ word) * _M1
    return (h << _S31) | (h >> _S33)


@njit(cache=True, nogil=True)
def hash_bytes(data: npt.NDArray[np.uint8], start: int, stop: int, seed: np.uint64) -> np.uint64:
    """The hash of ``data[start:stop]``; eight bytes a step, the length mixed in.

    From 64 bytes on, most of them go through four hashes that do not wait for each other.
    """
    i, end = np.uint64(start), np.uint64(stop)
    h = seed ^ ((end - i) * _GOLD)
    if end - i >= _LONG:
        a, b, c, d = h, h ^ _M1, h ^ _M2, h ^ _GOLD
        while i + _32 <= end:
            a, b = _stirred(a, _word(data, i)), _stirred(b, _word(data, i + _8))
            c, d = _stirred(c, _word(data, i + _16)), _stirred(d, _word(data, i + _24))
            i += _32
        h = mix64(a + mix64(b + mix64(c + mix64(d))))
    while i + _8 <= end:
        h = mix64(h ^ _word(data, i)) + _GOLD
        i += _8
    word, shift = np.uint64(0), np.uint64(0)
    while i < end:
        word |= np.uint64(data[i]) << shift
        i += _1
        shift += _8
    return mix64(h ^ word)  # type: ignore[no-any-return]


@njit(cache=True, nogil=True)
def hash_span(data: npt.NDArray[np.uint8], start: int, stop: int) -> np.uint64:
    """A hash of ``data[start:stop]`` that is quicker on short pieces: to tell pieces apart, not to draw lots from."""
    i, end = np.uint64(start), np.uint64(stop)
    a, b = (end - i) * _GOLD, _M2
    if end - i < _8:
        word, shift = np.uint64(0), np.uint64(0)
        while i < end:
            word |= np.uint64(data[i]) << shift
            i += _1
            shift += _8
        return mix64(a ^ word)  # type: ignore[no-any-return]
    while i + _16 <= end:
        a, b = _stirred(a, _word(data, i)), _stirred(b, _word(data, i + _8))
        i += _16
    if i + _8 <= end:
        a = _stirred(a, _word(data, i))
    b ^= _word(data, end - _8)  # what is left, and some bytes again
    return mix64(a + mix64(b))  # type: ignore[no-any-return]


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


def half(texts: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int64]:
    """0 or 1 by how the text begins, so copies fall alike; only its beginning may have been sampled."""
    return (hash_strings(pc.utf8_slice_codeunits(texts, 0, 1000)) & np.uint64(1)).astype(np.int64)
