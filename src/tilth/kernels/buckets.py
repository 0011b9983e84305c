"""Cutting documents into sequences of a power of two, and drawing the bucket of each step."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["cut", "schedule"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Small = npt.NDArray[np.int8]


@njit(cache=True, nogil=True)
def cut(lengths: Ints, least: int, most: int, odds: Floats, lots: Floats) -> tuple[Ints, Ints, Small, Ints]:
    """Cut each document from its beginning into the longest sequences of 2^k + 1 tokens that fit what is left of it.

    Args:
        lengths: (n,) tokens of each document.
        least, most: smallest and largest k; what is left when even the smallest does not fit is dropped.
        odds: (most - least + 1,) cumulative chances, ending in 1, of k from `least` to `most` where more than the
            longest fits; with all the weight at the end the longest is always taken.
        lots: uniform in [0, 1), one for each sequence there can be: the sum of lengths // (2^least + 1).

    Returns:
        Of each sequence the document, where in it it begins, and k; and of each document the tokens dropped at its end.
    """
    room = 0
    for length in lengths:
        room += length // (2**least + 1)
    document, start, power = np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int8)
    dropped = np.empty(lengths.size, np.int64)
    count = 0
    for i in range(lengths.size):
        at = 0
        while True:
            left = lengths[i] - at
            k = 0
            while k <= most and 2 ** (k + 1) + 1 <= left:
                k += 1
            if left < 2 or k < least:
                break
            if k > most:
                k = least + np.searchsorted(odds, lots[count], side="right")
            document[count], start[count], power[count] = i, at, k
            count += 1
            at += 2**k + 1
        dropped[i] = lengths[i] - at
    return document[:count], start[:count], power[:count], dropped


@njit(cache=True, nogil=True)
def schedule(batches: Ints, odds: Floats, lots: Floats) -> Small:
    """The bucket of each step: drawn with chances in proportion to odds times the batches that the bucket has left.

    Args:
        batches: (cycles, buckets) batches there are; a cycle ends when all of its are drawn.
        odds: (buckets,).
        lots: uniform in [0, 1), one for each batch.
    """
    out = np.empty(batches.sum(), np.int8)
    step = 0
    for cycle in range(batches.shape[0]):
        left = batches[cycle].copy()
        while True:
            total = 0.0
            for b in range(left.size):
                total += odds[b] * left[b]
            if total <= 0:
                break
            want, chosen = lots[step] * total, -1
            for b in range(left.size):
                if left[b] > 0 and odds[b] > 0:
                    chosen = b
                    want -= odds[b] * left[b]
                    if want < 0:
                        break
            left[chosen] -= 1
            out[step] = chosen
            step += 1
    return out[:step]
