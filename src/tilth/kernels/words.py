"""Words of UTF-8 text as 64-bit hashes, straight from the Arrow buffers.

Three ways to cut, all on bytes, so that cutting needs no decoding:

* ``words``: maximal runs of word bytes (ASCII letters, digits, ``_`` and every byte of a non-ASCII character), ASCII
  letters lower-cased; everything else separates.
* ``wordpunct``: the same, and maximal runs of other non-space bytes are tokens too.
* ``exact``: maximal runs of non-space bytes, case kept.

Space is the ASCII white space of `bytes.isspace`. A hash is a function of the token's (lower-cased) bytes alone: it
starts at 0, and each byte rotates it by 5 bits and adds the byte's own constant; what is handed out is mixed once more.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import mix64

__all__ = ["Codes", "Cut", "Kinds", "cut", "joined", "ngram_hashes", "tables", "token_hashes"]

Cut = Literal["words", "wordpunct", "exact"]
Kinds = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.uint64]
_ROLL = np.uint64(0x9E3779B97F4A7C15)
_NONE = np.uint64(0)
_S5, _S59 = np.uint64(5), np.uint64(59)


@cache
def tables(cut: Cut) -> tuple[Kinds, Codes]:
    """By byte: its kind, 0 where it separates tokens and otherwise equal within a token, and its constant."""
    kinds = np.zeros(256, np.uint8)
    codes = np.zeros(256, np.uint64)
    for byte in range(256):
        one = bytes([byte])
        word = one.isalnum() or one == b"_" or byte >= 0x80
        if one.isspace() or (cut == "words" and not word):
            continue
        kinds[byte] = 1 if word or cut == "exact" else 2
        seen = byte if cut == "exact" else one.lower()[0]
        codes[byte] = mix64(np.uint64((seen + 1) * int(_ROLL) & 0xFFFFFFFFFFFFFFFF))
    return kinds, codes


@njit(cache=True, nogil=True, inline="always")
def joined(h: np.uint64, code: np.uint64) -> np.uint64:
    """The raw hash of a token with one more byte."""
    return ((h << _S5) | (h >> _S59)) + code


@njit(cache=True, nogil=True, inline="always")
def cut(
    data: npt.NDArray[np.uint8], start: int, stop: int, kinds: Kinds, codes: Codes, h: np.uint64, kind: np.uint8,
    out: npt.NDArray[np.uint64],
) -> tuple[np.int64, np.uint64, np.uint8]:  # fmt: skip
    """Write the raw hashes of the tokens that end before `stop`.

    No branch depends on the text, since where a token ends cannot be predicted. Text can be cut piece by piece: hand
    in what the piece before returned (0 and 0 at first), and at the end `h` is one more token unless `kind` is 0.

    Args:
        out: with room for every token and one more.

    Returns:
        How many, and raw hash and kind of the token in hand.
    """
    size = np.uint64(0)
    for i in range(start, stop):
        byte = data[i]
        here = kinds[byte]
        fresh = here != kind
        out[size] = h
        size += np.uint64(fresh & (kind != 0))
        h = joined(_NONE if fresh else h, codes[byte])
        kind = here
    return np.int64(size), h, kind


@njit(cache=True, nogil=True)
def _tokens(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], kinds: Kinds, codes: Codes, room: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    n = offsets.size - 1
    starts = np.zeros(n + 1, np.int64)
    out = np.empty(room, np.uint64)
    filled = 0
    for doc in range(n):
        more, h, kind = cut(data, offsets[doc], offsets[doc + 1], kinds, codes, _NONE, np.uint8(0), out[filled:])
        if kind != 0:
            out[filled + more] = h
            more += 1
        for i in range(filled, filled + more):
            out[i] = mix64(out[i])
        filled += more
        starts[doc + 1] = filled
    return starts, out[:filled].copy()


def token_hashes(
    texts: pa.Array | pa.ChunkedArray, cut: Cut = "words"
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Offsets (int64, n + 1) and hashes such that text i has the tokens ``hashes[offsets[i]:offsets[i + 1]]``."""
    offsets, data = string_buffers(texts)
    size, count = int(offsets[-1] - offsets[0]), offsets.size - 1
    most = size if cut == "wordpunct" else size // 2 + count  # "a,b" is three tokens in three bytes
    starts, hashes = _tokens(offsets, data, *tables(cut), most + 1)
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
