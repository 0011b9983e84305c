"""Bits of inductive bias: how much must be known beforehand to generalise from a labelled set?

Two answers. `closed_form_bits` is a formula in the set's size, intrinsic dimension, radius, margin and classes: bits to
pick, among all smooth functions on a sphere of that dimension, one that generalises, less what the samples give
(arXiv 2305.01034). `exact_bits` asks it of one space of hypotheses, linear functions of given features with Gaussian
weights: -log2 of the probability that one that fits the training part errs at most so much on the test part
(arXiv 2406.15941 states the question; there the tail is extrapolated from samples, here it is integrated).

Only differences within one set of features mean something. Cost: milliseconds for a thousand rows of a few hundred
features. Trap: copies have no distance and make dimension and margin zero; take them out first.

>>> f"{closed_form_bits(60_000, 14, 17.179045827, 10, 2.398708482, 0.001):.3e}"  # MNIST as the paper describes it
'1.485e+16'
>>> round(log_probability(1.0, np.array([1.0]), np.array([0.0])), 4)  # ln P(z^2 <= 1)
-0.3817
"""

from __future__ import annotations

from math import exp, inf, lgamma, log, log2, pi, sqrt
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["closed_form_bits", "exact_bits", "intrinsic_dimension", "log_probability", "margin"]

Floats = npt.NDArray[np.float64]
BLOCK = 512
"""Rows whose distances are held at once."""


def closed_form_bits(samples: int, dimension: float, radius: float, classes: int, gap: float, error: float) -> float:
    """The closed form; negative when the samples determine more than there is to choose.

    Args:
        dimension: intrinsic dimension of the inputs.
        radius: length of the longest input.
        gap: smallest distance of two inputs of different classes.
        error: the share of errors wanted.
    """
    m, outputs = dimension, classes - 1
    waves = 2 * pi * radius / gap
    degree = (sqrt((m - 1) ** 2 + 4 * waves**2) - (m - 1)) / 2  # of the highest harmonics that the gap asks for
    harmonics = exp(_log_choose(m + degree, m)) + exp(_log_choose(m + degree - 1, m))
    spread = 0.5 * log(m / 6) + log(radius) - log(samples) / m
    spread += (log(2) + (m + 1) / 2 * log(pi) + log(classes) - lgamma((m + 1) / 2)) / m
    slope = degree * sqrt(outputs) / radius
    free = 2 * outputs * classes * harmonics - samples * outputs
    return free * (0.5 * log2(outputs) + 0.5 * log2(classes) - log2(error) + log2(slope) + spread / log(2))


def _log_choose(n: float, k: float) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)


def intrinsic_dimension(rows: Floats, neighbours: int = 5) -> float:
    """Of a set of points, by maximum likelihood from the distances to their nearest neighbours (NaN for too few).

    1 / mean of ln T_k - ln T_j over points and j < k, with T_j the distance to the j-th neighbour.
    """
    if len(rows) <= neighbours:
        return float("nan")
    logs = []
    for start in range(0, len(rows), BLOCK):
        squares = _squares(rows[start : start + BLOCK], rows)
        squares[np.arange(len(squares)), np.arange(start, start + len(squares))] = inf
        near = np.sort(np.partition(squares, neighbours - 1, axis=1)[:, :neighbours], axis=1)
        logs.append(0.5 * np.log(near[:, -1:] / near[:, :-1]))
    mean = float(np.concatenate(logs).mean())
    return 1 / mean if mean > 0 else float("nan")


def margin(rows: Floats, labels: npt.NDArray[np.int64]) -> float:
    """The smallest distance of two points of different classes; infinite where there is one class."""
    best = inf
    for start in range(0, len(rows), BLOCK):
        squares = _squares(rows[start : start + BLOCK], rows)
        squares[labels[start : start + BLOCK, None] == labels] = inf
        best = min(best, float(squares.min(initial=inf)))
    return sqrt(best)


def _squares(some: Floats, rows: Floats) -> Floats:
    squares = (some**2).sum(1)[:, None] + (rows**2).sum(1) - 2 * some @ rows.T
    return np.asarray(np.maximum(squares, 0.0))


