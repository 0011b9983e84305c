"""Learners of Boolean functions that read points one by one: each label is told from the points before it.

Inputs are rows of 0 and 1, labels are 0 or 1, and what is returned is one label for each point. They are what a model
that learns in context is compared with.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

__all__ = ["Bits", "elimination", "gf2", "majority", "nearest", "perceptron", "winnow"]

Bits = npt.NDArray[np.int8]


def majority(x: Bits, y: Bits) -> Bits:
    """The more frequent label so far; 0 when there is none.

    >>> majority(np.zeros((4, 1), np.int8), np.array([1, 1, 0, 0], np.int8)).tolist()
    [0, 1, 1, 1]
    """
    before = np.cumsum(y, dtype=np.int64) - y
    return np.asarray(2 * before > np.arange(len(y)), np.int8)


def elimination(x: Bits, y: Bits) -> Bits:
    """Conjunctions: all literals that no positive point has ruled out must hold. Never wrong when it says 1.

    For a disjunction take ``1 - elimination(x, 1 - y)``: it fails where all its literals' opposites hold.
    """
    alive = np.ones((2, x.shape[1]), bool)  # alive[v, i]: bit i may have to be v
    found = np.zeros(len(y), np.int8)
    for t, (row, label) in enumerate(zip(x, y, strict=True)):
        broken = np.stack([row != 0, row != 1])
        found[t] = not (alive & broken).any()
        if label:
            alive &= ~broken
    return found


def gf2(x: Bits, y: Bits) -> Bits:
    """Parities: Gaussian elimination over GF(2). Right wherever the input is a sum of earlier ones, else a guess."""
    basis: dict[int, tuple[int, int]] = {}  # highest bit -> vector that has it, its label
    found = np.zeros(len(y), np.int8)
    for t, (row, label) in enumerate(zip(x.tolist(), y.tolist(), strict=True)):
        vector, known = int("".join(map(str, row)), 2), 0
        while vector and vector.bit_length() in basis:
            other, value = basis[vector.bit_length()]
            vector, known = vector ^ other, known ^ value
        found[t] = known
        if vector:
            basis[vector.bit_length()] = (vector, known ^ label)
    return found


def perceptron(x: Bits, y: Bits, passes: int = 20) -> Bits:
    """Half-spaces: the perceptron's rule over the points so far, until none is wrong or `passes` times."""
    signs = np.column_stack([2.0 * x - 1, np.ones(len(y))])
    wanted = 2.0 * y - 1
    weights = np.zeros(signs.shape[1])
    found = np.zeros(len(y), np.int8)
    for t in range(len(y)):
        found[t] = signs[t] @ weights > 0
        for _ in range(passes):
            wrong = 0
            for s in range(t + 1):
                if wanted[s] * (signs[s] @ weights) <= 0:
                    weights += wanted[s] * signs[s]
                    wrong += 1
            if not wrong:
                break
    return found


def winnow(x: Bits, y: Bits) -> Bits:
    """Disjunctions of few literals, and other sums of them: weights of wrong points are doubled or halved.

    For a conjunction take ``1 - winnow(x, 1 - y)``.
    """
    literals = np.column_stack([x, 1 - x]).astype(bool)
    weights = np.ones(literals.shape[1])
    found = np.zeros(len(y), np.int8)
    for t, row in enumerate(literals):
        found[t] = weights[row].sum() >= weights.size
        if found[t] != y[t]:
            weights[row] *= 2.0 if y[t] else 0.5
    return found


def nearest(x: Bits, y: Bits, among: int | None = None) -> Bits:
    """The label of the nearest earlier point, of the first among equals; of the first `among` points when given."""
    found = np.zeros(len(y), np.int8)
    for t in range(1, len(y)):
        stop = t if among is None else min(t, among)
        found[t] = y[(x[:stop] != x[t]).sum(1).argmin()]
    return found
