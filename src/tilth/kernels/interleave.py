"""Orders in which every stretch holds each group in proportion: of items in queues, and of bins that hold several."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["balanced", "interleave"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
CHOICE = 32
"""Bins of which the next is chosen."""


def interleave(sizes: npt.ArrayLike, bounds: npt.ArrayLike) -> Ints:
    """Merge groups of items, each in its own order, fairly by size: worst-case fair weighted queueing.

    After any number of items, every group has had its part of the sizes read so far to within the largest item: the
    next item is the one that would end first if all groups were read at once, at constant speeds that let all end
    together, among those that would have begun by now (WF2Q; Bennett and Zhang 1996). With items of one size no group
    is ever a whole item ahead or behind. Time is O(items x groups).

    Args:
        sizes: (n,) of the items, group after group, each at least 1.
        bounds: (groups + 1,) where each group begins, and where the last ends.

    Returns:
        (n,) the items, as places in `sizes`, in the order read.

    >>> interleave([1] * 6, [0, 4, 6]).tolist()
    [0, 4, 1, 2, 5, 3]
    """
    out: Ints = _interleaved(np.asarray(sizes, np.int64), np.asarray(bounds, np.int64))
    return out


def balanced(bins: npt.ArrayLike, sizes: npt.ArrayLike, group: npt.ArrayLike, rng: np.random.Generator) -> Ints:
    """The same bins under other numbers, in an order in which each group has its part of the sizes all along.

    Bins come at random, but the next is always the one of `CHOICE` that brings the groups' sums so far nearest to their
    parts of the whole, by squares. A random order would be off by as much as chance makes it: half of 3,000 windows of
    one group each by a point or two. Time is O(items x `CHOICE` + bins x groups).

    Args:
        bins, sizes, group: (n,) of the items; bins and groups are numbered from 0.

    Returns:
        (n,) the number of each item's bin.

    >>> rng = np.random.Generator(np.random.PCG64(0))
    >>> sorted(balanced([0, 1, 2, 3], [1, 1, 1, 1], [0, 0, 1, 1], rng).tolist())
    [0, 1, 2, 3]
    """
    where, size, kind = (np.asarray(part, np.int64) for part in (bins, sizes, group))
    count = int(where.max(initial=-1)) + 1
    items = np.argsort(where, kind="stable")
    begins = np.searchsorted(where[items], np.arange(count + 1))
    part = np.bincount(kind, size, int(kind.max(initial=-1)) + 1).astype(np.float64)
    part /= max(part.sum(), 1.0)
    place: Ints = _balanced(begins, kind[items], size[items], part, rng.permutation(count), CHOICE)
    return np.asarray(place[where], np.int64)


@numba.njit(cache=True, nogil=True)
def _balanced(begins: Ints, group: Ints, size: Ints, part: Floats, order: Ints, choice: int) -> Ints:
    count = begins.size - 1
    total, alone = np.zeros(count), np.zeros(count)  # a bin's size, and the square of what it is off by itself
    here = np.zeros(part.size)
    square = (part * part).sum()
    for b in range(count):
        for i in range(begins[b], begins[b + 1]):
            here[group[i]] += size[i]
            total[b] += size[i]
        for i in range(begins[b], begins[b + 1]):
            g = group[i]
            alone[b] += here[g] * (here[g] - 2 * total[b] * part[g])
            here[g] = 0.0
        alone[b] += total[b] * total[b] * square
    off = np.zeros(part.size)
    left = order.copy()
    held, at = count, 0
    place = np.empty(count, np.int64)
    for k in range(count):
        common = (off * part).sum()
        best, least = 0, np.inf
        for _ in range(min(choice, held)):
            at = (at + 1) % held
            b = left[at]
            inner = -total[b] * common
            for i in range(begins[b], begins[b + 1]):
                inner += off[group[i]] * size[i]
            if alone[b] + 2 * inner < least:
                best, least = at, alone[b] + 2 * inner
        b = left[best]
        place[b] = k
        for i in range(begins[b], begins[b + 1]):
            off[group[i]] += size[i]
        off -= total[b] * part
        held -= 1
        left[best] = left[held]
    return place


@numba.njit(cache=True, nogil=True)
def _interleaved(sizes: Ints, bounds: Ints) -> Ints:
    groups = bounds.size - 1
    total = np.zeros(groups, np.float64)
    for g in range(groups):
        for i in range(bounds[g], bounds[g + 1]):
            total[g] += sizes[i]
    whole = total.sum()
    place = bounds[:-1].copy()
    begin = np.zeros(groups, np.float64)
    end = np.full(groups, np.inf)
    done = np.zeros(groups, np.float64)
    for g in range(groups):
        if place[g] < bounds[g + 1]:
            end[g] = sizes[place[g]] / total[g]
    out = np.empty(sizes.size, np.int64)
    read = 0.0
    for k in range(sizes.size):
        now = read / whole
        best, first = -1, -1
        for g in range(groups):
            if end[g] == np.inf:
                continue
            if first < 0 or begin[g] < begin[first]:
                first = g
            if begin[g] <= now and (best < 0 or end[g] < end[best]):
                best = g
        if best < 0:  # all are ahead by a rounding error
            best = first
        i = place[best]
        out[k] = i
        read += sizes[i]
        done[best] += sizes[i]
        place[best] = i + 1
        begin[best] = done[best] / total[best]
        end[best] = (done[best] + sizes[i + 1]) / total[best] if i + 1 < bounds[best + 1] else np.inf
    return out
