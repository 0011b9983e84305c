"""Pacing functions: up to which difficulty a curriculum reads at a time, and from which time on it reads a difficulty.

``u`` is progress through the reading, ``v = (u - start) / (end - start)`` that through the curriculum, both in [0, 1].
The limit is a percentile of difficulty: `first` before `start`, 1 from `end` on, and ``first + (1 - first) g(v)``
between them, with g(0) = 0 and g(1) = 1:

===========  ==================================
linear       v
quad         v^2
root         v^0.5
step         0, and 1 at v = 1
exp          (e^(10 v) - 1) / (e^10 - 1)
log          1 + ln(v + e^-10) / 10, at most 1
===========  ==================================

Source: the kit of CLIMB (arXiv 2311.08886); `step` as in Wu, Dyer and Neyshabur 2021.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SHARPNESS", "Pacing", "Shape"]

Floats = npt.NDArray[np.float64]
Shape = Literal["linear", "quad", "root", "step", "exp", "log"]
SHARPNESS = 10.0
"""c of `exp` and `log`."""


@dataclass(frozen=True)
class Pacing:
    """How fast a curriculum opens.

    Attributes:
        shape: see the module.
        start, end: progress at which the limit begins to rise and at which it is 1; start < end.
        first: the limit before `start`.

    >>> Pacing("quad", start=0.0, end=1.0, first=0.2).limit([0.0, 0.5, 1.0]).round(3).tolist()
    [0.2, 0.4, 1.0]
    """

    shape: Shape = "linear"
    start: float = 0.0625
    end: float = 0.875
    first: float = 0.1

    def limit(self, progress: npt.ArrayLike) -> Floats:
        """The percentile of difficulty that may be read at these points of progress."""
        u = np.asarray(progress, np.float64)
        v = np.clip((u - self.start) / (self.end - self.start), 0.0, 1.0)
        c = SHARPNESS
        if self.shape == "linear":
            g = v
        elif self.shape == "quad":
            g = v**2
        elif self.shape == "root":
            g = np.sqrt(v)
        elif self.shape == "step":
            g = np.floor(v)
        elif self.shape == "exp":
            g = np.expm1(c * v) / np.expm1(c)
        else:
            g = 1 + np.log(v + np.exp(-c)) / c
        return np.asarray(np.minimum(self.first + (1 - self.first) * g, 1.0), np.float64)

    def release(self, percentile: npt.ArrayLike) -> Floats:
        """The inverse: the first progress at which records of these percentiles may be read, 0 for those up to `first`.

        >>> pacing = Pacing("log", start=0.1, end=0.9, first=0.05)
        >>> pacing.limit(pacing.release([0.3, 0.7])).round(6).tolist()
        [0.3, 0.7]
        """
        p = np.asarray(percentile, np.float64)
        x = np.clip((p - self.first) / max(1 - self.first, 1e-12), 0.0, 1.0)
        c = SHARPNESS
        if self.shape == "linear":
            v = x
        elif self.shape == "quad":
            v = np.sqrt(x)
        elif self.shape == "root":
            v = x**2
        elif self.shape == "step":
            v = np.ones_like(x)
        elif self.shape == "exp":
            v = np.log1p(x * np.expm1(c)) / c
        else:
            v = np.clip(np.exp(c * (x - 1)) - np.exp(-c), 0.0, 1.0)
        return np.asarray(np.where(p <= self.first, 0.0, self.start + (self.end - self.start) * v), np.float64)

    @property
    def times(self) -> float:
        """How often the easiest records are drawn if all draws are made anew: the integral of 1 / limit.

        Draws without replacement are like draws anew only where there are many more records than that times the draws.

        >>> round(Pacing().times, 2)
        2.83
        """
        middle = (np.arange(10_000) + 0.5) / 10_000
        return float((1 / np.maximum(self.limit(middle), 1e-12)).mean())
