"""The lazy loops pick what plain greedy picks, and greedy is near the best there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from tilth.kernels.greedy import cover, farthest, inform


def unit(n: int, width: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((n, width))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("seed", range(3))
def test_cover_is_greedy_and_near_the_best(seed: int) -> None:
    values = unit(60, 3, seed)
    similarity = np.maximum(values @ values.T, np.float32(0))
    order, gains = cover(similarity, 60)
    near, left = np.zeros(60), list(range(60))
    for pick, gain in zip(order[:20], gains, strict=False):
        worth = [float(np.maximum(similarity[i] - near, 0).sum()) for i in left]
        assert gain == pytest.approx(max(worth), rel=1e-5)
        near = np.maximum(near, similarity[pick])
        left.remove(pick)
    assert sorted(order) == list(range(60))
    assert (np.diff(gains) < 1e-4).all()
    few = similarity[:12, :12]
    best = max(few[list(chosen)].max(0).sum() for chosen in combinations(range(12), 3))
    assert cover(few, 3)[1].sum() >= 0.9 * best


@pytest.mark.parametrize("seed", range(3))
def test_farthest_first_is_within_twice_the_best_radius(seed: int) -> None:
    values = unit(14, 3, seed)
    squares = np.maximum(2 - 2 * values @ values.T, np.float32(0))
    order, far = farthest(squares, 3, 14)
    assert order[0] == 3
    assert sorted(order) == list(range(14))
    for pick in range(1, 14):
        assert far[pick] == squares[order[:pick]].min(0).max()
    best = min(squares[list(chosen)].min(0).max() for chosen in combinations(range(14), 4))
    assert np.sqrt(far[4]) <= 2 * np.sqrt(best) + 1e-6


def test_inform_is_plain_greedy() -> None:
    rng = np.random.default_rng(5)
    dense = np.where(rng.random((80, 12)) < 0.2, rng.random((80, 12)), 0).astype(np.float32)
    rows, labels = np.nonzero(dense)
    indptr = np.searchsorted(rows, np.arange(81)).astype(np.int64)
    sizes = rng.integers(1, 4, 80)
    order, gains, have = inform(indptr, labels.astype(np.int32), dense[rows, labels], 12, 0.8, 1e-6, sizes, 70)
    x, left = np.zeros(12), list(range(80))
    for pick, gain in zip(order, gains, strict=True):
        worth = {i: float(dense[i] @ (0.8 * (x + 1e-6) ** -0.2)) for i in left}
        assert gain == pytest.approx(max(worth.values()), rel=1e-6)
        assert worth[int(pick)] == pytest.approx(gain, rel=1e-6)
        x += dense[pick]
        left.remove(int(pick))
    assert have == pytest.approx(x)
    assert sizes[order].sum() >= 70 > sizes[order[:-1]].sum()
