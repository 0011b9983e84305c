"""alignment: its gradient is that of its loss, and what is near everybody is told from what belongs together."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.models.alignment import Alignment, _slopes


def loss(x: np.ndarray, y: np.ndarray, left: np.ndarray, right: np.ndarray, t: float) -> float:
    u, v = x @ left, y @ right
    z = (u / np.linalg.norm(u, axis=1, keepdims=True)) @ (v / np.linalg.norm(v, axis=1, keepdims=True)).T / t
    rows, columns = (np.log(np.exp(some).sum(1)) for some in (z, z.T))
    return float(((rows + columns) / 2 - np.diag(z)).mean())


def test_gradient_by_differences() -> None:
    rng = np.random.default_rng(0)
    x, y, left, right = rng.normal(size=(6, 3)), rng.normal(size=(6, 3)), *rng.normal(size=(2, 3, 3))
    slopes = _slopes(x, y, left, right, 0.3)
    for i, j in ((0, 0), (1, 2), (2, 1)):
        step = np.zeros((3, 3))
        step[i, j] = 1e-6
        changes = (
            (loss(x, y, left + step, right, 0.3) - loss(x, y, left - step, right, 0.3)) / 2e-6,
            (loss(x, y, left, right + step, 0.3) - loss(x, y, left, right - step, 0.3)) / 2e-6,
        )
        assert (slopes[0][i, j], slopes[1][i, j]) == pytest.approx(changes, rel=1e-4)


def test_hubs_align_with_everybody_and_the_centred_score_says_so() -> None:
    rng = np.random.default_rng(0)
    hub = 3 * np.ones(8)
    x = rng.normal(size=(400, 8)) + hub / 3
    y = x + 0.5 * rng.normal(size=(400, 8))
    model = Alignment.train(x[:200], y[:200], np.random.default_rng(1), steps=50)
    general = np.repeat(hub[None], 200, 0)  # the same general text to each of the queries
    own, centred = model.score(x[200:], y[200:])
    bad, low = model.score(x[200:], general)
    assert (centred > low).mean() >= (own > bad).mean()
    assert (own - centred).mean() < (bad - low).mean(), "more is taken from what is near everybody"


def test_zeros_one_pair_and_the_identity() -> None:
    plain = Alignment.identity(2)
    own, _ = plain.score([[3.0, 4.0], [0.0, 0.0]], [[4.0, 3.0], [1.0, 0.0]])
    assert own == pytest.approx([0.96, 0.0])
    assert plain.recall([[1.0, 0.0], [0.0, 1.0]], [[1.0, 0.1], [0.1, 1.0]], 1) == 1.0
    assert plain.recall([[1.0, 0.0], [1.0, 0.0]], [[1.0, 0.0], [1.0, 0.0]], 1) == 0.0, "ties do not count as found"
    one = Alignment.train([[1.0, 2.0]], [[2.0, 1.0]], np.random.default_rng(0))
    assert (one.left == np.eye(2)).all()
