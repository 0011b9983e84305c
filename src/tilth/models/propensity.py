"""How probable is it that a record came from one of two collections, by a model that has not seen the record?

Records are split into folds and each fold is judged by a classifier of the others (cross-fitting), so probabilities are
not those of a model that has memorised who came from where. ``e / (1 - e)`` times the odds of the collections' sizes
is the ratio of their densities (classical; Rosenbaum and Rubin 1983, Bickel et al. 2007).

Cost: `folds` fits; a million records of ten features take a minute. Trap: features that say where a record came from
make every probability 0 or 1, and weights made of them explode; `separation` near 1 says so.

>>> rng = np.random.Generator(np.random.PCG64(0))
>>> first = np.repeat([True, False], 500)
>>> x = rng.normal(size=(1000, 1)) + first[:, None]  # two bells, one apart: the log-odds are x - 1/2
>>> e = cross_fitted(x, first, rng.integers(0, 5, 1000))
>>> bool(np.abs(np.log(e / (1 - e)) - (x[:, 0] - 0.5)).mean() < 0.2)
True
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Kind", "cross_fitted", "separation"]

Floats = npt.NDArray[np.float64]
Kind = Literal["logistic", "trees"]


def cross_fitted(
    features: Floats,
    first: npt.NDArray[np.bool_],
    fold: npt.NDArray[np.int64],
    weights: Floats | None = None,
    kind: Kind = "logistic",
    penalty: float = 1.0,
) -> Floats:
    """(n,) probability that each record is of the first collection, by models of the other folds.

    Args:
        features: (n, k).
        first: which records are.
        fold: (n,) which records are judged together; each fold's complement must have records of both collections.
        weights: how much each record counts.
        kind: logistic regression on the features and their squares, or boosted trees.
        penalty: inverse of scikit-learn's C, logistic only.
    """
    from threadpoolctl import threadpool_limits

    out = np.empty(len(first))
    weights = np.ones(len(first)) if weights is None else weights / weights.mean()
    spread = features.std(0)
    x = (features - features.mean(0)) / np.where(spread > 0, spread, 1.0)
    # A yes or no has no square of its own.
    binary = np.array([np.unique(column[:1000]).size <= 2 for column in features.T], bool)
    if kind == "logistic":
        x = np.hstack([x, np.clip(x[:, ~binary], -5, 5) ** 2])
    with threadpool_limits(1):
        for f in np.unique(fold):
            held = fold == f
            model = _model(kind, penalty)
            model.fit(x[~held], first[~held], sample_weight=weights[~held])
            out[held] = model.predict_proba(x[held])[:, 1]
    return out


def _model(kind: Kind, penalty: float) -> Any:
    if kind == "logistic":
        from sklearn.linear_model import LogisticRegression

        return LogisticRegression(C=1 / penalty, max_iter=500)
    from sklearn.ensemble import HistGradientBoostingClassifier

    return HistGradientBoostingClassifier(max_iter=100, learning_rate=0.1, max_depth=4, random_state=0)


def separation(probabilities: Floats, first: npt.NDArray[np.bool_]) -> float:
    """The chance that a record of the first collection has a greater probability than one of the other (AUC)."""
    from scipy.stats import rankdata

    n, wins = int(first.sum()), float(rankdata(probabilities)[first].sum())
    return (wins - n * (n + 1) / 2) / (n * (first.size - n))
