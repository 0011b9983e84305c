"""One round of item response theory over all items: each item's posterior, and what it says about the models."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["MOMENTS", "items"]

Floats = npt.NDArray[np.float64]
Answers = npt.NDArray[np.int8]

MOMENTS = 6
"""Per item: mean and variance of difficulty and of log discrimination, log-likelihood without them, answers."""
HALF_LOG_TAU = 0.9189385332046727
TRIES = 40


@njit(cache=True, nogil=True)
def _log_posterior(row: Answers, theta: Floats, b: float, la: float, prior: Floats, two: bool, p: Floats) -> float:
    """Log-likelihood of an item's answers plus log prior; fills `p` with the chance that each model is right."""
    a = np.exp(la)
    total, product, since = 0.0, 1.0, 0
    for m in range(theta.size):
        if row[m] < 0:
            continue
        x = a * (theta[m] - b)
        e = np.exp(-abs(x))
        p[m] = 1.0 / (1.0 + e) if x > 0 else e / (1.0 + e)
        # log(1 + e^x) is max(x, 0) + log(1 + e); factors of at most 2 are multiplied first, as logarithms are dear
        product *= 1.0 + e
        since += 1
        if since == 500:
            total -= np.log(product)
            product, since = 1.0, 0
        if (row[m] == 1) == (x < 0):
            total -= abs(x)
    total -= np.log(product)
    z = (b - prior[0]) / prior[1]
    total -= 0.5 * z * z + np.log(prior[1]) + HALF_LOG_TAU
    if two:
        z = (la - prior[2]) / prior[3]
        total -= 0.5 * z * z + np.log(prior[3]) + HALF_LOG_TAU
    return float(total)


@njit(cache=True, nogil=True)
def items(
    rows: Answers,
    counts: Floats,
    theta: Floats,
    prior: Floats,
    two: bool,
    nodes: Floats,
    weights: Floats,
    modes: Floats,
    moments: Floats,
    scores: Floats,
) -> None:
    """Fill `moments`, and add up the gradients for the models.

    An item's mode is found by Fisher scoring from where `modes` has it, and its posterior integrated by adaptive
    Gauss-Hermite quadrature around the mode (Naylor and Smith 1982; Liu and Pierce 1994).

    Args:
        rows: (items, models): 1 right, 0 wrong, below 0 not asked.
        counts: how many items answered like this there are.
        prior: mean and standard deviation of difficulty, mean and standard deviation of log discrimination.
        two: whether log discrimination is the item's own; otherwise it is the prior's mean for all.
        nodes: Gauss-Hermite nodes for exp(-x^2 / 2).
        weights: their weights, summing to 1.
        modes: (items, 2) difficulty and log discrimination; start and result.
        moments: (items, `MOMENTS`), filled.
        scores: (2, models + 1), filled: expected gradient and information of each ability, and in the last place of
            the common log discrimination.
    """
    models = theta.size
    p, q = np.zeros(models), np.zeros(models)
    side = nodes.size
    inner = side if two else 1
    logs, at_b, at_la = np.zeros(side * inner), np.zeros(side * inner), np.zeros(side * inner)
    gradient, information = np.zeros((side * inner, models)), np.zeros((side * inner, models))
    scores[:] = 0.0
    for i in range(rows.shape[0]):
        row = rows[i]
        b, la = modes[i, 0], modes[i, 1] if two else prior[2]
        asked = 0
        for m in range(models):
            asked += row[m] >= 0
        here = _log_posterior(row, theta, b, la, prior, two, p)
        ibb = iba = iaa = 0.0
        for attempt in range(TRIES):
            a = np.exp(la)
            gb, ga = -(b - prior[0]) / prior[1] ** 2, 0.0
            ibb, iba, iaa = 1.0 / prior[1] ** 2, 0.0, 1.0
            if two:
                ga, iaa = -(la - prior[2]) / prior[3] ** 2, 1.0 / prior[3] ** 2
            for m in range(models):
                if row[m] >= 0:
                    x, r, w = a * (theta[m] - b), row[m] - p[m], p[m] * (1.0 - p[m])
                    gb -= a * r
                    ibb += a * a * w
                    if two:
                        ga += x * r
                        iba -= a * x * w
                        iaa += x * x * w
            det = ibb * iaa - iba * iba
            db, da = (iaa * gb - iba * ga) / det, (ibb * ga - iba * gb) / det
            if gb * db + ga * da < 1e-10 or attempt == TRIES - 1:
                break
            step = 1.0
            while True:
                there = _log_posterior(row, theta, b + step * db, la + step * da, prior, two, q)
                if there >= here or step < 1e-6:
                    break
                step *= 0.5
            if there < here:
                break
            b, la, here = b + step * db, la + step * da, there
            p, q = q, p
        modes[i, 0], modes[i, 1] = b, la
        # columns of the Cholesky factor of the inverse information: x = mode + L z
        l11 = np.sqrt(iaa / (ibb * iaa - iba * iba))
        l21 = -iba / np.sqrt(iaa * (ibb * iaa - iba * iba))
        l22 = np.sqrt(1.0 / iaa)
        top = -np.inf
        for j in range(side):
            for k in range(inner):
                n, z2 = j * inner + k, 0.5 * nodes[j] ** 2
                at_b[n], at_la[n] = b + l11 * nodes[j], la
                logs[n] = np.log(weights[j] * l11) + HALF_LOG_TAU
                if two:
                    at_la[n] += l21 * nodes[j] + l22 * nodes[k]
                    z2 += 0.5 * nodes[k] ** 2
                    logs[n] += np.log(weights[k] * l22) + HALF_LOG_TAU
                logs[n] += z2 + _log_posterior(row, theta, at_b[n], at_la[n], prior, two, q)
                top = max(top, logs[n])
                a = np.exp(at_la[n])
                for m in range(models):
                    if row[m] >= 0:
                        gradient[n, m] = a * (row[m] - q[m])
                        information[n, m] = a * a * q[m] * (1.0 - q[m])
        whole = 0.0
        for n in range(logs.size):
            logs[n] = np.exp(logs[n] - top)
            whole += logs[n]
        mean_b = mean_la = square_b = square_la = 0.0
        for n in range(logs.size):
            share = logs[n] / whole
            mean_b += share * at_b[n]
            mean_la += share * at_la[n]
            square_b += share * (at_b[n] - b) ** 2
            square_la += share * (at_la[n] - la) ** 2
            f = share * counts[i]
            a = np.exp(at_la[n])
            for m in range(models):
                if row[m] >= 0:
                    scores[0, m] += f * gradient[n, m]
                    scores[1, m] += f * information[n, m]
                    if not two:
                        scores[0, models] += f * gradient[n, m] * (theta[m] - at_b[n])
                        scores[1, models] += f * information[n, m] * (theta[m] - at_b[n]) ** 2
        moments[i, 0], moments[i, 1] = mean_b, square_b - (mean_b - b) ** 2
        moments[i, 2], moments[i, 3] = mean_la, square_la - (mean_la - la) ** 2
        moments[i, 4], moments[i, 5] = top + np.log(whole), asked
