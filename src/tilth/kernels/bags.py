"""Texts as bags of hashed n-grams: counting them, and summing a value over them, without writing them down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.words import _ROLL, Codes, Kinds, cut, tables

__all__ = ["bag_counts", "bag_sums"]

Floats = npt.NDArray[np.float64]
_Keys = npt.NDArray[np.uint64]
_BLOCK = 4096  # bytes cut at a time: what is in hand stays near the core
_M1 = np.uint64(0xFF51AFD7ED558CCD)
_M2 = np.uint64(0xC4CEB9FE1A85EC53)
_S32 = np.uint64(32)
_NONE = np.uint64(0)


@njit(cache=True, nogil=True, forceinline=True)
def _extended(tokens: _Keys, count: int, size: int, grams: _Keys, ends: _Keys) -> None:
    """Turn the hashes of the `size - 1` tokens that end at each place into those of `size` tokens.

    `ends` keeps the last hash of each size for the block that follows.
    """
    before = ends[size - 1]
    ends[size - 1] = grams[count - 1]
    for i in range(count - 1, 0, -1):
        grams[i] = grams[i - 1] * _ROLL + tokens[i]
    grams[0] = before * _ROLL + tokens[0]


@njit(cache=True, nogil=True, forceinline=True)
def _block(
    data: npt.NDArray[np.uint8], start: int, stop: int, last: bool, kinds: Kinds, codes: Codes, h: np.uint64,
    kind: np.uint8, tokens: _Keys, grams: _Keys,
) -> tuple[int, np.uint64, np.uint8]:  # fmt: skip
    """The tokens of a piece of a text, mixed, twice: as tokens and as n-grams of one."""
    count, h, kind = cut(data, start, stop, kinds, codes, h, kind, tokens)
    if last and kind != 0:
        tokens[count] = h
        count += 1
    for i in range(count):
        token = tokens[i] * _M1
        token ^= token >> _S32
        tokens[i] = token
        grams[i] = token
    return count, h, kind


@njit(cache=True, nogil=True, forceinline=True)
def _bucket(gram: np.uint64, buckets: np.uint64) -> np.uint64:
    return (((gram * _M2) >> _S32) * buckets) >> _S32


@njit(cache=True, nogil=True)
def _counts(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], kinds: Kinds, codes: Codes, n: int, weights: Floats,
    counts: Floats,
) -> None:  # fmt: skip
    buckets = np.uint64(counts.size)
    tokens, grams, ends = np.empty(_BLOCK + 2, np.uint64), np.empty(_BLOCK + 2, np.uint64), np.zeros(n, np.uint64)
    for text in range(offsets.size - 1):
        start, stop = offsets[text], offsets[text + 1]
        weight = weights[text]
        h, kind, seen = _NONE, np.uint8(0), 0
        while start < stop:
            end = min(start + _BLOCK, stop)
            count, h, kind = _block(data, start, end, end == stop, kinds, codes, h, kind, tokens, grams)
            start = end
            for size in range(1, n + 1):
                if size > 1 and count:
                    _extended(tokens, count, size, grams, ends)
                for i in range(max(0, size - 1 - seen), count):
                    counts[_bucket(grams[i], buckets)] += weight
            seen += count


@njit(cache=True, nogil=True)
def _sums(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], kinds: Kinds, codes: Codes, n: int, values: Floats
) -> tuple[Floats, npt.NDArray[np.int32]]:
    sums, ngrams = np.zeros(offsets.size - 1), np.zeros(offsets.size - 1, np.int32)
    buckets = np.uint64(values.size)
    tokens, grams, ends = np.empty(_BLOCK + 2, np.uint64), np.empty(_BLOCK + 2, np.uint64), np.zeros(n, np.uint64)
    for text in range(offsets.size - 1):
        start, stop = offsets[text], offsets[text + 1]
        h, kind, seen = _NONE, np.uint8(0), 0
        total, found = 0.0, 0
        while start < stop:
            end = min(start + _BLOCK, stop)
            count, h, kind = _block(data, start, end, end == stop, kinds, codes, h, kind, tokens, grams)
            start = end
            for size in range(1, n + 1):
                if size > 1 and count:
                    _extended(tokens, count, size, grams, ends)
                first = max(0, size - 1 - seen)
                for i in range(first, count):
                    total += values[_bucket(grams[i], buckets)]
                found += max(0, count - first)
            seen += count
        sums[text], ngrams[text] = total, found
    return sums, ngrams


def bag_counts(texts: pa.Array | pa.ChunkedArray, n: int, buckets: int, weights: Floats | None = None) -> Floats:
    """How many n-grams, of 1 to `n` ``wordpunct`` tokens, fall into each bucket; each text counted by its weight."""
    offsets, data = string_buffers(texts)
    counts = np.zeros(buckets)
    each = np.ones(offsets.size - 1) if weights is None else weights
    _counts(offsets, data, *tables("wordpunct"), n, each, counts)
    return counts


def bag_sums(texts: pa.Array | pa.ChunkedArray, n: int, values: Floats) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Per text, the sum of its n-grams' values, one value per bucket, and the number of its n-grams."""
    offsets, data = string_buffers(texts)
    sums, ngrams = _sums(offsets, data, *tables("wordpunct"), n, values)
    return sums, ngrams
