"""KShot finds the planted records like its examples without their copies, where its rivals take copies or noise."""

from __future__ import annotations

import numpy as np
import pytest
from tests.exams.vectors import clustered, planned, pool_of, unit

from tilth.core import TablePool
from tilth.core.errors import MissingColumns, UsageError
from tilth.policies.select.kshot import KShot
from tilth.policies.select.sample import Sample


def world(seed: int) -> tuple[np.ndarray, TablePool, TablePool, np.ndarray]:
    """300 records of the task's two clusters, five near-copies of 60 of them, 2,000 of others; 20 examples."""
    rng = np.random.default_rng(seed)
    values, group = clustered([170, 150, *[250] * 8], 32, seed, 0.7)
    task = group < 2
    shots = rng.permutation(np.flatnonzero(task))[:20]
    left = np.setdiff1d(np.arange(len(values)), shots)
    copied = rng.permutation(np.flatnonzero(task[left]))[:60]
    copies = np.repeat(values[left][copied], 5, 0) + 0.01 * rng.standard_normal((300, 32))
    every = np.concatenate([values[left], copies])
    relevant = np.concatenate([task[left], np.ones(300, bool)])
    return every, pool_of(every), pool_of(values[shots]), relevant


@pytest.mark.parametrize("seed", range(5))
def test_finds_the_task_without_copies(seed: int) -> None:
    values, pool, target, relevant = world(seed)
    ours, drawn, alike, worst = (
        planned(policy, pool, 150, target, seed).kept
        for policy in (KShot(surplus=3), Sample(), KShot(tau=1.0), KShot(surplus=3).worst())
    )

    def pairs(kept: np.ndarray) -> int:
        cosine = unit(values[kept]) @ unit(values[kept]).T
        return int((np.triu(cosine, 1) > 0.9).sum())

    assert ours.sum() == 150
    assert relevant[ours].mean() >= 0.9 > 0.5 > relevant[drawn].mean()
    assert pairs(ours) == 0
    assert pairs(alike) > 50
    assert relevant[worst].mean() < 0.05


def test_of_copies_the_most_alike_stays_and_candidates_come_first() -> None:
    angles = np.deg2rad([10, 11, 12, 40, 70, 80])
    pool, target = pool_of(np.stack([np.cos(angles), np.sin(angles)], 1)), pool_of(np.array([[1.0, 0.0]]))
    plan = planned(KShot(surplus=2), pool, 2, target)
    assert plan.kept.tolist() == [True, False, False, True, False, False]
    told = planned(KShot(surplus=1), pool, 2, target)
    assert told.kept.tolist() == [True, False, False, False, False, False]  # the two most alike were the candidates
    assert "unfilled" in told.decisions[0].warnings[0]


def test_the_largest_cosine_counts_and_copies_of_examples_are_told() -> None:
    values = np.eye(4)[[0, 1, 0, 2]] + np.array([[0, 0, 0, 0], [0] * 4, [0.1, 0.8, 0.8, 0.8], [0] * 4])
    plan = planned(KShot(), pool_of(values), 2, pool_of(np.eye(4)[:2]))
    assert plan.kept.tolist() == [True, True, False, False]  # the third is a little like both
    assert "2 records are copies" in plan.decisions[0].warnings[0]


def test_refusals() -> None:
    values, _ = clustered([30, 30], 8, 0)
    with pytest.raises(UsageError, match="limit `most` is 10"):
        planned(KShot(most=10), pool_of(values), 20)
    bare = TablePool(pool_of(values).table(["id", "text"]))
    with pytest.raises(MissingColumns, match="from one place"):
        planned(KShot(), pool_of(values), 20, bare)
