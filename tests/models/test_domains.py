"""Domains must be those that were planted, in order of size, whatever their shape."""

from __future__ import annotations

import numpy as np

from tilth.core import Run
from tilth.models import domains
from tilth.models.domains import found, purity


def test_finds_planted_groups_largest_first() -> None:
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(4), (400, 200, 100, 50)))
    centres = rng.normal(0, 1, (4, 16))
    vectors = (centres[truth] + rng.normal(0, 0.15, (750, 16))).astype(np.float32)
    labels = found(vectors, 4, 30, Run())
    assert purity(labels, truth) == 1
    assert np.bincount(labels).tolist() == [400, 200, 100, 50]


def test_the_rest_goes_to_the_nearest_centre(monkeypatch: object) -> None:
    rng = np.random.default_rng(0)
    truth = np.repeat(np.arange(3), 100)
    vectors = (np.eye(3)[truth] + rng.normal(0, 0.05, (300, 3))).astype(np.float32)
    monkeypatch.setattr(domains, "SAMPLE", 60)  # type: ignore[attr-defined]
    assert purity(found(vectors, 3, 9, Run()), truth) == 1


def test_fewer_vectors_than_domains() -> None:
    assert found(np.zeros((0, 4), np.float32), 3, 9, Run()).size == 0
    assert found(np.zeros((5, 4), np.float32), 3, 9, Run()).tolist() == [0] * 5
    assert sorted(found(np.eye(2, dtype=np.float32), 3, 9, Run()).tolist()) == [0, 1]


def test_purity_of_known_tables() -> None:
    assert purity([0, 0, 1, 1], ["a", "a", "b", "b"]) == 1
    assert purity([0, 0, 0, 0], ["a", "a", "b", "b"]) == 0.5
    assert purity([0, 0, 1, 1], ["a", "b", "b", "b"]) == 0.75
