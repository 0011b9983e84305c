"""Which sources a target is made of: heads on a shared representation, and a sparse combination of them.

Each source m has a task y = w_m . B x with B, (k, d), common to all. Fitted on sources, and the target's own head on
top of B, relevance is the sparse v with sum_m v_m w_m near the target's head (L1-A-MTRL, arXiv 2306.02556).

>>> heads = np.eye(3)[:, [0, 1, 2, 0]] + 0.01 * np.arange(4)  # the fourth is much like the first
>>> lasso(heads, heads[:, 1] + heads[:, 2], 0.05).round(1)
array([0. , 0.9, 1. , 0. ])
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["fit_heads", "lasso", "least_norm", "shared_basis"]

Floats = npt.NDArray[np.float64]
SWEEPS, ENOUGH = 1000, 1e-9
ALTERNATIONS = 10


def fit_heads(x: Floats, y: Floats, source: npt.NDArray[np.int64], number: int, ridge: float = 1.0) -> Floats:
    """(number, width, outputs): ridge regression of each source's y (n, outputs) on x (n, width); 0 without records."""
    heads = np.zeros((number, x.shape[1], y.shape[1]))
    for m in np.unique(source):
        mine = source == m
        gram = x[mine].T @ x[mine] + ridge * np.eye(x.shape[1])
        heads[m] = np.linalg.solve(gram, x[mine].T @ y[mine])
    return heads


def shared_basis(
    x: Floats, y: Floats, source: npt.NDArray[np.int64], number: int, rank: int, ridge: float = 1.0
) -> Floats:
    """(width, rank) orthonormal: the directions that all sources' tasks share.

    Started at the leading directions of the sources' own regressions, each weighted by its records, then refined by
    turns: heads given the basis, basis given the heads.
    """
    own = fit_heads(x, y, source, number, ridge)
    counts = np.bincount(source, minlength=number)
    stacked = (own * np.sqrt(counts)[:, None, None]).transpose(1, 0, 2).reshape(x.shape[1], -1)
    rank = min(rank, *stacked.shape)
    basis = np.linalg.svd(stacked, full_matrices=False)[0][:, :rank]
    present = np.unique(source)
    moments = {m: (x[source == m].T @ x[source == m], x[source == m].T @ y[source == m]) for m in present}
    width = x.shape[1]
    for _ in range(ALTERNATIONS):
        gram, right = ridge * np.eye(width * rank), np.zeros(width * rank)
        for m in present:
            xx, xy = moments[m]
            w = np.linalg.solve(basis.T @ xx @ basis + ridge * np.eye(rank), basis.T @ xy)  # (rank, outputs)
            gram += np.kron(xx, w @ w.T)
            right += (xy @ w.T).ravel()
        basis = np.linalg.qr(np.linalg.solve(gram, right).reshape(width, rank))[0]
    return np.asarray(basis)


def lasso(heads: Floats, target: Floats, penalty: float, positive: bool = False) -> Floats:
    """(sources,) the v with least |heads v - target|^2 / 2 + p |v|_1, by coordinate descent.

    Args:
        heads: (numbers, sources).
        target: (numbers,).
        penalty: p as a share of the least one at which all of v is 0.
        positive: no negative v.
    """
    gram, right = heads.T @ heads, heads.T @ target
    most = float(np.max(right if positive else np.abs(right), initial=0.0))
    v = np.zeros(heads.shape[1])
    if most <= 0:
        return v
    bar = penalty * most
    for _ in range(SWEEPS):
        moved = 0.0
        for m in np.flatnonzero(np.diag(gram) > 0):
            part = right[m] - gram[m] @ v + gram[m, m] * v[m]
            size = max((part if positive else abs(part)) - bar, 0.0)
            new = (1.0 if positive else np.sign(part)) * size / gram[m, m]
            moved = max(moved, abs(new - v[m]))
            v[m] = new
        if moved < ENOUGH:
            break
    return v


def least_norm(heads: Floats, target: Floats) -> Floats:
    """(sources,) the v of least length with heads v = target: relevance as it was before the lasso, spread over all."""
    return np.asarray(np.linalg.pinv(heads) @ target)
