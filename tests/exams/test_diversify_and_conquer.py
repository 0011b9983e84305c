"""DiversifyAndConquer: even draws reach small clusters, and refinement turns away from planted junk."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from tests.exams.vectors import clustered, column, planned, pool_of

from tilth.core import Budget, Goal, Plan, Policy, Run, TablePool
from tilth.core.errors import DataError
from tilth.policies.select.diversify_and_conquer import DiversifyAndConquer
from tilth.policies.select.sample import Sample
from tilth.proofs.classify import Classify

CLUSTERS, JUNK, EACH = 200, 30, 50


@cache
def world(seed: int) -> tuple[TablePool, Goal, np.ndarray]:
    """Two words of each of 200 clusters decide its records' label; in 30 of them the label is drawn by lot."""
    rng = np.random.default_rng(seed)
    sizes = np.clip((CLUSTERS * EACH * 0.25) / (1 + rng.permutation(CLUSTERS)) ** 0.7, 15, None).astype(int)
    values, group = clustered([*sizes], 32, seed)

    def labelled(group: np.ndarray, noise: bool) -> dict[str, list[str]]:
        word = rng.integers(0, 2, group.size)
        rule = rng_rule[group] ^ word
        label = np.where((group < JUNK) & noise, rng.integers(0, 2, group.size), rule)
        texts = [f"c{g}w{w} filler{f}" for g, w, f in zip(group, word, rng.integers(0, 50, group.size), strict=True)]
        return {"text": texts, "label": ["yes" if v else "no" for v in label]}

    rng_rule = rng.integers(0, 2, CLUSTERS)
    pool = TablePool(pa.table({**labelled(group, True), "embedding": column(values)}), "labeled")
    held = TablePool(pa.table(labelled(np.repeat(np.arange(JUNK, CLUSTERS), 6), False)), "labeled")
    return pool, Goal(held, held, Budget(1200, "records")), group


def decided(policy: Policy, seed: int) -> Plan:
    pool, goal, _ = world(seed)
    return policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))


@pytest.mark.parametrize("seed", range(5))
def test_turns_away_from_junk_and_beats_its_rivals(seed: int) -> None:
    pool, goal, group = world(seed)
    proof = Classify(ngrams=1)
    refined = decided(DiversifyAndConquer(proof=proof), seed)
    weights = np.array(refined.decisions[0].details["rounds"][1]["weights"])
    cluster = refined.values["0.cluster"].astype(int)
    junk = np.array([(group[cluster == c] < JUNK).mean() if (cluster == c).any() else 0 for c in range(weights.size)])
    assert weights[junk > 0.9].mean() < 0.3 / weights.size
    assert refined.amount == 1200
    last = refined.values["0.round"] == 2
    static, drawn = (decided(policy, seed) for policy in (DiversifyAndConquer(rounds=1), Sample()))
    assert (group[last] < JUNK).mean() < 0.5 * (group[static.kept] < JUNK).mean()
    loss = {
        name: proof.trial(plan, pool, goal, Run(seed=seed)).mean()
        for name, plan in (("refined", refined), ("static", static), ("drawn", drawn))
    }
    assert loss["static"] < 0.6 * loss["drawn"]
    assert loss["refined"] < 1.1 * loss["static"]


def test_even_draws_and_exhausted_clusters() -> None:
    values, group = clustered([500, 300, 100, 40, 10], 16, 1)
    pool = pool_of(values)
    even = planned(DiversifyAndConquer(clusters=5, rounds=1), pool, 200)
    assert np.bincount(group[even.kept]).tolist() in ([50, 50, 50, 40, 10], [51, 50, 49, 40, 10], [50, 51, 49, 40, 10])
    sized = planned(DiversifyAndConquer(clusters=5, rounds=1, even=False), pool, 190)
    assert np.abs(np.bincount(group[sized.kept]) - np.array([100, 60, 20, 8, 2])).max() <= 1
    worst = planned(DiversifyAndConquer(clusters=5).worst(), pool, 200)
    assert len(set(group[worst.kept])) == 1


def test_fewer_records_than_clusters() -> None:
    values, group = clustered([20] * 30, 16, 2)
    plan = planned(DiversifyAndConquer(clusters=30, rounds=1), pool_of(values), 12)
    assert plan.kept.sum() == 12
    assert len(set(group[plan.kept])) >= 11


def test_quality_decides_within_a_cluster() -> None:
    values, group = clustered([200, 200], 16, 3)
    good = np.random.default_rng(3).random(400) < 0.5
    pool = pool_of(values, good=np.where(good, 9.0, 1.0), signed=np.where(good, 1.0, -1.0), none=[None] * 400)
    for policy in (
        DiversifyAndConquer(clusters=2, rounds=1, quality="good"),
        DiversifyAndConquer(clusters=2, rounds=1, quality="signed", exponential=True),
    ):
        kept = planned(policy, pool, 60).kept
        assert np.bincount(group[kept]).tolist() == [30, 30]
        assert 0.7 < good[kept].mean() < 1
    with pytest.raises(DataError, match="below 0"):
        planned(DiversifyAndConquer(quality="signed", rounds=1), pool, 60)
    with pytest.raises(DataError, match="no record has a none"):
        planned(
            DiversifyAndConquer(quality="none", rounds=1), pool.with_column("none", pa.nulls(400, pa.float64())), 60
        )
