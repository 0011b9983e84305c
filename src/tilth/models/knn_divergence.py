"""How far a selection is from a target, by nearest neighbours, and which point would bring it nearer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Divergence"]

Floats = npt.NDArray[np.float64]
TINY = 1e-8  # added to distances before the logarithm


@dataclass
class Divergence:
    """KL(target || selection) from distances, kept up to date while points are added.

    With rho_l(x) the distance of a target point x to its l-th nearest selected point and nu_l(x) that to its l-th
    nearest other target point, of n, the estimate of order l is ``width * mean_x log(rho_l / nu_l) + log(m / (n - 1))``
    for m selected points (Wang, Kulkarni and Verdu 2009); this is its mean over the first `k` orders. Over all orders
    at once the sum of logarithms would be one over selected points, and what a point adds would not depend on those
    that are there.

    Attributes:
        target: (n, width).
        near: (n, k) distances to the nearest selected points, ascending.
        count: selected points.
        own: mean over x and order of log nu_l(x).
        smooth: added to distances where a gain is looked up. A point on top of a target point would have all but an
            infinite gain otherwise, and nothing would be worth moving it.
    """

    target: Floats
    near: Floats
    count: int
    own: float
    smooth: float

    @classmethod
    def of(cls, target: Floats, start: Floats, k: int, smooth: float = 1.0) -> Divergence:
        """From a first selection of at least `k` points; the target has more than `k`.

        Args:
            smooth: in units of the median distance to the nearest other target point.
        """
        among = np.sort(_distances(target, target), axis=1)[:, 1 : k + 1]  # the nearest is the point itself
        near = np.sort(_distances(target, start), axis=1)[:, :k]
        return cls(target, near, len(start), float(np.log(among + TINY).mean()), smooth * float(np.median(among[:, 0])))

    @property
    def value(self) -> float:
        """The estimate; it can be below 0."""
        width, n = self.target.shape[1], len(self.target)
        return float(width * (np.log(self.near + TINY).mean() - self.own) + np.log(self.count / (n - 1)))

    def add(self, point: Floats) -> None:
        """Take a point into the selection."""
        distance = np.linalg.norm(self.target - point, axis=1)
        self.near = np.sort(np.concatenate([self.near, distance[:, None]], axis=1), axis=1)[:, :-1]
        self.count += 1

    def gain(self, point: Floats) -> tuple[float, Floats]:
        """How much a point would lower the estimate's first term, smoothed, and the gradient of that."""
        away = self.target - point
        distance = np.sqrt((away**2).sum(1)) + TINY
        lower = np.log((self.near[:, -1] + TINY + self.smooth) / (distance + self.smooth))
        reached = lower > 0
        scale = self.target.shape[1] / self.near.size
        pull = (away[reached] / (distance * (distance + self.smooth))[reached, None]).sum(0)
        return scale * float(lower[reached].sum()), scale * pull

    def best(self, point: Floats, steps: int, rate: float) -> Floats:
        """The best point on the way uphill from one, in steps of a fixed length."""
        found, most = point, -np.inf
        for _ in range(steps + 1):
            worth, gradient = self.gain(point)
            if worth > most:
                found, most = point, worth
            length = float(np.linalg.norm(gradient))
            if length == 0:
                break
            point = point + rate / length * gradient
        return found


def _distances(one: Floats, two: Floats) -> Floats:
    squares = (one**2).sum(1)[:, None] + (two**2).sum(1) - 2 * one @ two.T
    return np.asarray(np.sqrt(np.maximum(squares, 0)))
