"""Several sequences as one, so that every stretch of it holds each of them in proportion."""

from __future__ import annotations

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["interleave"]

Ints = npt.NDArray[np.int64]


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
