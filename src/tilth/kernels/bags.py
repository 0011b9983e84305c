"""Texts as bags of hashed n-grams: counting them, and summing a value over them, without writing them down."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import mix64
from tilth.kernels.words import _BASIS, _CLASS, _LOWER, _ROLL

__all__ = ["bag_counts", "bag_sums"]

Floats = npt.NDArray[np.float64]
_STEP = (_CLASS.astype(np.uint16) << 8) | _LOWER  # what one byte is, and what it counts as, in one look-up
_GOLD = np.uint64(0x9E3779B97F4A7C15)
_ONE = np.uint64(1)
_S8 = np.uint64(8)
_S32 = np.uint64(32)
_LOW = np.uint64(255)


@njit(cache=True, nogil=True, forceinline=True)
def _space(data: npt.NDArray[np.uint8], i: np.uint64, stop: np.uint64) -> np.uint64:
    """Where the next token begins."""
    while i < stop and _STEP[data[i]] >> 8 == 0:
        i += _ONE
    return i


@njit(cache=True, nogil=True, forceinline=True)
def _token(data: npt.NDArray[np.uint8], i: np.uint64, stop: np.uint64) -> tuple[np.uint64, np.uint64]:
    """Where the token that begins at `i` ends, and its hash; bytes are gathered and mixed seven at a time."""
    step = _STEP[data[i]]
    kind = step >> 8
    h, word, room = _BASIS, np.uint64(step), 7
    i += _ONE
    while i < stop:
        step = _STEP[data[i]]
        if step >> 8 != kind:
            break
        word = (word << _S8) | (np.uint64(step) & _LOW)
        i += _ONE
        room -= 1
        if room == 0:
            h = (h ^ word) * _GOLD
            h ^= h >> _S32
            word, room = _ONE, 7
    return i, mix64((h ^ word) * _GOLD)


@njit(cache=True, nogil=True, forceinline=True)
def _bucket(mixed: np.uint64, buckets: np.uint64) -> np.uint64:
    return ((mixed >> _S32) * buckets) >> _S32


@njit(cache=True, nogil=True)
def _counts(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], n: int, weights: Floats, counts: Floats
) -> None:
    buckets = np.uint64(counts.size)
    last = np.zeros(n, np.uint64)  # last[k]: hash of the k + 1 tokens that end here
    for text in range(offsets.size - 1):
        i, stop = np.uint64(offsets[text]), np.uint64(offsets[text + 1])
        weight = weights[text]
        seen = 0
        i = _space(data, i, stop)
        while i < stop:
            i, token = _token(data, i, stop)
            for k in range(n - 1, 0, -1):
                if k <= seen:
                    last[k] = last[k - 1] * _ROLL + token
                    counts[_bucket(mix64(last[k]), buckets)] += weight
            last[0] = token
            counts[_bucket(token, buckets)] += weight
            seen += 1
            i = _space(data, i, stop)


@njit(cache=True, nogil=True)
def _sums(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], n: int, values: Floats
) -> tuple[Floats, npt.NDArray[np.int32]]:
    sums, ngrams = np.zeros(offsets.size - 1), np.zeros(offsets.size - 1, np.int32)
    buckets = np.uint64(values.size)
    last = np.zeros(n, np.uint64)
    for text in range(offsets.size - 1):
        i, stop = np.uint64(offsets[text]), np.uint64(offsets[text + 1])
        total, count, seen = 0.0, 0, 0
        i = _space(data, i, stop)
        while i < stop:
            i, token = _token(data, i, stop)
            for k in range(n - 1, 0, -1):
                if k <= seen:
                    last[k] = last[k - 1] * _ROLL + token
                    total += values[_bucket(mix64(last[k]), buckets)]
                    count += 1
            last[0] = token
            total += values[_bucket(token, buckets)]
            count += 1
            seen += 1
            i = _space(data, i, stop)
        sums[text], ngrams[text] = total, count
    return sums, ngrams


def bag_counts(texts: pa.Array | pa.ChunkedArray, n: int, buckets: int, weights: Floats | None = None) -> Floats:
    """How many n-grams, of 1 to `n` ``wordpunct`` tokens, fall into each bucket; each text counted by its weight."""
    offsets, data = string_buffers(texts)
    counts = np.zeros(buckets)
    _counts(offsets, data, n, np.ones(offsets.size - 1) if weights is None else weights, counts)
    return counts


def bag_sums(texts: pa.Array | pa.ChunkedArray, n: int, values: Floats) -> tuple[Floats, npt.NDArray[np.int32]]:
    """Per text, the sum of its n-grams' values, one value per bucket, and the number of its n-grams."""
    offsets, data = string_buffers(texts)
    sums, ngrams = _sums(offsets, data, n, values)
    return sums, ngrams
