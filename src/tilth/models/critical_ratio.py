"""Critical ratios: power laws of two losses in the share of new data, and the largest share that forgets little enough.

Loss against share, and share against tokens, are both y = b + a x^s (Gu et al. 2024, arXiv 2407.17467). For a given s
the rest is a line, so s is searched and a and b follow; a law is told which way it must go, or noise would turn it.

>>> ratios = np.array([0.1, 0.25, 0.5, 0.75, 0.9])
>>> law = power_law(ratios, 2.0 + 0.3 * ratios**2, rising=True)
>>> round(law.a, 3), round(law.s, 2), round(law.b, 3), round(law.reaches(2.1), 3)
(0.3, 2.0, 2.0, 0.577)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar

from tilth.core.errors import BadInput

__all__ = ["PowerLaw", "critical", "interval", "laws", "left_out", "missed", "power_law"]

Floats = npt.NDArray[np.float64]
FLATTEST, STEEPEST, FALLING = 0.05, 8.0, -3.0
"""Exponents searched: from FLATTEST to STEEPEST, and for other than rising-from-zero laws from FALLING to -FLATTEST."""
SMALLEST = 1e-3  # a share of nothing, where a power is negative
RESAMPLES = 200


@dataclass(frozen=True)
class PowerLaw:
    """y = b + a x^s."""

    a: float
    s: float
    b: float

    def __call__(self, x: npt.ArrayLike) -> Floats:
        values = np.asarray(x, float)
        base = values if self.s > 0 else np.maximum(values, SMALLEST)
        return np.asarray(self.b + self.a * base**self.s)

    def reaches(self, y: float) -> float:
        """The x at which the law is y; infinite where it never gets there, 0 where it is there from the start."""
        if self.a == 0 or (part := (y - self.b) / self.a) <= 0:
            beyond = y > self.b if self.a * self.s > 0 or self.a == 0 else y < self.b
            return float("inf") if beyond else 0.0
        return float(part ** (1 / self.s))


def power_law(x: npt.ArrayLike, y: npt.ArrayLike, rising: bool, from_zero: bool = False) -> PowerLaw:
    """The law nearest to the points in least squares; constant where the best of the asked direction is.

    Args:
        rising: whether y grows with x; else it falls.
        from_zero: positive powers only, so that the law is b at 0.

    Raises:
        BadInput: with fewer than three different x.
    """
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    if np.unique(xs).size < 3:
        raise BadInput(f"A power law has three parameters and needs three different x or more. Got {np.unique(xs)}.")

    def at(s: float) -> tuple[float, PowerLaw]:
        f = (xs if s > 0 else np.maximum(xs, SMALLEST)) ** s
        centred = f - f.mean()
        a = float(centred @ (ys - ys.mean()) / max(centred @ centred, 1e-300))
        if (a * s > 0) != rising:
            a = 0.0
        law = PowerLaw(a, s, float(ys.mean() - a * f.mean()))
        return float(((law(xs) - ys) ** 2).sum()), law

    spans = [(FLATTEST, STEEPEST)] if from_zero else [(FALLING, -FLATTEST), (FLATTEST, STEEPEST)]
    found = []
    for low, high in spans:
        grid = np.linspace(low, high, 41)
        best = int(np.argmin([at(s)[0] for s in grid]))
        near = grid[max(best - 1, 0)], grid[min(best + 1, 40)]
        end = minimize_scalar(lambda s: at(s)[0], bounds=near, method="bounded", options={"xatol": 1e-6})
        found.append(at(float(end.x)))
    return min(found, key=lambda pair: pair[0])[1]


def left_out(x: npt.ArrayLike, y: npt.ArrayLike, rising: bool, from_zero: bool = False) -> Floats:
    """(n,) what laws fitted without the points of each x predict for them."""
    xs, ys = np.asarray(x, float), np.asarray(y, float)
    out = np.empty(xs.size)
    for value in np.unique(xs):
        held = xs == value
        out[held] = power_law(xs[~held], ys[~held], rising, from_zero)(xs[held])
    return out


def critical(general: PowerLaw, limit: float) -> float:
    """The largest share from 0 to 1 whose general loss is at most `limit`."""
    return float(np.clip(general.reaches(limit), 0.0, 1.0))


def laws(ratios: npt.ArrayLike, general: npt.ArrayLike, domain: npt.ArrayLike) -> tuple[PowerLaw, PowerLaw]:
    """The laws of general loss, of all ratios (0 may be one), and of domain loss, of those above 0."""
    x, some = np.asarray(ratios, float), np.asarray(ratios, float) > 0
    return power_law(x, general, True, from_zero=True), power_law(x[some], np.asarray(domain, float)[some], False)


def missed(ratios: npt.ArrayLike, losses: npt.ArrayLike, rising: bool) -> float:
    """The largest error of a ratio left out, as a share of the mean loss; the smallest and largest are not left out.

    Args:
        rising: True for general loss, whose law starts at ratio 0; False for domain loss, which has none there.
    """
    x, y = np.asarray(ratios, float), np.asarray(losses, float)
    held = left_out(x, y, rising, from_zero=rising)
    inner = (x > x.min()) & (x < x.max())
    return float(np.abs(held - y)[inner].max() / np.abs(y).mean())


def interval(
    ratios: npt.ArrayLike, general: Floats, limits: npt.ArrayLike, rng: np.random.Generator
) -> tuple[float, float]:
    """95 % of the critical ratio over seeds drawn with replacement.

    Args:
        general: (seeds, ratios) general losses.
        limits: (seeds,) what general loss may be at most.
    """
    seeds, most = len(general), np.asarray(limits, float)
    drawn = rng.integers(seeds, size=(RESAMPLES, seeds))
    found = [
        critical(power_law(ratios, general[rows].mean(0), True, from_zero=True), float(most[rows].mean()))
        for rows in drawn
    ]
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
