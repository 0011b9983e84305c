"""TRAK's arithmetic: the model near its end as a logistic regression on gradients, and Newton's step in it.

For a record with its label y, the output is its log-odds ``f = log p_y / (1 - p_y)``, and ``phi`` the gradient of f in
all weights, projected. Were f linear in the weights, training would be logistic regression on the phis, and adding
record i would move the log-odds of a target item t, to first order, by

    phi_t' (Phi' Phi)^-1 phi_i (1 - p_i)

with Phi the phis of all records. Several trainings are averaged: the first factor and the doubt ``1 - p`` apart from
one another. Source: Park et al. 2023, arXiv 2303.14186. The ridge is ours: in a pool with fewer records than numbers
Phi' Phi has no inverse.

>>> import numpy as np
>>> phi = np.array([[1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])
>>> attribute([(phi, np.array([0.5, 0.5, 0.5]), np.array([[0.0, 1.0]]))], ridge=0)
array([[ 0.   ],
       [ 0.125],
       [-0.125]])
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["attribute", "log_odds", "odds_gradient"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Model = tuple[npt.NDArray[np.floating], Floats, npt.NDArray[np.floating]]
"""Of one training: phi of the records (n, k), their doubt 1 - p (n,), phi of the items (m, k)."""


def attribute(models: Iterable[Model], ridge: float) -> Floats:
    """How far each record moves each item's log-odds, (n, m).

    Args:
        ridge: added to the diagonal of ``Phi' Phi``, in units of a phi's mean squared length: as much as that many
            records would add that all pointed the same way.
    """
    moved: list[Floats] = []
    doubts: list[Floats] = []
    for ours, doubt, theirs in models:
        phi = np.asarray(ours, np.float64)
        products = phi.T @ phi
        products[np.diag_indices(len(products))] += ridge * float(np.trace(products)) / len(phi)
        moved.append(phi @ np.linalg.solve(products, np.asarray(theirs, np.float64).T))
        doubts.append(np.asarray(doubt, np.float64))
    return np.asarray(np.mean(moved, 0) * np.mean(doubts, 0)[:, None])


def log_odds(logits: npt.NDArray[np.floating], labels: Ints) -> Floats:
    """``log p_y / (1 - p_y)`` of each row's label, (n,), from scores (n, classes)."""
    own, others = _apart(logits, labels)
    top = others.max(1)
    return np.asarray(own - top - np.log(np.exp(others - top[:, None]).sum(1)))


def odds_gradient(logits: npt.NDArray[np.floating], labels: Ints) -> Floats:
    """Its gradient in the scores, (n, classes): 1 for the label, the others share -1 by their probabilities.

    That of the loss is ``-(1 - p_y)`` times this one, which does not vanish where the model is sure.
    """
    _, others = _apart(logits, labels)
    shares = np.exp(others - others.max(1, keepdims=True))
    out = -shares / shares.sum(1, keepdims=True)
    out[np.arange(labels.size), labels] = 1.0
    return np.asarray(out)


def _apart(logits: npt.NDArray[np.floating], labels: Ints) -> tuple[Floats, Floats]:
    others = np.array(logits, np.float64)
    rows = np.arange(labels.size)
    own = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    return own, others
