"""Words of UTF-8 text as 64-bit hashes, straight from the Arrow buffers.

Three ways to cut, all on bytes, so that cutting needs no decoding:

* ``words``: maximal runs of word bytes (ASCII letters, digits, ``_`` and every byte of a non-ASCII character), ASCII
  letters lower-cased; everything else separates.
* ``wordpunct``: the same, and maximal runs of other non-space bytes are tokens too.
* ``exact``: maximal runs of non-space bytes, case kept.

Space is the ASCII white space of `bytes.isspace`. A hash is a function of the token's (lower-cased) bytes alone.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import mix64

__all__ = ["Cut", "ngram_hashes", "token_hashes"]

Cut = Literal["words", "wordpunct", "exact"]
_MODES: dict[Cut, int] = {"words": 0, "wordpunct": 1, "exact": 2}
_BASIS = np.uint64(0xCBF29CE484222325)
_PRIME = np.uint64(0x100000001B3)
_ROLL = np.uint64(0x9E3779B97F4A7C15)


def _classes() -> npt.NDArray[np.uint8]:
    """0 = space, 1 = word byte, 2 = anything else, by byte."""
    table = np.full(256, 2, np.uint8)
    for byte in range(256):
        one = bytes([byte])
        if one.isspace():
            table[byte] = 0
        elif one.isalnum() or one == b"_" or byte >= 0x80:
            table[byte] = 1
    return table


_CLASS = _classes()
_LOWER = np.array([b + 32 if 65 <= b <= 90 else b for b in range(256)], np.uint8)


@njit(cache=True, nogil=True)
def _tokens(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], mode: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    n = offsets.size - 1
    starts = np.zeros(n + 1, np.int64)
    out = np.empty((offsets[n] - offsets[0]) // 2 + n + 1 + (offsets[n] - offsets[0]) % 2, np.uint64)
    if mode == 1:  # "a,b" is three tokens in three bytes
        out = np.empty(offsets[n] - offsets[0] + 1, np.uint64)
    filled = 0
    for doc in range(n):
        i, stop = offsets[doc], offsets[doc + 1]
        while i < stop:
            kind = _CLASS[data[i]]
            if kind == 0 or (mode == 0 and kind == 2):
                i += 1
                continue
            h = _BASIS
            if mode == 2:
                while i < stop and _CLASS[data[i]] != 0:
                    h = (h ^ np.uint64(data[i])) * _PRIME
                    i += 1
            else:
                while i < stop and _CLASS[data[i]] == kind:
                    h = (h ^ np.uint64(_LOWER[data[i]])) * _PRIME
                    i += 1
            out[filled] = mix64(h)
            filled += 1
        starts[doc + 1] = filled
    return starts, out[:filled].copy()


def token_hashes(
    texts: pa.Array | pa.ChunkedArray, cut: Cut = "words"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Offsets (int64, n + 1) and hashes such that text i has the tokens ``hashes[offsets[i]:offsets[i + 1]]``."""
    offsets, data = string_buffers(texts)
    starts, hashes = _tokens(offsets, data, _MODES[cut])
    return starts, hashes


@njit(cache=True, nogil=True)
def ngram_hashes(tokens: npt.NDArray[np.uint64], n: int) -> npt.NDArray[np.uint64]:
    """The hash of the n tokens that begin at each position; ``tokens.size - n + 1`` of them, none when too short."""
    count = max(0, tokens.size - n + 1)
    out = np.empty(count, np.uint64)
    if count == 0:
        return out
    top = np.uint64(1)
    for _ in range(n - 1):
        top *= _ROLL
    h = np.uint64(0)
    for i in range(n):
        h = h * _ROLL + tokens[i]
    out[0] = mix64(h)
    for i in range(1, count):
        h = (h - tokens[i - 1] * top) * _ROLL + tokens[i + n - 1]
        out[i] = mix64(h)
    return out
