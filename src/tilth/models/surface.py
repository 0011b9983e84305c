"""Response surfaces: the loss of a mixture, regressed on tried mixtures.

On the 512 runs that RegMix's authors published (13 targets, 256 test runs, mean Spearman; `tilth claim
liu2024_regmix`) ridge on shares and log-shares ranks well from few runs, boosted trees from many, and the mean of both
better than either in between. The trees are scikit-learn's histogram boosting, LightGBM's algorithm, with leaves small
enough for few rows: LightGBM's own default predicts a constant below about 40.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["FLOOR", "Kind", "cross_validated", "fit"]

Floats = npt.NDArray[np.float64]
Predict = Callable[[Floats], Floats]
Kind = Literal["auto", "ridge", "trees", "blend"]

FLOOR = 1e-3  # log of a share of nothing
MANY = 200  # rows from which trees alone rank best


def fit(mixtures: Floats, losses: Floats, kind: Kind = "auto") -> Predict:
    """A predictor of losses.

    Args:
        mixtures: (runs, groups), rows sum to 1.
        losses: (runs,).
        kind: ``auto`` is ``blend`` below 200 runs and ``trees`` from there.
    """
    if kind == "auto":
        kind = "trees" if len(mixtures) >= MANY else "blend"
    if kind == "ridge":
        return _ridge(mixtures, losses)
    if kind == "trees":
        return _trees(mixtures, losses)
    smooth, steps = _ridge(mixtures, losses), _trees(mixtures, losses)
    return lambda x: (smooth(x) + steps(x)) / 2


def cross_validated(mixtures: Floats, losses: Floats, kind: Kind = "auto", folds: int = 5) -> Floats:
    """Predictions for each run by a surface that has not seen it."""
    out = np.empty(len(losses))
    for fold in range(folds):
        held = np.arange(len(losses)) % folds == fold
        out[held] = fit(mixtures[~held], losses[~held], kind)(mixtures[held])
    return out


def _features(mixtures: Floats) -> Floats:
    return np.hstack([mixtures, np.log(mixtures + FLOOR)])


def _ridge(mixtures: Floats, losses: Floats) -> Predict:
    from sklearn.linear_model import RidgeCV

    x = _features(mixtures)
    mean, spread = x.mean(0), x.std(0) + 1e-9
    model = RidgeCV(np.logspace(-3, 3, 13)).fit((x - mean) / spread, losses)
    return lambda new: np.asarray(model.predict((_features(new) - mean) / spread), np.float64)


def _trees(mixtures: Floats, losses: Floats) -> Predict:
    from sklearn.ensemble import HistGradientBoostingRegressor
    from threadpoolctl import threadpool_limits

    model = HistGradientBoostingRegressor(
        max_iter=300, learning_rate=0.05, max_depth=4, min_samples_leaf=5, early_stopping=False, random_state=0
    )
    with threadpool_limits(1):  # few rows: threads mostly wait for each other, and on busy cores for minutes
        model.fit(mixtures, losses)

    def predict(new: Floats) -> Floats:
        with threadpool_limits(1):
            return np.asarray(model.predict(new), np.float64)

    return predict
