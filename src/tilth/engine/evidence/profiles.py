"""Performance profiles: one score for methods that are timed to a target on several goals.

With t the time a method needs on a goal and r = t / (the fastest method's t), the profile rho(tau) of a method is the
share of goals with r <= tau, and its score is the area under rho from 1 to the limit, over limit - 1. The profile is a
staircase, so the area is exact: the mean over goals of max(0, limit - r) / (limit - 1). Scores are relative to the
methods in the table: adding one changes the others. Dahl et al., *Benchmarking Neural Network Training Algorithms*,
2023 (arXiv 2306.07179), after Dolan and More 2002; there the limit is 4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Profiles", "performance_profiles", "time_to_target"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Profiles:
    """The profiles of all methods.

    Attributes:
        ratios: method -> goal -> time over the fastest method's; infinite when it failed or is beyond the limit.
        scores: method -> area under its profile in [0, 1].
    """

    ratios: Mapping[str, Mapping[str, float]]
    scores: Mapping[str, float]
    limit: float

    def rho(self, method: str, tau: float) -> float:
        """Share of goals on which the method needs at most `tau` times the fastest time."""
        return float(np.mean([r <= tau for r in self.ratios[method].values()]))


def time_to_target(times: npt.ArrayLike, losses: npt.ArrayLike, target: float) -> float:
    """The first time at which a loss reaches the target; infinite when it never does."""
    reached = np.flatnonzero(np.asarray(losses, float) <= target)
    return float(np.asarray(times, float)[reached[0]]) if reached.size else np.inf


def performance_profiles(
    times: Mapping[str, Mapping[str, float]],
    limit: float = 4.0,
    variants: Mapping[str, Sequence[str]] | None = None,
) -> Profiles:
    """From each method's time on each goal.

    Args:
        times: method -> goal -> time; infinite where the target was missed.
        limit: ratios beyond it count as failures.
        variants: goal -> its held-out variants, goals of the table too; a method that misses one of them, or needs more
            than `limit` times the fastest there, has failed on the goal. Variants are not scored by themselves.

    Raises:
        ValueError: when methods were timed on different goals, or a time is not positive.
    """
    goals = [*next(iter(times.values()), {})]
    if not goals or any({*row} != {*goals} for row in times.values()):
        raise ValueError("Every method must be timed on the same goals, at least one.")
    if any(not t > 0 for row in times.values() for t in row.values()):
        raise ValueError("Times must be positive; a missed target is infinite.")
    if limit <= 1:
        raise ValueError(f"The limit must be above 1, the fastest method's ratio; got {limit}.")
    ratios = {name: dict.fromkeys(goals, np.inf) for name in times}
    for goal in goals:
        fastest = min(row[goal] for row in times.values())
        for name, row in times.items():
            ratio = row[goal] / fastest if np.isfinite(row[goal]) else np.inf
            ratios[name][goal] = ratio if ratio <= limit else np.inf
    held_out = {v for each in (variants or {}).values() for v in each}
    scored: dict[str, dict[str, float]] = {}
    for name, row_ in ratios.items():
        scored[name] = {
            goal: np.inf if any(np.isinf(row_[v]) for v in (variants or {}).get(goal, ())) else row_[goal]
            for goal in goals
            if goal not in held_out
        }
    scores = {
        name: float(np.mean([max(0.0, limit - r) / (limit - 1) for r in row.values()])) for name, row in scored.items()
    }
    return Profiles(scored, scores, limit)
