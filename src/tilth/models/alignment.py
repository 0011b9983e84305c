"""Alignment: do two texts belong together? A bi-encoder on frozen vectors, trained on pairs that do.

Each side's vectors go through a matrix of their own and are scaled to length one; the inner product is the alignment.
Within a batch a pair's partner must win against everybody else's, in both directions:

    loss = -1/2 mean [ log softmax_j (u_i v_j / t)_i  +  log softmax_i (u_i v_j / t)_j ]

Both matrices start as the identity, so before training the alignment is the cosine of the vectors given, and `pull`
keeps them near it: a few hundred pairs do not determine 30,000 numbers. Source of the loss: CLIP (arXiv 2103.00020).

>>> rng = np.random.default_rng(0)
>>> a = rng.normal(size=(300, 12)); b = a @ rng.normal(size=(12, 12))  # what b says of a must be learnt
>>> model = Alignment.train(a[:200], b[:200], np.random.default_rng(0))
>>> plain = Alignment.identity(12)
>>> plain.recall(a[200:], b[200:], 1) < 0.2, model.recall(a[200:], b[200:], 1) > 0.8
(True, True)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

__all__ = ["Alignment"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Alignment:
    """A trained bi-encoder.

    Attributes:
        left, right: (width, width) matrices of the two sides.
        middle: (2, width) mean of the training pairs' left and of their right sides, after the matrices: what is near
            it is near everybody.
    """

    left: Floats
    right: Floats
    middle: Floats

    @classmethod
    def identity(cls, width: int) -> Self:
        """The cosine of the vectors as they are."""
        return cls(np.eye(width), np.eye(width), np.zeros((2, width)))

    @classmethod
    def train(
        cls,
        left: npt.ArrayLike,
        right: npt.ArrayLike,
        rng: np.random.Generator,
        *,
        temperature: float = 0.05,
        pull: float = 1e-3,
        steps: int = 400,
        batch: int = 128,
        rate: float = 0.01,
    ) -> Self:
        """Learn from pairs: row i of `left` belongs to row i of `right`.

        Args:
            temperature: t above; small looks at the nearest rivals only.
            pull: strength of the penalty on the squared distance of both matrices from the identity.
            steps: updates by Adam, whose step falls to 0 linearly, each on `batch` random pairs.
        """
        x, y = np.asarray(left, np.float64), np.asarray(right, np.float64)
        n, width = x.shape
        sides = [np.eye(width), np.eye(width)]
        moments = [[np.zeros((width, width)) for _ in range(2)] for _ in range(2)]
        for step in range(1, steps + 1 if n > 1 else 1):
            rows = rng.permutation(n)[:batch]
            slopes = _slopes(x[rows], y[rows], sides[0], sides[1], temperature)
            for k, slope in enumerate(slopes):
                slope = slope + pull * (sides[k] - np.eye(width))
                first, second = moments[k]
                first += 0.1 * (slope - first)
                second += 0.001 * (slope**2 - second)
                move = (first / (1 - 0.9**step)) / (np.sqrt(second / (1 - 0.999**step)) + 1e-12)
                sides[k] = sides[k] - rate * (1 - step / (steps + 1)) * move
        middle = np.stack([_unit(x @ sides[0])[0].mean(0), _unit(y @ sides[1])[0].mean(0)])
        return cls(sides[0], sides[1], middle)

    def vectors(self, left: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Floats, Floats]:
        """Both sides' unit vectors; zeros stay zeros."""
        return _unit(np.asarray(left, np.float64) @ self.left)[0], _unit(np.asarray(right, np.float64) @ self.right)[0]

    def score(self, left: npt.ArrayLike, right: npt.ArrayLike) -> tuple[Floats, Floats]:
        """(n,) the alignment of each pair, and the same less how near its sides are to everybody."""
        u, v = self.vectors(left, right)
        own = (u * v).sum(1)
        return own, own - u @ self.middle[1] - v @ self.middle[0]

    def recall(self, left: npt.ArrayLike, right: npt.ArrayLike, k: int) -> float:
        """Share of the pairs whose right side is among the k nearest of all right sides, ties counted against it."""
        u, v = self.vectors(left, right)
        all_ = u @ v.T
        return float(((all_ >= np.diag(all_)[:, None]).sum(1) <= k).mean())


def _slopes(x: Floats, y: Floats, left: Floats, right: Floats, temperature: float) -> tuple[Floats, Floats]:
    """Gradients of the loss in both matrices."""
    (u, long_u), (v, long_v) = _unit(x @ left), _unit(y @ right)
    z = u @ v.T / temperature
    here = np.eye(len(x))
    error = (_softmax(z) + _softmax(z.T).T - 2 * here) / (2 * len(x) * temperature)
    return x.T @ _through(error @ v, u, long_u), y.T @ _through(error.T @ u, v, long_v)


def _through(slope: Floats, unit: Floats, length: Floats) -> Floats:
    """A gradient in unit vectors, taken back through the scaling."""
    return np.asarray((slope - (slope * unit).sum(1, keepdims=True) * unit) / length)


def _unit(rows: Floats) -> tuple[Floats, Floats]:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    length = np.where(length > 1e-12, length, np.inf)
    return rows / length, length


def _softmax(z: Floats) -> Floats:
    p = np.exp(z - z.max(1, keepdims=True))
    return np.asarray(p / p.sum(1, keepdims=True))
