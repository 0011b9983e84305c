"""The paper's setting: curves 97 - a x^-b over 160 levels, of which the first 56 are seen."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.engine.evidence.learning_curve import PowerLaw, better, fit, settle

LEVELS = np.arange(1, 161) * 5000.0
SEEN, FULL = 56, LEVELS[-1]


def truth(b: float, start: float = 82.0, top: float = 97.0) -> np.ndarray:
    return np.asarray(top - (top - start) * (LEVELS / LEVELS[0]) ** -b)


def test_an_exact_curve_is_recovered() -> None:
    x = np.geomspace(10, 1e5, 9)
    for c, d, b in [(97.0, -40.0, 0.35), (50.0, -10.0, 1.2)]:
        found = fit(x, c + d * x**-b)
        assert (found.c, found.b) == pytest.approx((c, b), rel=1e-3)
        assert float(found(1e7)) == pytest.approx(c + d * 1e7**-b, rel=1e-4)
    falling = fit(x, 1.8 + 12 * x**-0.4, falling=True)
    assert float(falling(1e7)) == pytest.approx(1.8 + 12 * 1e7**-0.4, rel=1e-4)


@pytest.mark.parametrize("b", [0.3, 0.4, 0.5])
def test_the_full_size_is_predicted_within_a_fifth_of_a_point(b: float) -> None:
    rng = np.random.default_rng(int(b * 10))
    errors, asymptotes, covered = [], [], 0
    for _ in range(200):
        curve = fit(LEVELS[:SEEN], truth(b)[:SEEN] + rng.normal(0, 0.2, SEEN), limit=100)
        told = curve.predict(FULL)
        errors.append(abs(told.value - truth(b)[-1]))
        asymptotes.append(abs(curve.c - 97))
        covered += told.low <= truth(b)[-1] <= told.high
    assert np.quantile(errors, 0.9) <= 0.2
    assert np.quantile(asymptotes, 0.9) <= 1.2
    assert covered >= 183  # 190 expected


def test_stopping_is_seldom_premature_and_saves_levels() -> None:
    rng = np.random.default_rng(1)
    premature, stopped = 0, []
    for run in range(60):
        b, tolerance = (0.3, 0.4, 0.5)[run % 3], (0.3, 0.5)[run % 2]
        scores = truth(b) + rng.normal(0, 0.2, LEVELS.size)
        found = settle(LEVELS[:120:2], scores[:120:2], FULL, tolerance, limit=100)
        assert found is not None
        premature += abs(found.forecast.value - truth(b)[-1]) > tolerance
        stopped.append(LEVELS[:120:2][found.level - 1])
    assert premature <= 3  # 5 %
    assert np.median(stopped) < 0.5 * FULL
    assert settle(LEVELS[:8], scores[:8], FULL, tolerance=0.01) is None


def test_of_two_systems_that_cross_the_one_that_ends_ahead_is_chosen() -> None:
    rng = np.random.default_rng(2)
    early, late = truth(0.5, 84.0, 95.5), truth(0.45, 78.0, 97.0)
    assert early[5] > late[5]
    assert late[-1] > early[-1] + 0.3
    right = sure = wrong_but_sure = 0
    for _ in range(100):
        curves = {
            name: fit(LEVELS[:SEEN], curve[:SEEN] + rng.normal(0, 0.2, SEEN), limit=100)
            for name, curve in {"early": early, "late": late}.items()
        }
        name, certain = better(curves, FULL)
        right += name == "late"
        sure += certain
        wrong_but_sure += certain and name != "late"
    assert right >= 90
    assert sure >= 50
    assert wrong_but_sure <= 2


def test_limits_directions_and_too_little() -> None:
    x = np.arange(1.0, 9.0)
    over = fit(x, 99 + 0.5 * np.log(x), limit=100)
    assert over.c <= 100
    flat = fit(x, 5 - 0.1 * x)  # a rising curve cannot fit falling scores better than a constant
    assert flat.d == 0
    assert float(flat(1e6)) == pytest.approx(4.55)
    assert isinstance(flat, PowerLaw)
    with pytest.raises(ValueError, match="4 or more"):
        fit([1, 2, 3], [1, 2, 3])
