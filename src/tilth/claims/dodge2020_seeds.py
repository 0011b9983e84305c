"""Dodge et al. 2020 (arXiv 2002.06305): initial weights and data order both matter, and stopping poor trials pays.

Planted grids show that the parts of the variance are recovered; a grid of small networks trained here, 24 initial
weights by 24 orders of the same 96 noisy records, shows both at work; planted curves show the schedule. (With one epoch
at a constant rate the last records read decide, and the weights hardly matter: the paper's protocol is used instead.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from tilth.core import Run
from tilth.engine.evidence.budgeted import best_schedule, expected_best, schedule_loss
from tilth.engine.evidence.variance import components

__all__ = ["PAPER", "run"]

PAPER = "finetuning_pretrained_language_models"
NAMES = ("init", "order")
PLANTED = {("init",): 0.04, ("order",): 0.02, NAMES: 0.05}
GRIDS, SIDE, TRAINED, EPOCHS = 60, 25, 24, 3
Floats = npt.NDArray[np.float64]


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what was wanted, what was reached, whether it holds. Needs no data."""
    rows = []
    found = [components(_planted(k), NAMES) for k in range(GRIDS)]
    for factors, truth in PLANTED.items():
        mean = float(np.mean([f[factors].value for f in found]))
        name = " and ".join(factors) if len(factors) == 1 else "rest"
        within = abs(mean / truth - 1) <= 0.2
        rows.append(_row(f"variance of {name}, mean of {GRIDS} grids", f"{truth} +- 20 %", mean, within))
    trained, side = components(_networks(TRAINED, TRAINED), NAMES), TRAINED - 1
    rest = trained[NAMES].value
    total = sum(max(0.0, part.value) for part in trained.values())
    for name in NAMES:
        part = trained[name,].value
        p = float(stats.f.sf(1 + TRAINED * part / rest, side, side**2))
        rows.append(_row(f"trained networks: p of no variance by {name}", "at most 0.001", p, p <= 0.001))
        rows.append(_row(f"trained networks: share of {name}", "at least 0.05", part / total, part / total >= 0.05))
    losses = Run().rng("losses").gamma(2.0, 1.0, 40)
    drawn = Run().rng("drawn").choice(losses, size=(100_000, 5)).min(1).mean()
    ratio = expected_best(losses, 5) / float(drawn)
    rows.append(_row("expected best of 5 over its simulation", "1 +- 1 %", ratio, abs(ratio - 1) <= 0.01))
    curves = _curves()
    whole = schedule_loss(curves, 10, 10, 10, Run().rng("whole"), 4000)
    half = best_schedule(curves, 5.0, Run().rng("search"), 500)
    again = schedule_loss(curves, half.start, half.check, half.keep, Run().rng("again"), 4000)
    rows.append(_row("loss by stopping early with half the budget, less that of the best of 10", "at most 0",
                     again.loss - whole.loss, again.loss <= whole.loss))  # fmt: skip
    return rows


def _planted(repeat: int) -> Floats:
    rng = Run().rng("grid", repeat)
    out = np.zeros((SIDE, SIDE))
    for factors, value in PLANTED.items():
        shape = tuple(SIDE if name in factors else 1 for name in NAMES)
        out = out + rng.normal(0, np.sqrt(value), shape)
    return out


def _networks(inits: int, orders: int, records: int = 96, width: int = 8, rate: float = 0.3) -> Floats:
    """Test losses (inits, orders) of networks with one hidden layer, trained one record at a time.

    As in the paper three epochs, each in a new order, and a learning rate that falls to 0 in a straight line.
    """
    run = Run().at("dodge2020")
    rng = run.rng("data")
    x, x_test = rng.normal(size=(records, 4)), rng.normal(size=(1000, 4))

    def label(v: Floats) -> Floats:
        return np.asarray((v[:, 0] * v[:, 1] + v[:, 2] > 0).astype(float))

    y, y_test = label(x), label(x_test)
    y = np.where(rng.random(records) < 0.2, 1 - y, y)
    first = np.stack([run.rng("init", i, "first").normal(0, 0.5, (4, width)) for i in range(inits)])
    last = np.stack([run.rng("init", i, "last").normal(0, 0.5, width) for i in range(inits)])
    epochs = [np.stack([run.rng("order", o, e).permutation(records) for o in range(orders)]) for e in range(EPOCHS)]
    order = np.hstack(epochs)
    w = np.repeat(first[:, None], orders, 1)
    v = np.repeat(last[:, None], orders, 1)
    for step in range(order.shape[1]):
        now = rate * (1 - step / order.shape[1])
        rows, wanted = x[order[:, step]], y[order[:, step]]
        hidden = np.tanh(np.einsum("of,iofw->iow", rows, w))
        error = 1 / (1 + np.exp(-(hidden * v).sum(-1))) - wanted
        back = error[..., None] * v * (1 - hidden**2)
        v = v - now * error[..., None] * hidden
        w = w - now * np.einsum("of,iow->iofw", rows, back)
    score = np.einsum("tw...,...w->...t", np.tanh(np.einsum("tf,iofw->twio", x_test, w)), v)
    return np.asarray(np.logaddexp(0, np.where(y_test > 0, -score, score)).mean(-1))


def _curves(trials: int = 60, points: int = 10) -> Floats:
    """Losses whose end shows early: noise around them shrinks with the steps taken."""
    rng = Run().rng("curves")
    steps = np.arange(1, points + 1)
    noise = rng.normal(0, 0.15, (trials, points)) * (1 - steps / points)
    return np.asarray(rng.normal(2.0, 0.2, trials)[:, None] + 3 / steps - 0.3 + noise)


def _row(what: str, wanted: str, here: float, holds: bool) -> dict[str, Any]:
    return {"statement": what, "wanted": wanted, "here": round(float(here), 4), "holds": "yes" if holds else "no"}
