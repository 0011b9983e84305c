"""Loops of softmax regression on sparse rows: logits and their transpose, a pass of AdaGrad, the objective."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["epoch", "logits", "objective", "products"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def logits(indptr: Ints, indices: Places, values: Reals, place: Places, table: Reals, bias: Reals, out: Floats) -> None:
    """Fill `out` (n, classes); columns whose `place` is negative count nothing."""
    classes = bias.size
    for i in range(indptr.size - 1):
        for c in range(classes):
            out[i, c] = bias[c]
        for j in range(indptr[i], indptr[i + 1]):
            row = place[indices[j]]
            if row >= 0:
                for c in range(classes):
                    out[i, c] += values[j] * table[row, c]


@njit(cache=True, nogil=True)
def products(indptr: Ints, indices: Places, values: Reals, place: Places, errors: Floats, total: Reals) -> None:
    """Add every row's features times its errors (n, classes) to `total`; the transpose of `logits`."""
    classes = errors.shape[1]
    for i in range(indptr.size - 1):
        for j in range(indptr[i], indptr[i + 1]):
            row = place[indices[j]]
            for c in range(classes):
                total[row, c] += np.float32(values[j] * errors[i, c])


@njit(cache=True, nogil=True)
def _softmax(z: Floats) -> float:
    """In place; returns the logarithm of the normaliser."""
    top = z.max()
    total = 0.0
    for c in range(z.size):
        z[c] = np.exp(z[c] - top)
        total += z[c]
    for c in range(z.size):
        z[c] /= total
    return float(top + np.log(total))


@njit(cache=True, nogil=True)
def epoch(
    order: Ints,
    indptr: Ints,
    indices: Places,
    values: Reals,
    labels: Ints,
    scale: Floats,
    table: Reals,
    bias: Reals,
    squares: Floats,
    last: Ints,
    step: int,
    l2: float,
    rate: float,
) -> int:
    """One pass. A feature's decay is applied when it is next met, for all the steps since: exact, as its rate stood."""
    classes = bias.size
    z = np.empty(classes)
    for i in order:
        for c in range(classes):
            z[c] = bias[c]
        for j in range(indptr[i], indptr[i + 1]):
            f = indices[j]
            if l2 > 0 and last[f] < step and squares[f] > 0:
                shrink = np.float32(np.exp(-l2 * rate / np.sqrt(squares[f]) * (step - last[f])))
                for c in range(classes):
                    table[f, c] *= shrink
            last[f] = step
            for c in range(classes):
                z[c] += values[j] * table[f, c]
        _softmax(z)
        z[labels[i]] -= 1.0
        norm = 0.0
        for c in range(classes):
            z[c] *= scale[i]
            norm += z[c] * z[c]
        for j in range(indptr[i], indptr[i + 1]):
            f = indices[j]
            squares[f] += norm * values[j] * values[j]
            if squares[f] > 0:
                by = rate / np.sqrt(squares[f]) * values[j]
                for c in range(classes):
                    table[f, c] -= np.float32(by * z[c])
        squares[-1] += norm
        if squares[-1] > 0:
            by = rate / np.sqrt(squares[-1])
            for c in range(classes):
                bias[c] -= np.float32(by * z[c])
        step += 1
    if l2 > 0:
        for f in range(last.size):
            if squares[f] > 0 and last[f] < step:
                shrink = np.float32(np.exp(-l2 * rate / np.sqrt(squares[f]) * (step - last[f])))
                for c in range(classes):
                    table[f, c] *= shrink
            last[f] = step
    return step


@njit(cache=True, nogil=True)
def objective(
    indptr: Ints, indices: Places, values: Reals, labels: Ints, share: Floats, table: Floats, gradient: Floats
) -> float:
    """The weighted mean loss and its gradient; the last row of `table` is the bias."""
    classes = table.shape[1]
    z = np.empty(classes)
    loss = 0.0
    for i in range(indptr.size - 1):
        if share[i] == 0:
            continue
        for c in range(classes):
            z[c] = table[-1, c]
        for j in range(indptr[i], indptr[i + 1]):
            for c in range(classes):
                z[c] += values[j] * table[indices[j], c]
        gold = z[labels[i]]
        loss += share[i] * (_softmax(z) - gold)
        z[labels[i]] -= 1.0
        for c in range(classes):
            z[c] *= share[i]
            gradient[-1, c] += z[c]
        for j in range(indptr[i], indptr[i + 1]):
            for c in range(classes):
                gradient[indices[j], c] += values[j] * z[c]
    return loss
