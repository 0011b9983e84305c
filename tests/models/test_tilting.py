"""Tilting against closed forms, a general solver, and the optimality conditions."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize

from tilth.models.tilting import scaled, tilt


def test_one_attribute_has_a_closed_form() -> None:
    has = np.repeat([1.0, 0.0], [15, 85])
    found = tilt(has[:, None], np.array([0.5]), np.ones(100))
    assert found.weights == pytest.approx(np.where(has == 1, 0.5 / 15, 0.5 / 85), abs=1e-9)
    assert found.beta[0] == pytest.approx(np.log(85 / 15), abs=1e-5)
    assert found.kl == pytest.approx(0.5 * np.log(0.5 / 0.15) + 0.5 * np.log(0.5 / 0.85), abs=1e-8)
    assert found.effective == pytest.approx(1 / (0.25 / 0.15 + 0.25 / 0.85), abs=1e-8)


def test_two_correlated_attributes_agree_with_proportional_fitting() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    a = rng.random(4000) < 0.15
    b = rng.random(4000) < np.where(a, 0.8, 0.3)
    w = np.full(4000, 1 / 4000)
    for _ in range(200):  # iterative proportional fitting: scale to one margin, then the other
        for has in (a, b):
            w = np.where(has, w * 0.5 / w[has].sum(), w * 0.5 / w[~has].sum())
    found = tilt(np.column_stack([a, b]).astype(float), np.array([0.5, 0.5]), np.ones(4000))
    assert found.reached
    assert found.weights == pytest.approx(w, abs=1e-9)


def test_bounded_weights_are_optimal() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    x, q, most = rng.normal(size=(30, 2)), np.full(30, 1 / 30), np.full(30, 0.06)
    aim = np.array([0.45, -0.3])
    found = tilt(x, aim, q, most)
    assert found.reached
    assert found.weights @ x == pytest.approx(aim, abs=1e-6)
    assert (found.weights <= most + 1e-12).all()
    assert (found.weights > most - 1e-9).sum() >= 3, "the bound binds"
    best = minimize(
        lambda w: float((w * np.log(np.maximum(w, 1e-12) / q)).sum()),
        q,
        bounds=[(1e-9, 0.06)] * 30,
        constraints=[
            {"type": "eq", "fun": lambda w: w.sum() - 1},
            {"type": "eq", "fun": lambda w: w @ x - aim},
        ],
        method="SLSQP",
        options={"maxiter": 500, "ftol": 1e-12},
    )
    assert found.kl == pytest.approx(best.fun, abs=1e-6)
    assert found.weights == pytest.approx(best.x, abs=1e-4)


def test_what_cannot_be_had_is_said_and_slack_compromises() -> None:
    rng = np.random.Generator(np.random.PCG64(2))
    x = rng.uniform(0, 1, (500, 1))
    assert not tilt(x, np.array([1.5]), np.ones(500)).reached
    soft = tilt(x, np.array([1.5]), np.ones(500), slack=0.5)
    assert 0.6 < float(soft.weights @ x[:, 0]) < 1.0
    assert np.isfinite(soft.kl)


def test_copies_of_a_column_do_no_harm() -> None:
    rng = np.random.Generator(np.random.PCG64(3))
    x = rng.normal(size=(400, 1))
    one = tilt(x, np.array([0.5]), np.ones(400))
    two = tilt(np.column_stack([x, 2 * x]), np.array([0.5, 1.0]), np.ones(400))
    assert two.reached
    assert two.weights == pytest.approx(one.weights, abs=1e-8)


def test_scaling_hands_on_what_is_cut() -> None:
    assert scaled(np.array([8.0, 1.0, 1.0]), np.array([0.5, 1.0, 0.3])).tolist() == pytest.approx([0.5, 0.25, 0.25])
    assert scaled(np.array([8.0, 1.0, 1.0]), np.array([0.5, 0.4, 0.2])).tolist() == pytest.approx([0.5, 0.3, 0.2])
