"""Agreement: do models that are trained alike learn the same records at the same time?

Everything is computed from ``right``: which models, after which passes, have which records right, (models, passes,
records), or (models, records) at one pass. Source: Hacohen et al. 2019, arXiv 1905.10854.

>>> import numpy as np
>>> right = np.array([[[1, 0, 0, 1], [1, 1, 0, 0], [1, 1, 0, 1]], [[1, 0, 0, 0], [1, 0, 0, 1], [1, 1, 0, 1]]], bool)
>>> first_pass(right).tolist()  # the last record was lost again, and the third is never right
[[1, 2, 4, 3], [1, 3, 4, 2]]
>>> majority(right).tolist()
[1.0, 0.8333333333333334, 1.0, 0.6666666666666666]
"""

from __future__ import annotations

from itertools import combinations

import numpy as np
import numpy.typing as npt

__all__ = ["excess", "first_pass", "majority", "order_correlation", "rank_correlation"]

Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


def first_pass(right: Bools) -> Ints:
    """The pass, counted from 1, from which on a model has a record right until the end, (models, records).

    One more than there are passes where it has it wrong in the end.
    """
    last_wrong = right.shape[1] - np.argmin(right[:, ::-1], 1)
    return np.where(right.all(1), 1, last_wrong + 1).astype(np.int64)


def majority(right: Bools) -> Floats:
    """The share of models that are of one mind about a record, right or wrong; the mean over passes, (records,)."""
    share = right.mean(0)
    return np.asarray(np.maximum(share, 1 - share).mean(0))


def excess(right: Bools) -> float:
    """Variance over records of the share of models that are right, over the variance were models independent.

    1 when models have records right independently of each other, the number of models when all agree.

    Args:
        right: (models, records).
    """
    p = right.mean(0)
    alone = float(np.mean(right.mean(1) * (1 - right.mean(1)))) / len(right)
    return float(p.var()) / alone if alone > 0 else 1.0


def order_correlation(right: Bools) -> float:
    """Mean rank correlation, over pairs of models, of the share of passes after which a record is right."""
    share = right.mean(1)
    return float(np.mean([rank_correlation(share[i], share[j]) for i, j in combinations(range(len(share)), 2)]))


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's; 0 where one of the two is constant."""
    from scipy.stats import spearmanr

    if np.ptp(np.asarray(a)) == 0 or np.ptp(np.asarray(b)) == 0:
        return 0.0
    return float(spearmanr(a, b).statistic)
