"""RegMix (Liu et al. 2024, arXiv 2407.01492): small runs, regressed, rank unseen mixtures.

Fitted on the runs that the authors published: 512 mixtures of 17 Pile domains on 1 M-parameter models with the loss on
13 targets, tested on 256 further runs. The measure is Spearman's rank correlation, averaged over the targets.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core import Run
from tilth.core.errors import UsageError
from tilth.models import surface

__all__ = ["PAPER", "run"]

PAPER = "regmix"
FOLDER = Path("I_reference") / "regmix_runs"
WANTED = {64: 0.94, 512: 0.97}
REPEATS = {64: 5, 512: 1}


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
    x, y = (_table(data / FOLDER / f"train_{what}_1m.csv") for what in ("mixture", "pile_loss"))
    x_test, y_test = (_table(data / FOLDER / f"test_{what}_1m.csv") for what in ("mixture", "pile_loss"))
    rows = []
    for count, bar in WANTED.items():
        found = []
        for repeat in range(REPEATS[count]):
            picked = Run().rng("liu2024_regmix", count, repeat).permutation(len(x))[:count]
            found.append([_rank(x[picked], y[picked, t], x_test, y_test[:, t]) for t in range(y.shape[1])])
        reached = float(np.mean(found))
        rows.append(
            {
                "training runs": count,
                "targets": y.shape[1],
                "test runs": len(x_test),
                "wanted": bar,
                "here": round(reached, 4),
                "worst target": round(float(np.mean(found, 0).min()), 4),
                "holds": "yes" if reached >= bar else "no",
            }
        )
    return rows


def _rank(x: npt.NDArray[Any], y: npt.NDArray[Any], x_test: npt.NDArray[Any], y_test: npt.NDArray[Any]) -> float:
    from scipy.stats import spearmanr

    return float(spearmanr(surface.fit(x, y)(x_test), y_test).statistic)


def _table(path: Path) -> npt.NDArray[np.float64]:
    """The numbers of a CSV without its header and its first column, the run's number."""
    with open(path, newline="") as file:
        rows = list(csv.reader(file))[1:]
    return np.array([[float(v) for v in row[1:]] for row in rows])
