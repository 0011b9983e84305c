"""Glicko-2: ratings with deviations from matches, one rating period after another.

Within a period all are updated at once from what they were before it, so the order of its matches is nothing: sums are
taken in the order of their values, and the result is the same to the last bit. Who has no match in a period becomes
less certain. Some can be `still`: they do not drift, so their volatility is 0 and waiting changes nothing.

Cost: a sort of the matches per period, and some 10 vectorised steps for the volatility; a million matches take seconds.
Trap: an update is one step from the ratings before the period. It is good when a period has some ten matches each (the
note's advice) and coarse when everything is put into one. Sources: Glickman, "Example of the Glicko-2 system"; the
note's own 1464.06 comes from rounded steps.

>>> import numpy as np
>>> before = Ratings(np.array([1500.0, 1400, 1550, 1700]), np.array([200.0, 30, 100, 300]), np.full(4, 0.06))
>>> after = play(before, np.array([0, 0, 0]), np.array([1, 2, 3]), np.array([1, 0, 0]))
>>> float(after.rating[0].round(2)), float(after.deviation[0].round(2)), float(after.volatility[0].round(5))
(1464.05, 151.52, 0.06)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np
import numpy.typing as npt

__all__ = ["Ratings", "play"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]
CENTRE: Final = 1500.0
SCALE: Final = 173.7178
CLOSE: Final = 1e-9
"""Width of the bracket around the logarithm of the variance at which it is found."""


@dataclass(frozen=True)
class Ratings:
    """How strong each is, how certain that is, and how much it fluctuates."""

    rating: Floats
    deviation: Floats
    volatility: Floats

    @classmethod
    def fresh(cls, count: int, deviation: float = 350.0, volatility: float = 0.06) -> Self:
        """So many of whom nothing is known."""
        return cls(np.full(count, CENTRE), np.full(count, deviation), np.full(count, volatility))


def play(
    before: Ratings,
    one: npt.ArrayLike,
    other: npt.ArrayLike,
    score: npt.ArrayLike,
    tau: float = 0.5,
    still: Flags | None = None,
) -> Ratings:
    """Ratings after a period.

    Args:
        one: who plays, for each match.
        other: against whom; both are updated.
        score: 1 where `one` wins, 0 where it loses, 0.5 for a draw.
        tau: how far volatility may change in a period.
        still: who does not drift.
    """
    count = before.rating.size
    still = np.zeros(count, np.bool_) if still is None else still
    mu, phi = (before.rating - CENTRE) / SCALE, before.deviation / SCALE
    a, b, s = np.asarray(one, np.int64), np.asarray(other, np.int64), np.asarray(score, np.float64)
    me, you, won = np.concatenate([a, b]), np.concatenate([b, a]), np.concatenate([s, 1 - s])
    order = np.lexsort((won, mu[you], phi[you], me))
    me, you, won = me[order], you[order], won[order]
    weight = 1 / np.sqrt(1 + 3 * phi[you] ** 2 / np.pi**2)
    expected = 1 / (1 + np.exp(-weight * (mu[me] - mu[you])))
    information = np.bincount(me, weight**2 * expected * (1 - expected), count)
    surprise = np.bincount(me, weight * (won - expected), count)
    played = np.bincount(me, minlength=count) > 0
    sigma = np.where(still, 0.0, before.volatility)
    moves = np.flatnonzero(played & ~still)
    variance = 1 / information[moves]
    sigma[moves] = _volatility(sigma[moves], phi[moves], variance, variance * surprise[moves], tau)
    waited = phi**2 + sigma**2
    after = np.where(played, 1 / np.sqrt(1 / waited + information), np.sqrt(waited))
    return Ratings(
        CENTRE + SCALE * (mu + after**2 * surprise), SCALE * after, np.where(still, before.volatility, sigma)
    )


def _volatility(sigma: Floats, phi: Floats, v: Floats, delta: Floats, tau: float) -> Floats:
    """The new volatility: the root of the note's step 5, bracketed and closed in on by the Illinois method."""
    start = np.log(sigma**2)

    def f(x: Floats) -> Floats:
        e = np.exp(x)
        rest = phi**2 + v + e
        return np.asarray(e * (delta**2 - rest) / (2 * rest**2) - (x - start) / tau**2)

    low = start.copy()
    gap = delta**2 - phi**2 - v
    high = np.where(gap > 0, np.log(np.maximum(gap, 1e-300)), start - tau)
    while (down := (gap <= 0) & (f(high) < 0)).any():
        high = np.where(down, high - tau, high)
    f_low, f_high = f(low), f(high)
    while (open_ := np.abs(high - low) > CLOSE).any():
        slope = np.where(open_ & (f_high != f_low), f_high - f_low, 1.0)
        middle = np.where(open_, low + (low - high) * f_low / slope, high)
        f_middle = np.where(open_, f(middle), f_high)
        crossed = f_middle * f_high <= 0
        low, f_low = (
            np.where(open_ & crossed, high, low),
            np.where(open_, np.where(crossed, f_high, f_low / 2), f_low),
        )
        high, f_high = middle, f_middle
    return np.asarray(np.exp(low / 2))
