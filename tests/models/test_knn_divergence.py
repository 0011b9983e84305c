"""The estimate against the divergence of two normals, its gradient against differences, and its updates."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.models.knn_divergence import Divergence


def test_estimates_a_known_divergence() -> None:
    """KL of two unit normals is half the squared distance of their means."""
    found = []
    for seed in range(5):
        rng = np.random.default_rng(seed)
        target, other = rng.standard_normal((1500, 2)), rng.normal((1.0, 0.5), 1, (1500, 2))
        found.append(Divergence.of(target, other, 5).value)
    assert np.mean(found) == pytest.approx((1 + 0.25) / 2, abs=0.08)
    same = Divergence.of(rng.standard_normal((1500, 2)), rng.standard_normal((1500, 2)), 5).value
    assert same == pytest.approx(0, abs=0.1)


@pytest.mark.parametrize("smooth", [0.0, 1.0])
def test_gradient_and_updates(smooth: float) -> None:
    rng = np.random.default_rng(1)
    target, start = rng.standard_normal((60, 3)), rng.standard_normal((20, 3)) + 1
    now = Divergence.of(target, start, 4, smooth)
    point = np.array([0.1, -0.3, 0.2])
    worth, gradient = now.gain(point)
    steps = 1e-6 * np.eye(3)
    slopes = [(now.gain(point + s)[0] - now.gain(point - s)[0]) / 2e-6 for s in steps]
    assert slopes == pytest.approx(gradient, rel=1e-3)
    assert now.gain(now.best(point, 50, 0.02))[0] > worth
    before = now.value
    now.add(point)
    if not smooth:
        assert now.value == pytest.approx(before - worth + np.log(21 / 20), rel=1e-6)
    afresh = Divergence.of(target, np.concatenate([start, point[None]]), 4)
    assert now.value == pytest.approx(afresh.value)
    assert now.gain(point)[0] < worth  # what is there already adds less
