"""Glicko-2: the note's worked example, its formulas written plainly, and independence of the order in a period."""

from __future__ import annotations

from math import exp, log, pi, sqrt
from typing import Any

import numpy as np
import pytest
from scipy.optimize import brentq

from tilth.models.glicko2 import Ratings, play


def plain(rating: float, deviation: float, sigma: float, matches: list[tuple[float, float, float]], tau: float) -> Any:
    """One player's update, step by step; a match is the opponent's rating and deviation, and the score."""
    mu, phi = (rating - 1500) / 173.7178, deviation / 173.7178
    if not matches:
        return rating, 173.7178 * sqrt(phi**2 + sigma**2), sigma
    information = surprise = 0.0
    for r, d, s in matches:
        g = 1 / sqrt(1 + 3 * (d / 173.7178) ** 2 / pi**2)
        e = 1 / (1 + exp(-g * (mu - (r - 1500) / 173.7178)))
        information += g * g * e * (1 - e)
        surprise += g * (s - e)
    v, delta = 1 / information, surprise / information

    def f(x: float) -> float:
        return (
            exp(x) * (delta**2 - phi**2 - v - exp(x)) / (2 * (phi**2 + v + exp(x)) ** 2) - (x - log(sigma**2)) / tau**2
        )

    sigma = exp(brentq(f, -30, 10, xtol=1e-12) / 2)
    after = 1 / sqrt(1 / (phi**2 + sigma**2) + information)
    return 1500 + 173.7178 * (mu + after**2 * surprise), 173.7178 * after, sigma


def test_the_worked_example_of_the_note() -> None:
    before = Ratings(np.array([1500.0, 1400, 1550, 1700]), np.array([200.0, 30, 100, 300]), np.full(4, 0.06))
    after = play(before, [0, 0, 0], [1, 2, 3], [1, 0, 0])
    assert after.rating[0] == pytest.approx(1464.06, abs=0.02)  # the note rounds on the way
    assert after.deviation[0] == pytest.approx(151.52, abs=0.01)
    assert after.volatility[0] == pytest.approx(0.05999, abs=1e-5)


@pytest.mark.parametrize("tau", [0.2, 0.5, 1.2])
def test_equals_the_plain_formulas(tau: float) -> None:
    """Upsets included: after one the bracket of the volatility begins elsewhere."""
    rng = np.random.default_rng(0)
    n = 30
    before = Ratings(rng.normal(1500, 400, n), rng.uniform(25, 350, n), rng.uniform(0.03, 0.3, n))
    one, other = rng.integers(0, n - 2, 90), rng.integers(0, n - 2, 90)  # the last two do not play
    score = rng.integers(0, 3, 90) / 2
    after = play(before, one, other, score, tau)
    for i in range(n):
        matches = [(other[k], score[k]) for k in range(90) if one[k] == i]
        matches += [(one[k], 1 - score[k]) for k in range(90) if other[k] == i]
        wanted = plain(
            before.rating[i],
            before.deviation[i],
            before.volatility[i],
            [(before.rating[j], before.deviation[j], s) for j, s in matches],
            tau,
        )
        found = after.rating[i], after.deviation[i], after.volatility[i]
        assert found == pytest.approx(wanted, rel=1e-6)
    assert (after.deviation[-2:] > before.deviation[-2:]).all()


def test_order_within_a_period_is_nothing_and_between_periods_is() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.integers(0, 20, 200), rng.integers(20, 60, 200)
    score = rng.integers(0, 2, 200)
    before = play(Ratings.fresh(60), one, other, 1 - score)
    after = play(before, one, other, score)
    for _ in range(5):
        order = rng.permutation(200)
        again = play(before, one[order], other[order], score[order])
        for name in ("rating", "deviation", "volatility"):
            assert (getattr(again, name) == getattr(after, name)).all()
    halves = play(play(before, one[:100], other[:100], score[:100]), one[100:], other[100:], score[100:])
    assert np.abs(halves.rating - after.rating).max() > 1


def test_who_is_still_does_not_drift() -> None:
    still = np.array([False, True, True])
    after = play(Ratings.fresh(3), [0, 0], [1, 1], [1, 1], still=still)
    assert after.volatility[1] == 0.06  # kept for when it moves, but without effect
    assert after.rating[1] < 1500 < after.rating[0]
    assert after.deviation[2] == 350.0
    moving = play(Ratings.fresh(3), [0, 0], [1, 1], [1, 1])
    assert moving.deviation[1] > after.deviation[1]


def test_a_period_without_matches_makes_less_certain() -> None:
    after = play(Ratings.fresh(2, deviation=50.0), [], [], [])
    assert (after.rating == 1500).all()
    assert after.deviation == pytest.approx(np.full(2, sqrt(50**2 + (0.06 * 173.7178) ** 2)))
