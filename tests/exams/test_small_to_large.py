"""SmallToLarge takes what is learnt late of every cluster, where the plain lowest scores are all of one."""

from __future__ import annotations

import numpy as np
import pytest
from tests.exams.vectors import clustered, planned, pool_of

from tilth.core.errors import DataError, MissingColumns
from tilth.policies.select.sample import Sample
from tilth.policies.select.small_to_large import SmallToLarge

SIZES = [300, 250, 200, 150, 100]


@pytest.mark.parametrize("seed", range(3))
def test_late_of_every_cluster(seed: int) -> None:
    """One cluster is learnt later than all others; within each, some records later than others."""
    values, group = clustered(SIZES, 16, seed)
    rng = np.random.default_rng(seed)
    within = rng.random(1000)
    score = np.where(group == 0, 0.0, 0.5) + 0.4 * within
    pool = pool_of(values, late=score)
    policy = SmallToLarge(by="late", clusters=5)
    ours, plain, drawn, worst = (
        planned(p, pool, 200, seed=seed).kept for p in (policy, Sample(by="late", high=False), Sample(), policy.worst())
    )
    assert np.bincount(group[plain], minlength=5)[1:].sum() == 0
    assert np.abs(np.bincount(group[ours], minlength=5) - np.array(SIZES) / 5).max() <= 1
    assert within[ours].max() < 0.3
    assert within[drawn].mean() > 0.4
    assert within[worst].min() > 0.7


def test_the_trap_wrong_answers_are_learnt_latest() -> None:
    values, _ = clustered(SIZES, 16, 3)
    rng = np.random.default_rng(3)
    wrong = rng.random(1000) < 0.1
    pool = pool_of(values, late=np.where(wrong, 0.1, 0.5) + 0.1 * rng.random(1000))
    assert wrong[planned(SmallToLarge(by="late", clusters=5), pool, 200).kept].mean() > 0.4


def test_many_clusters_fill_the_budget() -> None:
    values, _ = clustered(SIZES, 16, 4)
    pool = pool_of(values, late=np.random.default_rng(4).random(1000))
    assert abs(int(planned(SmallToLarge(by="late"), pool, 330).kept.sum()) - 330) <= 20


def test_unknown_and_missing_scores() -> None:
    values, _ = clustered(SIZES, 16, 5)
    late = [None if i % 2 else float(i) for i in range(1000)]
    pool = pool_of(values, late=late, void=[float("nan")] * 1000)
    plan = planned(SmallToLarge(by="late"), pool, 100)
    assert (np.flatnonzero(plan.kept) % 2 == 0).all()
    assert plan.decisions[0].details["unknown"] == 500
    with pytest.raises(MissingColumns, match=r"learning_percentage\.score"):
        planned(SmallToLarge(), pool, 100)
    with pytest.raises(DataError, match="no record of the plan has a void"):
        planned(SmallToLarge(by="void"), pool, 100)
