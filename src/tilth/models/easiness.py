"""Training weights of ranked pairs: easy ones count fully at first, all alike after `end` epochs.

How easy a passage is for a query is told by a cheap ranker such as BM25. Source: Training Curricula for Open Domain
Answer Re-Ranking, arXiv 2004.14269. The policy `rank_curriculum` writes such weights into a plan, and `train.rising` is
what a trainer counts losses by.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.core import Weights

__all__ = ["kde", "normalised", "pairwise", "pointwise", "reciprocal", "weight"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def reciprocal(ranks: npt.ArrayLike) -> Floats:
    """1 / rank; 0 where there is no rank (NaN): the ranker did not find the passage.

    Args:
        ranks: from 1.

    >>> reciprocal([1, 4, float("nan")]).tolist()
    [1.0, 0.25, 0.0]
    """
    given = np.asarray(ranks, np.float64)
    if (given < 1).any():
        raise ValueError(f"ranks begin at 1; the least is {np.nanmin(given):g}")
    return np.asarray(np.where(np.isnan(given), 0.0, 1 / np.where(np.isnan(given), 1.0, given)))


def normalised(scores: npt.ArrayLike, queries: npt.ArrayLike) -> Floats:
    """Each score between the least (0) and the largest (1) of its query's; 0 without a score (NaN).

    Where all scores of a query are equal they tell nothing, and its passages get 1/2 (ours).
    """
    given, _, of = _grouped(scores, queries)
    low, high = np.full(of.max(initial=-1) + 1, np.inf), np.full(of.max(initial=-1) + 1, -np.inf)
    known = ~np.isnan(given)
    np.minimum.at(low, of[known], given[known])
    np.maximum.at(high, of[known], given[known])
    with np.errstate(invalid="ignore"):
        width = (high - low)[of]
        value = np.where(width > 0, (given - low[of]) / np.where(width > 0, width, 1.0), 0.5)
    return np.asarray(np.where(known, value, 0.0))


def kde(scores: npt.ArrayLike, queries: npt.ArrayLike) -> Floats:
    """The share of its query's scores that lie below each, by a Gaussian kernel density estimate; 0 without a score.

    It is the mean over the query's scores of the normal distribution function of their distance over a bandwidth, which
    is Silverman's, 0.9 min(deviation, interquartile range / 1.34) n^(-1/5): with the deviation alone one outlier would
    squeeze the others together, as it does in `normalised`. A query whose scores are all equal gives 1/2.
    """
    from scipy.special import ndtr

    given, count, of = _grouped(scores, queries)
    out = np.zeros(given.size)
    for query in range(count):
        mine = np.flatnonzero((of == query) & ~np.isnan(given))
        some = given[mine]
        spread = some.std(ddof=1) if some.size > 1 else 0.0
        if spread == 0:
            out[mine] = 0.5
            continue
        quarters = float(np.subtract(*np.percentile(some, [75, 25]))) / 1.34
        width = 0.9 * (min(spread, quarters) if quarters > 0 else spread) * some.size ** (-1 / 5)
        out[mine] = ndtr((some[:, None] - some[None, :]) / width).mean(1)
    return out


def pointwise(easiness: npt.ArrayLike, positive: npt.ArrayLike) -> Floats:
    """D of single passages: a right one is easy where the ranker puts it high, a wrong one where it puts it low."""
    given = np.asarray(easiness, np.float64)
    return np.asarray(np.where(np.asarray(positive, bool), given, 1 - given))


def pairwise(positive: npt.ArrayLike, negative: npt.ArrayLike) -> Floats:
    """D of pairs: (easiness of the right passage - that of the wrong one + 1) / 2.

    Args:
        positive: (n,).
        negative: (n,), or (n, wrong ones) of which the hardest counts.

    >>> pairwise([1.0, 0.2], [[0.0, 0.5], [0.8, 0.1]]).round(2).tolist()
    [0.75, 0.2]
    """
    right, wrong = np.asarray(positive, np.float64), np.asarray(negative, np.float64)
    if wrong.ndim == 2:
        wrong = wrong.max(1)
    return np.asarray((right - wrong + 1) / 2)


def weight(easiness: npt.ArrayLike, epoch: float, end: float, *, anti: bool = False) -> Floats:
    """D + (epoch / end) (1 - D) before epoch `end`, exactly 1 from there on.

    Trap: with a learning rate that warms up, hard pairs are damped twice.

    Args:
        easiness: D of `pointwise` or `pairwise`, in [0, 1].
        epoch: from 0; a fraction inside an epoch.
        anti: 1 - D instead, hard pairs first, as a control.

    >>> weight([1.0, 0.2], epoch=5, end=10).round(2).tolist()
    [1.0, 0.6]
    """
    d = np.asarray(easiness, np.float64)
    if d.size and not ((d >= 0) & (d <= 1)).all():
        raise ValueError("easiness is in [0, 1]")
    return Weights(1 - d if anti else d, end).at(epoch)


def _grouped(scores: npt.ArrayLike, queries: npt.ArrayLike) -> tuple[Floats, int, Ints]:
    """Scores, the number of queries and each score's query as a number from 0."""
    given = np.asarray(scores, np.float64)
    names, of = np.unique(np.asarray(queries), return_inverse=True)
    if of.size != given.size:
        raise ValueError(f"there are {given.size} scores and {of.size} queries")
    return given, names.size, of.astype(np.int64)
