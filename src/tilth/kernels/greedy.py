"""Greedy selection loops: coverage, farthest first, and information over labels, lazily where gains only shrink."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["cover", "farthest", "inform"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def cover(similarity: Reals, count: int) -> tuple[Ints, Floats]:
    """Greedy facility location: each pick adds most to the sum, over all rows, of the likeness to the likest pick.

    A gain can only shrink as picks are added, so an old one is an upper bound: only the record with the largest bound
    is looked at again (Minoux 1978). The picks are those of the plain greedy algorithm, ties to the lower number.

    Args:
        similarity: (n, n), symmetric, none below 0.
        count: picks.

    Returns:
        Picks in order, and what each added.
    """
    n = similarity.shape[0]
    near = np.zeros(n, np.float32)
    bound = np.empty(n, np.float64)
    for i in range(n):
        total = 0.0
        for j in range(n):
            total += similarity[i, j]
        bound[i] = total
    looked = np.zeros(n, np.int64)  # the pick for which a bound is exact
    order, gains = np.empty(count, np.int64), np.empty(count, np.float64)
    for pick in range(count):
        i = int(np.argmax(bound))
        while looked[i] != pick:
            gain = 0.0
            for j in range(n):
                gain += max(similarity[i, j] - near[j], np.float32(0.0))
            bound[i] = gain
            looked[i] = pick
            i = int(np.argmax(bound))
        order[pick] = i
        gains[pick] = bound[i]
        bound[i] = -1.0
        for j in range(n):
            near[j] = max(near[j], similarity[i, j])
    return order, gains


@njit(cache=True, nogil=True)
def farthest(squares: Reals, first: int, count: int) -> tuple[Ints, Reals]:
    """Farthest-first traversal from squared distances (n, n): each pick is the record farthest from all picks so far.

    Returns:
        Picks in order, and how far each was from the picks before it (squared; infinite for the first).
    """
    n = squares.shape[0]
    near = np.full(n, np.inf, np.float32)
    order, far = np.empty(count, np.int64), np.empty(count, np.float32)
    i = first
    for pick in range(count):
        order[pick] = i
        far[pick] = near[i]
        for j in range(n):
            near[j] = min(near[j], squares[i, j])
        near[i] = -1.0
        i = int(np.argmax(near))
    return order, far


@njit(cache=True, nogil=True)
def _gain(i: int, indptr: Ints, labels: Places, weights: Reals, slope: Floats) -> float:
    total = 0.0
    for p in range(indptr[i], indptr[i + 1]):
        total += weights[p] * slope[labels[p]]
    return total


@njit(cache=True, nogil=True)
def _sift(heap: Ints, size: int, at: int, bound: Floats) -> None:
    """Let the entry at a place of the heap sink; largest bound on top, ties to the lower record."""
    moving = heap[at]
    while True:
        child = 2 * at + 1
        if child >= size:
            break
        a, right = heap[child], child + 1
        if right < size:
            b = heap[right]
            if bound[b] > bound[a] or (bound[b] == bound[a] and b < a):
                child, a = right, b
        if not (bound[a] > bound[moving] or (bound[a] == bound[moving] and a < moving)):
            break
        heap[at] = a
        at = child
    heap[at] = moving


@njit(cache=True, nogil=True)
def inform(
    indptr: Ints, labels: Places, weights: Reals, classes: int, power: float, offset: float, sizes: Ints, budget: int
) -> tuple[Ints, Floats, Floats]:
    """Greedy first-order maximisation of the sum over labels of x^power, x what the picks have of a label.

    Each pick has the largest sum of its weights times the slope ``power * (x + offset)^(power - 1)``. Slopes fall, so
    an old gain is an upper bound and a heap of them gives the same picks as looking at all records each time.

    Args:
        indptr, labels, weights: each record's labels and their weights (CSR), none below 0.
        sizes, budget: picks go on until their sizes reach the budget.

    Returns:
        Picks in order, each one's gain, and what they have of each label.
    """
    n = indptr.size - 1
    have = np.zeros(classes, np.float64)
    slope = np.full(classes, power * offset ** (power - 1.0))
    bound = np.empty(n, np.float64)
    for i in range(n):
        bound[i] = _gain(i, indptr, labels, weights, slope)
    heap = np.arange(n)
    for at in range(n // 2, -1, -1):
        if n:
            _sift(heap, n, at, bound)
    order, gains = np.empty(n, np.int64), np.empty(n, np.float64)
    size, picked, read = n, 0, 0
    while size > 0 and read < budget:
        i = heap[0]
        gain = _gain(i, indptr, labels, weights, slope)
        if gain < bound[i]:  # picks since it was looked at have what it has
            bound[i] = gain
            _sift(heap, size, 0, bound)
            continue
        order[picked] = i
        gains[picked] = gain
        picked += 1
        read += sizes[i]
        for p in range(indptr[i], indptr[i + 1]):
            have[labels[p]] += weights[p]
            slope[labels[p]] = power * (have[labels[p]] + offset) ** (power - 1.0)
        size -= 1
        heap[0] = heap[size]
        if size:
            _sift(heap, size, 0, bound)
    return order[:picked], gains[:picked], have
