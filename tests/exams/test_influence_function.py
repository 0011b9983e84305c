"""influence_function: what leaving a record out really does, by retraining without it."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.worlds import table_of

from tilth.core import Budget, Goal, Run
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.linear import Rows, encode_labels, solve
from tilth.probes.label_noise import LabelNoise
from tilth.signals.influence.influence_function import InfluenceFunction
from tilth.signals.influence.tracin import Tracin

PROBE = LabelNoise(flip=0.1, words=15)
WORLD = PROBE.build(150, Run())
CLEAN = LabelNoise(flip=0.001, words=15).build(60, Run(seed=1)).pool
GOAL = Goal(CLEAN, CLEAN, Budget(1, "records"))
SIGNAL = InfluenceFunction(buckets=1 << 12)


def test_ranks_records_as_retraining_without_each_does() -> None:
    pool = table_of(WORLD)
    found = score_in_memory(SIGNAL, pool, GOAL).column("influence_function.score").to_numpy()
    rows, held = (Rows.of(p.column("text"), 1, 1 << 12) for p in (pool, CLEAN))
    labels, names = encode_labels(pool.column("label").to_pylist())
    wanted, _ = encode_labels(CLEAN.column("label").to_pylist(), names)

    def loss(weights: np.ndarray) -> float:
        model = solve(rows, labels, len(names), weights=weights, l2=SIGNAL.l2, tolerance=1e-7)
        return float(-np.log(model.gold(held, wanted)).mean())

    whole = loss(np.ones(pool.count))
    change = np.array([loss((np.arange(pool.count) != i).astype(float)) - whole for i in range(pool.count)])
    assert spearmanr(found, change).statistic > 0.97
    assert np.polyfit(found, change, 1)[0] == pytest.approx(1.1, abs=0.15)  # to first order
    tracin = score_in_memory(Tracin(), pool, GOAL).column("tracin.score").to_numpy()
    assert 0.3 < spearmanr(tracin, change).statistic < spearmanr(found, change).statistic
    lengths = np.array([len(t) for t in pool.column("text").to_pylist()])
    assert abs(spearmanr(lengths, change).statistic) < 0.3


def test_wrong_labels_harm() -> None:
    world = PROBE.build(1000, Run())
    clean = LabelNoise(flip=0.001, words=15).build(200, Run(seed=1)).pool
    scored = score_in_memory(InfluenceFunction(), table_of(world), Goal(clean, clean, Budget(1, "records")))
    assert PROBE.grade(world, -scored.column("influence_function.score").to_numpy()) > 0.95


def test_a_target_whose_labels_the_pool_lacks_gives_nulls_and_no_goal_an_error() -> None:
    strange = LabelNoise(flip=0.001, words=5).build(8, Run()).pool.table(["id", "text", "source"])
    from tilth.core import TablePool

    held = TablePool(strange.append_column("label", [["other"] * 8]), "labeled")
    scored = score_in_memory(SIGNAL, table_of(WORLD), Goal(held, held, Budget(1, "records")))
    assert scored.column("influence_function.score").null_count == WORLD.pool.count
    with pytest.raises(UsageError, match="goal"):
        score_in_memory(SIGNAL, table_of(WORLD))
