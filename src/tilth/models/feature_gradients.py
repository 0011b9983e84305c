"""Feature gradients: which columns explain an outcome together? Gradient descent on a relaxed choice of columns.

With X the standardised columns (N, D), y the standardised outcome, s in [0, 1] how much of each column is used and G
the strict upper triangle of ``X diag(s) X'``, the share of y's variance that a linear function of these columns can
explain is estimated without fitting one:

    z(s) = sum over i = 1 .. m of  a_i / binomial(N, i + 1)  y' G^i y

Each term is a mean over chains of i + 1 different rows, so noise adds nothing in expectation: with random outcomes z is
0 (the diagonal of K would make it grow with D / N). ``a`` is a polynomial of order m that imitates the inverse of
the columns' covariance. No matrix of N by N is made: G v costs a cumulative sum over rows, and the gradient in s is a
product of sums from the left and from the right. Time is linear in N and D, memory too.

Trap: the polynomial fits columns that are nearly uncorrelated; on strongly correlated ones z exceeds 1 and only the
order of the columns means something. For a column on its own z is largest near s = 1/2, so columns that matter end near
a half or at 1 and the others near 0: look at the order, or cut well below a half. Higher orders see columns that help
only together (a suppressor), not products of columns: for an exclusive or, hand over the products (`with_products`).
Copies of a column get equal weights. With more columns than rows chance drowns all orders but the first. Source: Sheth
and Fusi 2019, arXiv 1908.10382, after learnability by Kong and Valiant 2018; coefficients as in the NNI port.

>>> rng = np.random.default_rng(0)
>>> x = rng.normal(size=(2000, 6))
>>> y = x[:, 0] - x[:, 1] + rng.normal(size=2000)
>>> s = choose(x, y, np.random.default_rng(0))
>>> bool(s[:2].min() > 0.3), bool(s[2:].max() < 0.05)
(True, True)
>>> 0.5 < explained(x, y) < 0.75  # two thirds of the variance
True
"""

from __future__ import annotations

from math import comb
from typing import Final

import numpy as np
import numpy.typing as npt

__all__ = ["ORDERS", "choose", "explained", "gradient", "ridge", "standardised", "with_products"]

Floats = npt.NDArray[np.float64]

ORDERS: Final = {
    1: (0.60355,),
    2: (1.52705, -0.34842),
    3: (2.90254, -1.87217, 0.0),
    4: (4.63446, -5.19936, 0.0, 1.50392),
}
"""Coefficients a_i by order."""


def standardised(columns: npt.ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Columns of mean 0 and variance 1, unknown values (NaN) at the mean, and the means and spreads they had.

    A column that is constant or all unknown becomes zeros, and its spread is 1.
    """
    x = np.asarray(columns, np.float64)
    known = np.isfinite(x)
    count = np.maximum(known.sum(0), 1)
    mean = np.where(known, x, 0).sum(0) / count
    spread = np.sqrt((np.where(known, x - mean, 0) ** 2).sum(0) / count)
    spread = np.where(spread > 1e-12 * np.maximum(np.abs(mean), 1), spread, 1.0)
    return np.where(known, (x - mean) / spread, 0), mean, spread


def with_products(x: Floats) -> Floats:
    """The columns, then the product of each pair of them, (0, 1), (0, 2) and so on."""
    i, j = np.triu_indices(x.shape[1], 1)
    return np.concatenate([x, x[:, i] * x[:, j]], 1)


def gradient(x: Floats, y: Floats, s: Floats, order: int = 4) -> tuple[float, Floats]:
    """z(s) and its gradient in s, (D,); columns and outcome standardised, rows in random order."""
    n = len(y)
    if n <= order:
        raise ValueError(f"an estimate of order {order} needs more than {order} rows, got {n}")
    left = [y]  # y' G^p, then y's G^q from the right
    right = [y]
    for _ in range(order - 1):
        left.append(_before(x * left[-1][:, None]) * x @ s)
        right.append(_after(x * right[-1][:, None]) * x @ s)
    sums = [_after(x * v[:, None]) for v in right]
    z, slope = 0.0, np.zeros_like(s)
    for i, a in enumerate(ORDERS[order], 1):
        scale = a / comb(n, i + 1)
        z += scale * float(left[i - 1] @ (sums[0] * x @ s))
        for p in range(i):
            slope += scale * ((x * left[p][:, None]) * sums[i - 1 - p]).sum(0)
    return z, slope


def _after(rows: Floats) -> Floats:
    """For each row the sum of all later ones."""
    return np.asarray(rows.sum(0) - np.cumsum(rows, 0))


def _before(rows: Floats) -> Floats:
    """For each row the sum of all earlier ones."""
    return np.asarray(np.cumsum(rows, 0) - rows)


def explained(x: npt.ArrayLike, y: npt.ArrayLike, order: int = 4) -> float:
    """The share of y's variance that a linear function of all columns explains; on few rows it may leave [0, 1]."""
    columns, outcome = standardised(x)[0], standardised(np.asarray(y)[:, None])[0][:, 0]
    return gradient(columns, outcome, np.ones(columns.shape[1]), order)[0]


def choose(
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    order: int = 4,
    penalty: float = 1.0,
    steps: int = 300,
    batch: int = 1000,
    rate: float = 0.1,
) -> Floats:
    """How much of each column to use, (D,) in [0, 1]: near a half or above where it matters, near 0 where not.

    Minimises ``(1 - w) (1 - z(s)) + w mean(s)`` with ``w = penalty / (penalty + 1)`` and ``s = sigmoid(2 u)`` by Adam,
    on `batch` random rows a step.
    """
    columns, outcome = standardised(x)[0], standardised(np.asarray(y)[:, None])[0][:, 0]
    n, d = columns.shape
    u, first, second = np.zeros(d), np.zeros(d), np.zeros(d)
    w = penalty / (penalty + 1)
    for step in range(1, steps + 1):
        rows = rng.permutation(n)[:batch]
        s = 1 / (1 + np.exp(-2 * u))
        slope = (w / d - (1 - w) * gradient(columns[rows], outcome[rows], s, order)[1]) * 2 * s * (1 - s)
        first, second = 0.9 * first + 0.1 * slope, 0.999 * second + 0.001 * slope**2
        u -= rate * (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
    return np.asarray(1 / (1 + np.exp(-2 * u)))


def ridge(x: Floats, y: Floats, s: Floats, strength: float = 1e-3) -> Floats:
    """Slopes (D,) of the least-squares function of the columns, each used as much as s says."""
    root = np.sqrt(s)
    used = x * root
    inner = used.T @ used / len(y) + strength * np.eye(s.size)
    return np.asarray(root * np.linalg.solve(inner, used.T @ y / len(y)))
