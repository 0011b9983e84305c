"""RegMix (Liu et al. 2024, arXiv 2407.01492): small runs, regressed, rank unseen mixtures.

Fitted on the runs that the authors published: 512 mixtures of 17 Pile domains on 1 M-parameter models with the loss on
13 targets, tested on 256 further runs. The measure is Spearman's rank correlation, averaged over the targets; beside it
that of ridge regression on the logarithms of the shares, which a surface should never fall behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core import Run
from tilth.core.errors import UsageError
from tilth.io.mixtures import read_table
from tilth.mixture import fit
from tilth.models import surface

__all__ = ["PAPER", "run"]

PAPER = "regmix"
FOLDER = Path("I_reference") / "regmix_runs"
WANTED = {64: 0.95, 512: 0.98}
REPEATS = {64: 5, 128: 5, 256: 5, 512: 1}

Floats = npt.NDArray[np.float64]


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per number of training runs: the bar, what was reached, whether it holds.

    Raises:
        UsageError: when the published tables are not there.
    """
    if data is None or not (data / FOLDER).exists():
        raise UsageError(
            f"This claim needs the published runs: give --data FOLDER (or set TILTH_DATA) with {FOLDER}/ in it, from "
            f"the mixture_config and regression_fitting folders of the authors' repository sail-sg/regmix."
        )
    train, test = (
        fit(
            read_table(data / FOLDER / f"{part}_mixture_1m.csv"), read_table(data / FOLDER / f"{part}_pile_loss_1m.csv")
        )[0]
        for part in ("train", "test")
    )
    x, y, x_test, y_test = (t.values for t in (train.ratios, train.metrics, test.ratios, test.metrics))
    rows = []
    for count, repeats in REPEATS.items():
        ours, ridge = np.zeros((2, repeats, y.shape[1]))
        for repeat in range(repeats):
            picked = Run().rng("liu2024_regmix", count, repeat).permutation(len(x))[:count]
            for t in range(y.shape[1]):
                ours[repeat, t] = _rank(surface.fit(x[picked], y[picked, t])(x_test), y_test[:, t])
                ridge[repeat, t] = _rank(_ridge(x[picked], y[picked, t], x_test), y_test[:, t])
        bar = WANTED.get(count, float(ridge.mean()))
        rows.append(
            {
                "training runs": count,
                "targets": y.shape[1],
                "test runs": len(x_test),
                "wanted": f"{bar:.4f}" + ("" if count in WANTED else " (ridge)"),
                "here": round(float(ours.mean()), 4),
                "worst target": round(float(ours.mean(0).min()), 4),
                "ridge on log shares": round(float(ridge.mean()), 4),
                "holds": "yes" if ours.mean() >= max(bar, ridge.mean()) else "no",
            }
        )
    return rows


def _rank(predicted: Floats, measured: Floats) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(predicted, measured).statistic)


def _ridge(x: Floats, y: Floats, new: Floats) -> Floats:
    from sklearn.linear_model import RidgeCV

    logs, fresh = (np.log(each + surface.FLOOR) for each in (x, new))
    mean, spread = logs.mean(0), logs.std(0) + 1e-9
    model = RidgeCV(np.logspace(-3, 3, 13)).fit((logs - mean) / spread, y)
    return np.asarray(model.predict((fresh - mean) / spread))
