"""What each ranked item is worth when only the first K of those that are present are used.

An item with utility ``u`` is present with probability ``p``, independently of the others. A ranking uses its first K
present items and is worth ``U = 1/K`` times the sum of their utilities; the multilinear extension is ``E[U]``. Its
derivative by ``p_i`` is the gain of item i, ``E[U with i] - E[U without i]``. With

    before[j]   the probability that exactly j of the items above i are present,
    after[r]    the expected utility of the r-th present item below i (nothing, and so 0, where there are fewer),

item i joins the j above it and pushes out the (K - j)-th below it, so

    gain_i = 1/K sum_{j<K} before[j] (u_i - after[K - j]).

That is O(M K) for a ranking of M items, and exact. Source: the multilinear extension as importance of retrieved data,
arXiv 2307.03027, whose algorithm keeps a table over all distinct utilities instead.

>>> units, utility = np.array([[0, 1, 2]]), np.array([[0.0, 1.0, 1.0]])
>>> gain, value = gains(units, utility, np.ones(3), k=1)
>>> gain.tolist(), value.tolist()  # the first item is bad and hides a good one; those below it are never used
([[-1.0, 0.0, 0.0]], [0.0])
>>> ascend(units, utility, 3, k=1).round().tolist()
[0.0, 1.0, 1.0]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["ascend", "gains"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def _gains(units: Ints, utility: Floats, present: Floats, k: int, out: Floats, values: Floats) -> None:
    queries, depth = units.shape
    after, before = np.zeros((depth + 1, k + 1)), np.zeros(k)
    for q in range(queries):
        count = 0
        while count < depth and units[q, count] >= 0:
            count += 1
        after[count] = 0.0
        for i in range(count - 1, -1, -1):
            p = present[units[q, i]]
            for r in range(1, k + 1):
                here = utility[q, i] if r == 1 else after[i + 1, r - 1]
                after[i, r] = (1 - p) * after[i + 1, r] + p * here
        values[q] = after[0, 1:].sum() / k
        before[:] = 0.0
        before[0] = 1.0
        for i in range(count):
            gain = 0.0
            for j in range(k):
                gain += before[j] * (utility[q, i] - after[i + 1, k - j])
            out[q, i] = gain / k
            p = present[units[q, i]]
            for j in range(k - 1, 0, -1):
                before[j] = (1 - p) * before[j] + p * before[j - 1]
            before[0] *= 1 - p


def gains(units: npt.ArrayLike, utility: npt.ArrayLike, present: npt.ArrayLike, k: int) -> tuple[Floats, Floats]:
    """The gain of every ranked item, 0 where a ranking has ended, and the expected utility of every ranking.

    Args:
        units: (rankings, depth) which unit, such as its source, an item belongs to; a ranking ends at the first -1.
        utility: (rankings, depth) what an item is worth to its ranking.
        present: per unit, the probability that an item of it is present.
        k: how many present items are used.
    """
    ranked = np.ascontiguousarray(units, np.int64)
    worth, p = np.ascontiguousarray(utility, np.float64), np.ascontiguousarray(present, np.float64)
    if ranked.shape != worth.shape or ranked.ndim != 2 or k < 1:
        raise ValueError(f"units {ranked.shape} and utility {worth.shape} must be the same matrix, and k {k} positive")
    if ranked.size and ranked.max() >= p.size:
        raise ValueError(f"there is no unit {ranked.max()} among {p.size}")
    out, values = np.zeros(ranked.shape), np.zeros(len(ranked))
    _gains(ranked, worth, p, k, out, values)
    return out, values


def ascend(
    units: npt.ArrayLike,
    utility: npt.ArrayLike,
    count: int,
    k: int,
    rate: float = 0.3,
    steps: int = 30,
    weights: npt.ArrayLike | None = None,
) -> Floats:
    """Per unit, a probability to be present that projected gradient ascent on the mean expected utility reaches.

    All units start at 0.5; one that no ranking holds stays there. A unit's step is `rate` times k times the mean gain
    of its items, so it is counted in utilities and does not depend on how often a unit is ranked.

    Args:
        count: number of units.
        weights: how much each ranking counts.
    """
    ranked = np.asarray(units, np.int64)
    each = np.ones(len(ranked)) if weights is None else np.asarray(weights, np.float64)
    ended = np.cumsum(ranked < 0, axis=1) > 0
    slots = np.where(ended, 0.0, each[:, None])
    owner = np.where(ended, 0, ranked).ravel()
    seen = np.bincount(owner, slots.ravel(), count)
    present = np.full(count, 0.5)
    for _ in range(steps):
        gain, _ = gains(ranked, utility, present, k)
        sums = np.bincount(owner, (gain * slots).ravel(), count)
        present = np.clip(present + rate * k * sums / np.where(seen > 0, seen, 1.0), 0, 1)
    return np.asarray(present)
