from __future__ import annotations

import numpy as np
import pytest

from tilth.engine.evidence.signal import by_goal, signal_to_noise


def losses(rng: np.random.Generator, spread: float, noise: float, seeds: int = 5) -> dict[str, np.ndarray]:
    """12 candidates with true means `spread` apart on average; seeds shift all of them alike by far more."""
    shared, items = rng.normal(0, 0.5, (seeds, 1)), rng.normal(0, 1, (1, 8))
    worth = rng.normal(2, spread, 12)
    return {f"c{i}": w + shared + items + rng.normal(0, noise, (seeds, 1)) for i, w in enumerate(worth)}


def test_noise_is_what_pairing_leaves_and_reliability_is_the_share_that_is_real() -> None:
    rng = np.random.default_rng(0)
    found = [signal_to_noise(losses(rng, 0.1, 0.2)) for _ in range(300)]
    assert np.mean([f.noise**2 for f in found]) == pytest.approx(0.2**2, rel=0.05)  # not the 0.5 of the shared shifts
    real = 0.1**2 / (0.1**2 + 0.2**2 / 5)
    assert np.median([f.reliability for f in found]) == pytest.approx(real, abs=0.06)
    assert np.mean([signal_to_noise(losses(rng, 0.0, 0.2)).reliability for _ in range(100)]) < 0.25
    assert signal_to_noise(losses(rng, 0.1, 0.001)).reliability > 0.999


def test_by_hand() -> None:
    made = signal_to_noise({"a": np.array([[1.0], [2.0]]), "b": np.array([[2.0], [5.0]])})
    # Means 1.5 and 3.5; the rest is 0.5 everywhere, its square 1 on one degree of freedom.
    assert (made.spread, made.noise, made.ratio) == (2.0, 1.0, 2.0)
    assert made.reliability == pytest.approx(1 - 1 / 4)
    still = signal_to_noise({"a": np.ones((2, 1)), "b": np.ones((2, 1))})
    assert (still.ratio, still.reliability) == (0.0, 0.0)
    with pytest.raises(ValueError, match="at least 2 candidates"):
        signal_to_noise({"a": np.ones((2, 1))})


def test_each_goal_has_its_own() -> None:
    rng = np.random.default_rng(1)
    clear, blurred = losses(rng, 0.3, 0.01), losses(rng, 0.0, 0.3)
    both = {n: np.hstack([clear[n], blurred[n]]) for n in clear}
    first = np.arange(16) < 8
    found = by_goal(both, np.ones(16), {"clear": first, "blurred": ~first})
    assert found["clear"].reliability > 0.99
    assert found["blurred"].reliability < 0.8
    assert found["clear"].ratio > found["all"].ratio > found["blurred"].ratio
    assert set(by_goal(both, np.ones(16), {"only": np.ones(16, bool)})) == {"all"}
