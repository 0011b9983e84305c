"""Decision accuracy: how often a small proxy orders two candidates as a larger one does.

With n candidates the share of the n (n - 1) / 2 pairs that both order alike is a U-statistic, and pairs that share a
candidate are not independent. Its jackknife variance v gives the number of independent pairs that would be as telling,
share (1 - share) / v, kept between n / 2 (disjoint pairs) and all pairs; Wilson's interval for so many, with Student's
t with n - 1 degrees of freedom for the normal quantile, covers 96 to 99 % where it should cover 95 % from 4 to 50
candidates (simulated). Decision accuracy is the measure of Magnusson et al. 2025 (arXiv 2504.11393).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

__all__ = ["DecisionAccuracy", "decision_accuracy"]


@dataclass(frozen=True)
class DecisionAccuracy:
    """Share of pairs ordered alike, with its interval for other candidates of the same kind."""

    share: float
    low: float
    high: float
    alike: float
    pairs: int


def decision_accuracy(small: npt.ArrayLike, large: npt.ArrayLike, level: float = 0.95) -> DecisionAccuracy:
    """Of the candidates' scores under two proxies; a pair tied under one of them only counts half.

    >>> decision_accuracy([1, 2, 3, 4], [10, 30, 20, 40]).share
    0.8333333333333334

    Raises:
        ValueError: with fewer than 3 candidates.
    """
    a, b = np.asarray(small, float), np.asarray(large, float)
    n = a.size
    if n < 3 or b.size != n:
        raise ValueError(f"Decision accuracy needs the same 3 or more candidates twice; got {n} and {b.size}.")
    sides = np.sign(a[:, None] - a[None]), np.sign(b[:, None] - b[None])
    alike = np.where((sides[0] == 0) ^ (sides[1] == 0), 0.5, (sides[0] == sides[1]).astype(float))
    np.fill_diagonal(alike, 0.0)
    pairs = n * (n - 1) // 2
    total = float(alike.sum()) / 2
    share = total / pairs
    without = (total - alike.sum(1)) / ((n - 1) * (n - 2) / 2)
    jackknife = (n - 1) / n * float(((without - without.mean()) ** 2).sum())
    inside = (total + 1) / (pairs + 2)  # a share of 0 or 1 has a variance too
    count = float(np.clip(inside * (1 - inside) / jackknife, n // 2, pairs)) if jackknife > 0 else float(n // 2)
    z = float(stats.t.ppf((1 + level) / 2, n - 1))
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * np.sqrt(share * (1 - share) / count + z**2 / (4 * count**2))
    return DecisionAccuracy(share, max(0.0, float(middle - half)), min(1.0, float(middle + half)), total, pairs)
