"""Predict a score at a larger size from a learning curve, with an interval, and stop when the answer is settled.

The curve is ``y(x) = c + d x^(-b)`` with 0 < b <= 3; d < 0 for scores that rise and d > 0 for losses that fall. For a
given b the least squares are linear, so only b is searched. The interval at a size is the profile's: it holds each
value p for which some curve through p at that size has a sum of squares of at most S (1 + t^2 / (n - 3)), with S the
least sum and t Student's quantile. For a given b that is p_b +- sqrt((most - S_b) v_b), with p_b the prediction and v_b
its variance in units of the noise, so the interval is a union over b. (The delta method's, which is symmetric, is too
short where a few early observations leave b open.) Predict at a finite size: the asymptote c is far less certain than
any size one could afford. Vilares, Darriba and Ribadas, *Modeling of learning curves with applications to pos tagging*,
2017 (arXiv 2402.02515); the rule that stops is ours, built on their proximity criterion.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats
from scipy.optimize import minimize_scalar

__all__ = ["Forecast", "PowerLaw", "Settled", "better", "fit", "settle"]

Floats = npt.NDArray[np.float64]
LEAST, MOST = 0.01, 3.0
GRID = np.geomspace(LEAST, MOST, 48)


@dataclass(frozen=True)
class Forecast:
    """A predicted score and its interval."""

    value: float
    low: float
    high: float

    @property
    def reach(self) -> float:
        """How far the interval goes from the value, to the longer side."""
        return max(self.high - self.value, self.value - self.low)


@dataclass(frozen=True)
class PowerLaw:
    """A fitted curve ``c + d (x / scale)^(-b)``.

    Attributes:
        c: what the score tends to.
        d: distance from it at `scale`.
        b: how fast it is approached.
        scale: geometric mean of the sizes fitted, for numbers of a good size.
        squares: least sum of squared residuals.
        sizes, scores: what was fitted.
        limit: a bound the score cannot pass.
    """

    c: float
    d: float
    b: float
    scale: float
    squares: float
    sizes: Floats
    scores: Floats
    limit: float | None = None

    def __call__(self, size: npt.ArrayLike) -> Floats:
        """The curve at these sizes."""
        return np.asarray(self.c + self.d * (np.asarray(size, float) / self.scale) ** -self.b)

    def predict(self, size: float, level: float = 0.95) -> Forecast:
        """The curve's value at one size, with its interval (of the curve, not of one noisy observation)."""
        value, freedom = float(self(size)), self.sizes.size - 3
        most = self.squares * (1 + float(stats.t.ppf((1 + level) / 2, freedom)) ** 2 / freedom)
        near = np.geomspace(max(LEAST, self.b / 3), min(MOST, self.b * 3), 160)
        b = np.sort(np.concatenate([GRID, near, [self.b]]))
        power = np.exp(-b[:, None] * np.log(self.sizes / self.scale))
        around = power - power.mean(1, keepdims=True)
        square = (around**2).sum(1)
        d = (around @ self.scores) / square
        c = self.scores.mean() - d * power.mean(1)
        squares = ((self.scores - c[:, None] - d[:, None] * power) ** 2).sum(1)
        there = np.exp(-b * np.log(size / self.scale))
        variance = 1 / self.sizes.size + (there - power.mean(1)) ** 2 / square
        half = np.sqrt(np.maximum(most - squares, 0.0) * variance)
        inside = squares <= most
        ends = [*(c + d * there - half)[inside], *(c + d * there + half)[inside], value]
        if self.limit is not None:  # the limit is above for scores and below for losses
            ends = [min(e, self.limit) if self.c >= value else max(e, self.limit) for e in ends]
        return Forecast(value, float(min(ends)), float(max(ends)))


def fit(sizes: npt.ArrayLike, scores: npt.ArrayLike, *, falling: bool = False, limit: float | None = None) -> PowerLaw:
    """Fit the curve by least squares.

    Args:
        falling: losses, which fall; by default scores, which rise.
        limit: a bound the score cannot pass, such as 100 for a percentage or 0 for a loss.

    Raises:
        ValueError: with fewer than 4 observations, or sizes that are not positive and different.
    """
    x, y = np.asarray(sizes, float), np.asarray(scores, float)
    if x.size < 4 or y.shape != x.shape or x.min() <= 0 or np.unique(x).size < 4:
        raise ValueError(f"A learning curve needs scores at 4 or more different positive sizes; got {x.size}.")
    scale = float(np.exp(np.log(x).mean()))
    u = np.log(x / scale)
    sign = 1.0 if falling else -1.0

    def solve(b: float) -> tuple[float, float, float]:
        """Sum of squares, c and d for one b."""
        power = np.exp(-b * u)
        around = power - power.mean()
        d = float(around @ y) / float(around @ around)
        c = float(y.mean() - d * power.mean())
        if limit is not None and (limit - c) * sign > 0:
            c, d = limit, float(power @ (y - limit)) / float(power @ power)
        if d * sign < 0:
            c, d = float(y.mean()), 0.0
        return float(((y - c - d * power) ** 2).sum()), c, d

    losses = [solve(b)[0] for b in GRID]
    best = int(np.argmin(losses))
    inside = (float(GRID[max(0, best - 1)]), float(GRID[min(GRID.size - 1, best + 1)]))
    found = minimize_scalar(lambda b: solve(b)[0], bounds=inside, method="bounded", options={"xatol": 1e-6})
    b = float(found.x) if found.fun < losses[best] else float(GRID[best])
    squares, c, d = solve(b)
    return PowerLaw(c, d, b, scale, squares, x, y, limit)


@dataclass(frozen=True)
class Settled:
    """Where measuring could stop: after `level` observations, with the forecast at the size asked about."""

    level: int
    forecast: Forecast


def settle(
    sizes: npt.ArrayLike,
    scores: npt.ArrayLike,
    target: float,
    tolerance: float,
    *,
    falling: bool = False,
    limit: float | None = None,
    streak: int = 3,
) -> Settled | None:
    """The first level at which the prediction for size `target` is settled, or None.

    Settled is: for `streak` levels running, the curves of this level and the one before differ by at most `tolerance`
    anywhere from the size reached to the target, and the 99 % interval at the target reaches no further. (99 % because
    looking again and again finds a lucky short interval at some time.)
    """
    x, y = np.asarray(sizes, float), np.asarray(scores, float)
    before: PowerLaw | None = None
    running = 0
    for level in range(5, x.size + 1):
        curve = fit(x[:level], y[:level], falling=falling, limit=limit)
        forecast = curve.predict(target, 0.99)
        ahead = np.geomspace(x[level - 1], max(target, x[level - 1] * (1 + 1e-9)), 16)
        moved = np.inf if before is None else float(np.abs(curve(ahead) - before(ahead)).max())
        calm = moved <= tolerance and forecast.reach <= tolerance
        running = running + 1 if calm else 0
        if running >= streak:
            return Settled(level, forecast)
        before = curve
    return None


def better(
    curves: Mapping[str, PowerLaw], target: float, *, falling: bool = False, level: float = 0.95
) -> tuple[str, bool]:
    """Which of several systems is predicted best at a size, and whether its interval lies clear of all others."""
    told = {name: curve.predict(target, level) for name, curve in curves.items()}
    first = (min if falling else max)(told, key=lambda n: told[n].value)
    others = [forecast for name, forecast in told.items() if name != first]
    clear = all(told[first].high < o.low if falling else told[first].low > o.high for o in others)
    return first, clear
