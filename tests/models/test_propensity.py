"""Cross-fitted propensities against a known ratio of densities; memorising who came from where must not help."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.models.propensity import cross_fitted, separation


@pytest.mark.parametrize("kind", ["logistic", "trees"])
def test_log_odds_of_two_bells(kind: str) -> None:
    """Bells of widths 1 and 1.5: the log-odds are a square, which the features' squares must catch."""
    rng = np.random.Generator(np.random.PCG64(0))
    first = rng.random(8000) < 0.5
    x = np.where(first, rng.normal(0.5, 1, 8000), rng.normal(0, 1.5, 8000))
    e = cross_fitted(x[:, None], first, rng.integers(0, 5, 8000), kind=kind)  # type: ignore[arg-type]
    truth = np.log(1.5) - (x - 0.5) ** 2 / 2 + x**2 / (2 * 1.5**2)
    assert np.abs(e - 1 / (1 + np.exp(-truth))).mean() < 0.04
    assert np.average(e[first] / first.mean()) > 1


def test_noise_that_could_be_memorised_says_nothing() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    first, x = rng.random(600) < 0.5, rng.normal(size=(600, 20))
    e = cross_fitted(x, first, rng.integers(0, 5, 600), kind="trees")
    assert abs(separation(e, first) - 0.5) < 0.08
    assert separation(first.astype(float), first) == 1.0


def test_weights_move_the_share() -> None:
    first = np.repeat([True, False], 500)
    fold = np.arange(1000) % 5
    e = cross_fitted(np.zeros((1000, 1)), first, fold, np.where(first, 3.0, 1.0))
    assert e == pytest.approx(np.full(1000, 0.75), abs=0.01)
