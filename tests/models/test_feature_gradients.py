"""feature_gradients: z by brute force, its gradient by differences, and what it can and cannot see."""

from __future__ import annotations

from itertools import combinations, pairwise
from math import comb

import numpy as np
import pytest

from tilth.models.feature_gradients import ORDERS, choose, explained, gradient, ridge, standardised, with_products


@pytest.mark.parametrize("order", [1, 2, 3, 4])
def test_z_is_the_mean_over_chains_of_different_rows(order: int) -> None:
    rng = np.random.default_rng(order)
    x, y, s = rng.normal(size=(9, 3)), rng.normal(size=9), rng.random(3)
    kernel = x @ np.diag(s) @ x.T
    wanted = 0.0
    for i, a in enumerate(ORDERS[order], 1):
        chains = combinations(range(9), i + 1)
        total = sum(y[c[0]] * y[c[-1]] * np.prod([kernel[p, q] for p, q in pairwise(c)]) for c in chains)
        wanted += a * total / comb(9, i + 1)
    z, slope = gradient(x, y, s, order)
    assert z == pytest.approx(wanted, rel=1e-9)
    for j in range(3):
        step = np.eye(3)[j] * 1e-6
        change = (gradient(x, y, s + step, order)[0] - gradient(x, y, s - step, order)[0]) / 2e-6
        assert slope[j] == pytest.approx(change, rel=1e-4, abs=1e-7)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_explained_variance_of_uncorrelated_columns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2000, 20))
    for noise, truth in ((0.0, 1.0), (1.0, 2 / 3), (2.0, 1 / 3)):
        y = x[:, 3] + x[:, 7] + noise * rng.normal(size=2000)
        assert explained(x, y) == pytest.approx(truth, abs=0.1)
    assert abs(explained(x, rng.normal(size=2000))) < 0.03, "random outcomes explain nothing"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_a_suppressor_among_sixty_columns(seed: int) -> None:
    """Column 1 alone says nothing of y, yet with column 0 it says all: univariate scores miss it."""
    rng = np.random.default_rng(seed)
    n, d = 1500, 60
    x = rng.normal(size=(n, d))
    own, hidden = rng.normal(size=(2, n))
    x[:, 0], x[:, 1] = own + 0.7 * hidden, hidden
    y = own + 0.6 * x[:, 2] - 0.6 * x[:, 3] + 0.3 * rng.normal(size=n)  # x0 - 0.7 x1 is what explains
    alone = np.abs(np.corrcoef(x.T, y)[-1, :-1])
    assert alone[1] < np.sort(alone)[-10], "a univariate score does not see it"
    s = choose(x, y, rng)
    assert set(np.argsort(-s)[:4].tolist()) == {0, 1, 2, 3}
    assert s[:4].min() > 0.3
    assert s[4:].max() < 0.05


def test_an_exclusive_or_needs_its_product() -> None:
    rng = np.random.default_rng(0)
    x = rng.choice([-1.0, 1.0], (2000, 8))
    y = x[:, 2] * x[:, 5]
    assert abs(explained(x, y)) < 0.05
    wide = with_products(x)
    s = choose(wide, y, rng)
    place = [*combinations(range(8), 2)].index((2, 5)) + 8
    assert wide[:, place] == pytest.approx(y)
    assert s[place] > 0.3
    assert np.delete(s, place).max() < 0.05


def test_copies_weigh_the_same_and_correlation_breaks_the_scale() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 5))
    y = x[:, 0] + 0.5 * rng.normal(size=2000)
    twice = np.concatenate([x, x[:, :1]], 1)
    s = choose(twice, y, np.random.default_rng(1))
    assert s[0] == pytest.approx(s[5], abs=1e-6)
    assert s[0] > 0.1 > s[1:5].max()
    assert explained(np.repeat(x[:, :1], 3, 1) + 0.05 * rng.normal(size=(2000, 3)), x[:, 0]) > 1.05


def test_standardising_and_slopes() -> None:
    x, mean, spread = standardised([[1.0, 5.0, np.nan], [3.0, 5.0, np.nan], [np.nan, 5.0, np.nan]])
    assert x[:, 0] == pytest.approx([-1, 1, 0])
    assert not x[:, 1:].any()
    assert mean[:2].tolist() == [2, 5]
    assert spread.tolist() == [1, 1, 1]
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 3))
    y = 2 * z[:, 0] - z[:, 1]
    assert ridge(z, y, np.ones(3), 1e-9) == pytest.approx([2, -1, 0], abs=1e-6)
    assert ridge(z, y, np.array([1.0, 0.0, 0.0]))[1:].tolist() == [0, 0]
    with pytest.raises(ValueError, match="more than 4 rows"):
        gradient(z[:4], y[:4], np.ones(3))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_with_more_columns_than_rows_only_the_first_order_finds_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(500, 600))
    y = x[:, :5] @ rng.choice([-1.0, 1.0], 5) + 0.5 * rng.normal(size=500)
    found = [(np.argsort(-choose(x, y, rng, order=order, steps=40))[:5] < 5).mean() for order in (1, 4)]
    assert found[0] >= 0.9
    assert found[1] <= 0.5, "the trap"
