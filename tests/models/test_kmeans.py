"""K-means finds planted clusters, like scikit-learn's, and does without where there are none."""

from __future__ import annotations

import numpy as np
from sklearn.cluster import KMeans as Peer

from tilth.models.kmeans import fit


def planted(groups: int, each: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(groups), each)
    centres = rng.standard_normal((groups, 12))
    return (centres[group] + 0.1 * rng.standard_normal((group.size, 12))).astype(np.float32), group


def test_finds_planted_clusters() -> None:
    values, group = planted(60, 40, 0)
    model = fit(values, 60, np.random.default_rng(1))
    label, square = model.assign(values)
    pure = sum(np.bincount(group[label == c]).max() for c in np.unique(label)) / group.size
    assert pure > 0.95
    exact = ((values[:, None] - model.centres[None]) ** 2).sum(2)
    assert (exact.argmin(1) == label).all()
    assert np.allclose(exact.min(1), square, atol=1e-4)
    peer = Peer(60, n_init=1, random_state=0).fit(values)
    assert square.sum() < 1.6 * peer.inertia_


def test_same_generator_same_centres() -> None:
    values, _ = planted(10, 30, 3)
    one, two = (fit(values, 10, np.random.default_rng(4)).centres for _ in range(2))
    assert (one == two).all()


def test_fewer_different_rows_than_clusters() -> None:
    values = np.repeat(np.eye(3, dtype=np.float32), 7, 0)
    assert len(fit(values, 8, np.random.default_rng(0)).centres) == 3
