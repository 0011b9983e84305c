"""Dahl et al. 2023 (arXiv 2306.07179): methods are compared by their time to a target, over several goals, as profiles.

A table by hand has the areas that can be computed on paper, and of two plans with known power laws the one that needs
half the tokens on three goals scores as the formula says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tilth.engine.evidence.profiles import performance_profiles, time_to_target

__all__ = ["PAPER", "run"]

PAPER = "benchmarking_neural_network_training_algorithms"
GOALS = ("a", "b", "c")
BY_HAND: dict[str, tuple[tuple[float, float, float], float]] = {
    "fastest everywhere": ((10.0, 4.0, 1.0), 1.0),
    "twice the time everywhere": ((20.0, 8.0, 2.0), 2 / 3),
    "fastest, thrice, never": ((10.0, 12.0, np.inf), 4 / 9),
    "never": ((np.inf, np.inf, np.inf), 0.0),
    "beyond four times everywhere": ((41.0, 17.0, 4.1), 0.0),
}
LAWS = {"a": (1.0, 0.3), "b": (2.0, 0.5), "c": (0.5, 0.2)}


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what was wanted, what was reached, whether it holds. Needs no data."""
    made = performance_profiles({name: dict(zip(GOALS, times, strict=True)) for name, (times, _) in BY_HAND.items()})
    rows = [_row(name, area, made.scores[name], 1e-12) for name, (_, area) in BY_HAND.items()]
    tokens = np.geomspace(100, 10_000, 2000)
    times: dict[str, dict[str, float]] = {"plain": {}, "half the tokens": {}}
    for goal, (floor, rate) in LAWS.items():
        target = floor + 5 * tokens[-1] ** -rate
        for name, speed in {"plain": 1.0, "half the tokens": 2.0}.items():
            losses = floor + 5 * (speed * tokens) ** -rate
            times[name][goal] = time_to_target(tokens, losses, target + 1e-12)
    scores = performance_profiles(times).scores
    rows.append(_row("power laws, half the tokens", 1.0, scores["half the tokens"], 1e-12))
    rows.append(_row("power laws, plain", 2 / 3, scores["plain"], 0.01))
    variant = performance_profiles({"robust": {"a": 2.0, "a*": 2.0}, "brittle": {"a": 1.0, "a*": np.inf}},
                                   variants={"a": ["a*"]}).scores  # fmt: skip
    rows.append(_row("fastest, but fails the variant", 0.0, variant["brittle"], 1e-12))
    return rows


def _row(what: str, wanted: float, here: float, within: float) -> dict[str, Any]:
    holds = "yes" if abs(here - wanted) <= within else "no"
    return {"method": what, "wanted": round(wanted, 4), "here": round(here, 4), "holds": holds}
