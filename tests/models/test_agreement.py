"""Agreement of models: the extremes of every measure."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.models.agreement import excess, first_pass, majority, order_correlation, rank_correlation

RNG = np.random.default_rng(0)
SHARED = np.arange(6)[None, :, None] >= RNG.integers(0, 6, 300)[None, None] + np.zeros((10, 1, 1), int)
ALONE = RNG.random((10, 6, 300)) < 0.5


def test_models_of_one_mind_and_models_that_toss_coins() -> None:
    assert excess(SHARED[:, 2]) == pytest.approx(10)
    assert excess(ALONE[:, 2]) == pytest.approx(1, abs=0.3)
    assert order_correlation(SHARED) == pytest.approx(1)
    assert abs(order_correlation(ALONE)) < 0.05
    assert (majority(SHARED) == 1).all()
    assert majority(ALONE).mean() == pytest.approx(0.623, abs=0.01)  # of ten coins


def test_first_pass_is_the_one_after_the_last_mistake() -> None:
    right = np.array([[1, 1, 1], [0, 1, 1], [1, 0, 1], [1, 1, 0], [0, 0, 0]], bool).T[None]
    assert first_pass(right).tolist() == [[1, 2, 3, 4, 4]]
    assert first_pass(np.zeros((2, 3, 0), bool)).shape == (2, 0)


def test_a_constant_order_correlates_with_nothing() -> None:
    assert rank_correlation([1, 1, 1], [1, 2, 3]) == 0
    assert rank_correlation([1, 2, 4], [1, 2, 3]) == pytest.approx(1)
