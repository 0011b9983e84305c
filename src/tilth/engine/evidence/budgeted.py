"""Trials on a budget: what the best of n is worth, and how to stop poor trials early.

The expected best (lowest) of n draws from N observed losses v_1 <= ... <= v_N, drawn with replacement, is

    E = sum over i of v_i [((N - i + 1) / N)^n - ((N - i) / N)^n].

A stopping schedule (start, check, keep) starts that many trials, looks at each after a part of its steps and finishes
only the best. Its worth is simulated on curves of finished trials. Dodge et al., *Fine-Tuning Pretrained Language
Models: Weight Initializations, Data Orders, and Early Stopping*, 2020 (arXiv 2002.06305).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Schedule", "best_schedule", "expected_best", "schedule_loss"]

Floats = npt.NDArray[np.float64]


def expected_best(losses: npt.ArrayLike, n: int) -> float:
    """The expected lowest of n draws, with replacement, from the observed losses.

    >>> expected_best([1.0, 3.0], 2)  # both 3 in one case of four
    1.5

    Raises:
        ValueError: without losses or with n below 1.
    """
    values = np.sort(np.asarray(losses, float))
    if values.size == 0 or n < 1:
        raise ValueError(f"The best of n needs losses and n of at least 1; got {values.size} and {n}.")
    above = (np.arange(values.size, -1, -1) / values.size) ** n
    return float(values @ (above[:-1] - above[1:]))


@dataclass(frozen=True)
class Schedule:
    """Start `start` trials, look after `check` of the measurements, finish the best `keep`.

    Attributes:
        cost: in whole trials.
        loss: expected loss of the best finished trial.
    """

    start: int
    check: int
    keep: int
    cost: float
    loss: float


def schedule_loss(
    curves: Floats, start: int, check: int, keep: int, rng: np.random.Generator, draws: int = 2000
) -> Schedule:
    """Simulate one schedule on curves (trials, measurements): trials drawn without replacement, best final loss kept.

    Raises:
        ValueError: when it asks for more trials or measurements than there are.
    """
    trials, points = curves.shape
    if not 1 <= keep <= start <= trials or not 1 <= check <= points:
        raise ValueError(f"start {start}, check {check}, keep {keep} do not fit {trials} curves of {points} points.")
    order = np.argsort(rng.random((draws, trials)), axis=1)[:, :start]
    seen, final = curves[order, check - 1], curves[order, -1]
    finished = np.argsort(seen, axis=1, kind="stable")[:, :keep]
    best = np.take_along_axis(final, finished, 1).min(1)
    return Schedule(start, check, keep, start * check / points + keep * (1 - check / points), float(best.mean()))


def best_schedule(curves: npt.ArrayLike, budget: float, rng: np.random.Generator, draws: int = 2000) -> Schedule:
    """The schedule with the lowest expected loss that costs at most `budget` whole trials.

    For each check and each number kept, as many are started as the budget allows. Diverged trials count: a loss that is
    not finite is the worst there is.

    Raises:
        ValueError: when the budget does not finish a single trial.
    """
    table = np.asarray(curves, float)
    table = np.where(np.isfinite(table), table, np.finfo(float).max / 1e6)
    trials, points = table.shape
    found: list[Schedule] = []
    for check in range(1, points + 1):
        for keep in range(1, trials + 1):
            start = int((budget - keep * (1 - check / points)) * points / check + 1e-9)
            start = min(start, trials)
            if start < keep or (check == points and keep < start):
                continue
            found.append(schedule_loss(table, start, check, keep, rng, draws))
    if not found:
        raise ValueError(f"A budget of {budget:g} trials does not finish one of them.")
    return min(found, key=lambda s: s.loss)
