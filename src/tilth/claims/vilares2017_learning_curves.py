"""Vilares, Darriba and Ribadas 2017 (arXiv 2402.02515): part of a learning curve predicts the rest, and says when.

On simulated curves like those of taggers, 97 - a x^-b with noise of 0.2 points over 160 levels, since truth must be
known: what a fit to the first 56 levels predicts, and whether the rule that stops was right.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core import Run
from tilth.engine.evidence.learning_curve import better, fit, settle

__all__ = ["PAPER", "run"]

PAPER = "modeling_of_learning_curves_with_applications"
LEVELS = np.arange(1, 161) * 5000.0
SEEN, TOP, NOISE, RUNS, STOPS = 56, 97.0, 0.2, 60, 20
TOLERANCE = 0.3


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what was wanted, what was reached, whether it holds. Needs no data."""
    rows = []
    for b in (0.3, 0.4, 0.5):
        truth, rng = _curve(b, 82.0), Run().rng("vilares2017", int(b * 10))
        fits = [fit(LEVELS[:SEEN], truth[:SEEN] + rng.normal(0, NOISE, SEEN), limit=100) for _ in range(RUNS)]
        told = [f.predict(LEVELS[-1]) for f in fits]
        error = float(np.quantile([abs(t.value - truth[-1]) for t in told], 0.9))
        rows.append(_row(f"b = {b}: error at full size, 90 % quantile, points", "at most 0.2", error, error <= 0.2))
        inside = float(np.mean([t.low <= truth[-1] <= t.high for t in told]))
        rows.append(_row(f"b = {b}: 95 % interval holds the truth", "at least 0.9", inside, inside >= 0.9))
        asymptote = float(np.quantile([abs(f.c - TOP) for f in fits], 0.9))
        rows.append(_row(f"b = {b}: error of the asymptote, 90 % quantile", "at most 1", asymptote, asymptote <= 1))
    early = []
    for b in (0.3, 0.4, 0.5):
        for repeat in range(STOPS):
            scores = _curve(b, 82.0) + Run().rng("stop", int(b * 10), repeat).normal(0, NOISE, LEVELS.size)
            found = settle(LEVELS[:120:2], scores[:120:2], LEVELS[-1], TOLERANCE, limit=100)
            early.append(found is not None and abs(found.forecast.value - _curve(b, 82.0)[-1]) > TOLERANCE)
    share = float(np.mean(early))
    rows.append(_row("stops at a wrong prediction", "at most 0.05", share, share <= 0.05))
    fast, slow = _curve(0.5, 84.0, 95.5), _curve(0.45, 78.0)
    right = 0
    for repeat in range(RUNS):
        rng = Run().rng("cross", repeat)
        seen = {n: fit(LEVELS[:SEEN], c[:SEEN] + rng.normal(0, NOISE, SEEN), limit=100)
                for n, c in {"fast": fast, "slow": slow}.items()}  # fmt: skip
        right += better(seen, LEVELS[-1])[0] == "slow"
    rows.append(
        _row("of two curves that cross, the one that ends ahead", "at least 0.9", right / RUNS, right >= 0.9 * RUNS)
    )
    return rows


def _curve(b: float, start: float, top: float = TOP) -> npt.NDArray[np.float64]:
    return np.asarray(top - (top - start) * (LEVELS / LEVELS[0]) ** -b)


def _row(what: str, wanted: str, here: float, holds: bool) -> dict[str, Any]:
    return {"statement": what, "wanted": wanted, "here": round(here, 3), "holds": "yes" if holds else "no"}
