"""Tokens to reach: which part of the rival's tokens does the plan need to get where the rival ends?

The plan's losses between two measurements are taken on the straight line over the logarithm of the tokens. At each
number of tokens the plan is compared with the rival's end, paired by seed and item (`statistics.compare`). The ratio
is the first number, over the rival's tokens, at which the mean difference is no longer against the plan. Its interval
inverts the test: it holds every number at which the comparison cannot tell the two apart, so it covers as often as the
comparison does. Trap: where a learning rate falls towards the end, the middle of the plan's run has a higher loss than
a run that ended there would, so the ratio errs against the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tilth.core.proof import Curve
from tilth.engine.statistics import compare

__all__ = ["Reach", "reach"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Reach:
    """Tokens the plan needs to reach the rival's final loss, as a part of the rival's tokens.

    Attributes:
        ratio: below 1 the plan is faster; infinite when it does not get there.
        low, high: interval; `high` is infinite when the plan may not get there.
        first: the smallest part that was measured; a ratio or bound of that size means "at most".
        last: the largest part that was measured.
    """

    ratio: float
    low: float
    high: float
    first: float
    last: float

    def __str__(self) -> str:
        def told(value: float) -> str:
            if np.isinf(value):
                return f"more than {self.last:.2f}"
            return f"{'at most ' if value <= self.first else ''}{value:.2f}"

        return f"{told(self.ratio)}x the tokens [{told(self.low)}, {told(self.high)}]"


def reach(
    plan: Sequence[Curve],
    rival: Sequence[Curve],
    weights: npt.ArrayLike | None = None,
    level: float = 0.95,
    points: int = 60,
) -> Reach:
    """From one curve per seed of both.

    Args:
        weights: weight of each item; equal by default.
        points: numbers of tokens looked at, evenly on a logarithmic scale.

    Raises:
        ValueError: when a curve has no two measurements in common with the others.
    """
    end = np.stack([np.asarray(c.losses[-1], float) for c in rival])
    whole = float(np.mean([c.tokens[-1] for c in rival]))
    start, stop = max(int(c.tokens[0]) for c in plan), min(int(c.tokens[-1]) for c in plan)
    if not 0 < start < stop:
        raise ValueError(f"The plan's curves have no range of tokens in common ({start:,} to {stop:,}).")
    grid = np.linspace(np.log(start), np.log(stop), points)
    tables = np.stack([_at(c, grid) for c in plan], 1)  # (points, seeds, items)
    found = [compare(table, end, weights, level) for table in tables]
    middle, low, high = (np.array([getattr(c, name) for c in found]) for name in ("effect", "low", "high"))
    scale = np.exp(grid) / whole

    def crossing(values: Floats, index: int) -> float:
        """Where the line from the point before to this one passes zero."""
        if index == 0:
            return float(scale[0])
        before, after = values[index - 1], values[index]
        part = -before / (after - before) if after > before else 1.0
        return float(np.exp(grid[index - 1] + part * (grid[index] - grid[index - 1])) / whole)

    def first(values: Floats) -> float:
        there = np.flatnonzero(values >= 0)
        return crossing(values, int(there[0])) if there.size else np.inf

    not_yet = np.flatnonzero(low < 0)
    certain = 0 if not_yet.size == 0 else int(not_yet[-1]) + 1  # from here on it is always ahead
    return Reach(
        ratio=first(middle),
        low=first(high),
        high=crossing(low, certain) if certain < points else np.inf,
        first=float(scale[0]),
        last=float(scale[-1]),
    )


def _at(curve: Curve, grid: Floats) -> Floats:
    """Losses (points, items) at these logarithms of tokens."""
    x, y = np.log(np.asarray(curve.tokens, float)), np.asarray(curve.losses, float)
    place = np.clip(np.searchsorted(x, grid, side="right") - 1, 0, x.size - 2)
    part = ((grid - x[place]) / (x[place + 1] - x[place]))[:, None]
    return np.asarray((1 - part) * y[place] + part * y[place + 1])
