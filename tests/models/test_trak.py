"""TRAK's arithmetic: log-odds and their gradient against finite differences, the score against retraining."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run
from tilth.models.trak import attribute, log_odds, odds_gradient


def test_log_odds_and_their_gradient() -> None:
    rng = Run().rng("z")
    z, y = rng.normal(size=(6, 4)), rng.integers(0, 4, 6)
    p = np.exp(z) / np.exp(z).sum(1, keepdims=True)
    own = p[np.arange(6), y]
    assert log_odds(z, y) == pytest.approx(np.log(own / (1 - own)))
    found = odds_gradient(z, y)
    for c in range(4):
        step = np.eye(4)[c] * 1e-5
        slope = (log_odds(z + step, y) - log_odds(z - step, y)) / 2e-5
        assert found[:, c] == pytest.approx(slope, abs=1e-6)
    assert found == pytest.approx(-(p - np.eye(4)[y]) / (1 - own)[:, None])
    sure = np.array([[800.0, 0.0, 0.0]])
    assert odds_gradient(sure, np.array([0])).tolist() == [[1.0, -0.5, -0.5]]


def test_factors_of_several_trainings_are_averaged_apart() -> None:
    rng = Run().rng("phi")
    models = [(rng.normal(size=(20, 5)), rng.random(20), rng.normal(size=(3, 5))) for _ in range(2)]
    found = attribute(models, ridge=0.5)
    moved = []
    for phi, _, theirs in models:
        ridge = 0.5 * (phi**2).sum(1).mean()
        moved.append(phi @ np.linalg.inv(phi.T @ phi + ridge * np.eye(5)) @ theirs.T)
    doubt = (models[0][1] + models[1][1]) / 2
    assert found == pytest.approx((moved[0] + moved[1]) / 2 * doubt[:, None])
    one = attribute(models[:1], ridge=0.5)
    twice = attribute([(np.repeat(p, 2, 0), np.repeat(d, 2), t) for p, d, t in models[:1]], ridge=0.5)
    assert (np.abs(twice[::2]) < np.abs(one)).all()  # of two copies each counts about half