def exact_bits(
    train: Floats, train_y: Floats, test: Floats, test_y: Floats, error: float, scale: float = 1.0
) -> tuple[float, float]:
    """Bits that linear functions lack, and the smallest error that any of those that fit can have.

    The weights are Gaussian given that they fit the training part, exactly or, where that is impossible, by least
    squares: the shortest solution plus noise in the directions that no training row has. The error is the mean over the
    test rows of the squared distance of outputs, a quadratic form in that noise. Infinite bits: none can.

    Args:
        train_y: (rows, outputs), like `test_y`.
        error: mean squared error wanted.
        scale: standard deviation of a weight.
    """
    left, values, right = np.linalg.svd(train, full_matrices=False)
    kept = values > 1e-9 * values.max(initial=0.0)
    basis = right[kept]
    weights = basis.T @ ((left[:, kept].T @ train_y) / values[kept, None])
    off = test @ weights - test_y
    turns, sizes, _ = np.linalg.svd(scale * (test - test @ basis.T @ basis), full_matrices=False)
    free = sizes > 1e-9 * max(1.0, float(sizes.max(initial=0.0)))
    along = turns[:, free].T @ off
    floor = max(0.0, float((off**2).sum() - (along**2).sum()) / len(test))
    if not free.any():
        return (0.0 if floor <= error else inf), floor
    spread = np.repeat(sizes[free] ** 2 / len(test), off.shape[1])
    return -log_probability(error - floor, spread, (along / sizes[free, None]).ravel()) / log(2), floor


def log_probability(limit: float, weights: Floats, shifts: Floats) -> float:
    """ln P(sum_i w_i (z_i + c_i)^2 <= limit) for independent standard normal z, far below what a float can hold.

    The Laplace transform of the distribution is inverted along a parabola through the saddle point of the integrand,
    where it does not oscillate: what is exponentially small stands before the integral, and the trapezoidal rule gives
    the rest to some ten digits. Sources: Imhof 1961 for the form; Rice 1980 for saddle point contours.
    """
    from scipy.optimize import brentq

    if limit <= 0:
        return -inf
    w, c = np.asarray(weights, float)[:, None], np.asarray(shifts, float)[:, None] ** 2
    deviation = sqrt(float((2 * w**2 * (1 + 2 * c)).sum()))
    if limit > float((w * (1 + c)).sum()) + 60 * deviation:
        return 0.0  # a tail of exp(-42) or less

    def slope(log_p: float) -> float:
        grown = 1 + 2 * w * exp(log_p)
        return limit - float((w / grown + c * w / grown**2).sum()) - exp(-log_p)

    low = high = -log(limit) - 1e-9  # the slope is negative here, since 1/p alone exceeds the limit
    while slope(high) < 0:
        high += 1.0
    p = exp(brentq(slope, low, high, xtol=1e-13))
    grown = 1 + 2 * w * p
    bend = float((2 * w**2 / grown**2 + 4 * c * w**2 / grown**3).sum()) + p**-2

    def exponent(at: npt.NDArray[np.complexfloating[Any]]) -> npt.NDArray[np.complexfloating[Any]]:
        grown = 1 + 2 * w * at
        return np.asarray(at * limit - np.log(at) - (0.5 * np.log(grown) + c * w * at / grown).sum(0))

    step, width = 0.1, 1 / sqrt(bend)
    end = int(max(60, 12 / (deviation * width)) / step)  # beyond the mean the saddle is narrower than what it bears
    u = np.arange(-end, end + 1) * step
    # Bent to the left the path ends where e^(p limit) is nothing; bent further, the factors would grow along it.
    pull = w / grown + c * w / grown**2
    bow = width**2 * min(1 / (4 * p), float((pull * w / grown).sum() / pull.sum()))
    path = p + 1j * width * u - bow * u**2
    peak = float(exponent(np.array([p], complex))[0].real)
    total = float((np.exp(exponent(path) - peak) * (width + 2j * bow * u)).real.sum()) * step / (2 * pi)
    if not 0 < total < inf:
        raise ArithmeticError(f"the integral for limit {limit} and {w.size} weights came out as {total}")
    return peak + log(total)
