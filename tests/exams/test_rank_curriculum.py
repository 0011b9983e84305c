"""RankCurriculum: weights by the formula, who counts by them and who refuses, and what they do to a classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool, Weights
from tilth.core.errors import BadField, DataError, UsageError
from tilth.policies.order.rank_curriculum import RankCurriculum
from tilth.probes.label_noise import LabelNoise
from tilth.proofs.classify import Classify


def pool_of(easy: list[float | None]) -> TablePool:
    column = pa.StructArray.from_arrays([pa.array(easy, pa.float64())], ["easiness"])
    return TablePool(pa.table({"text": [f"t {i}" for i in range(len(easy))], "rank_easiness": column}))


def planned(pool: TablePool, policy: RankCurriculum) -> Plan:
    goal = Goal(pool, pool, Budget(pool.count, "records"))
    return policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())


EASY = [0.0, 0.25, 1.0, None]


def test_weights_are_those_of_the_formula() -> None:
    plan = planned(pool_of(EASY), RankCurriculum(end=4))
    assert plan.weights is not None
    assert plan.weights.first.tolist() == [0.0, 0.25, 1.0, 0.0]
    rows = np.array([plan.weights.at(epoch) for epoch in (0, 1, 2, 3, 3.999, 4, 9)])
    assert rows[1] == pytest.approx([0.25, 0.4375, 1.0, 0.25])
    assert (np.diff(rows, axis=0) >= 0).all()
    assert (rows[5:] == 1).all()
    assert (rows[4, [0, 1]] < 1).all()
    turned = planned(pool_of(EASY), RankCurriculum(end=4).worst())
    assert turned.weights is not None
    assert turned.weights.first.tolist() == [1.0, 0.75, 0.0, 1.0]
    assert turned.fingerprint != plan.fingerprint
    assert plan.decisions[0].note.endswith("1 without rank_easiness.easiness held to be the hardest")
    same = planned(pool_of([0.5, 0.5]), RankCurriculum())
    assert "in name only" in same.decisions[0].warnings[0]


def test_weights_are_saved_and_known_by_the_fingerprint(tmp_path: Path) -> None:
    plan = planned(pool_of(EASY), RankCurriculum(end=4))
    plan.save(tmp_path)
    back = Plan.load(tmp_path)
    assert back.table().equals(plan.table())
    assert back.header() == plan.header()
    assert back.fingerprint == plan.fingerprint != plan.weighted(None).fingerprint
    assert plan.weights is not None
    assert plan.weighted(Weights(plan.weights.first, 5.0)).fingerprint != plan.fingerprint


def test_says_what_is_wrong() -> None:
    with pytest.raises(DataError, match="between 0 and 3"):
        planned(pool_of([0.0, 3.0]), RankCurriculum())
    with pytest.raises(DataError, match="none of the records kept has a number"):
        planned(pool_of([None, None]), RankCurriculum())
    with pytest.raises(BadField):
        RankCurriculum(end=0)


def contradicted() -> tuple[TablePool, TablePool, Goal]:
    """Half of the labels are wrong; the right ones are easy, the wrong ones hard."""
    probe = LabelNoise(flip=0.5, classes=2, words=10, clarity=0.5)
    world, held = (probe.build(n, Run(seed=s)).pool for n, s in ((500, 1), (100, 2)))
    right = [t["label"] for t in held.column("truth").to_pylist()]
    holdout = TablePool(pa.table({"text": held.column("text"), "label": right}), "labeled")
    wrong = np.array([t["flipped"] for t in world.column("truth").to_pylist()])
    assert isinstance(world, TablePool)
    easy = pa.StructArray.from_arrays([pa.array(np.where(wrong, 0.0, 1.0))], ["easiness"])
    return world.with_column("rank_easiness", easy), holdout, Goal(holdout, holdout, Budget(500, "records"))


def test_a_classifier_learns_what_counts_and_the_opposite_under_the_control() -> None:
    pytest.importorskip("torch")
    pool, _, goal = contradicted()
    start = Plan.everything(pool, goal.budget)
    policy = RankCurriculum(end=1000)
    proof = Classify(model="transformer", depth=1, vocab=600, context=48, passes=4)
    plans = {"alike": start, "easy": policy.revise(start, pool, goal, Run())}
    plans["hard"] = policy.worst().revise(start, pool, goal, Run())
    losses = {name: proof.trial(plan, pool, goal, Run()).mean() for name, plan in plans.items()}
    assert losses["easy"] < 0.4 < np.log(2)
    assert losses["easy"] < losses["alike"] - 0.15
    assert losses["hard"] > losses["alike"] + 0.3
    same = start.weighted(Weights(np.ones(len(start)), 5.0))
    assert proof.trial(same, pool, goal, Run()).mean() == pytest.approx(losses["alike"], rel=1e-3)


def test_who_counts_all_alike_refuses() -> None:
    pytest.importorskip("torch")
    from tilth.models.hub import dataset
    from tilth.proofs.ngram import Ngram
    from tilth.proofs.tiny_lm import TinyLm

    pool, _, goal = contradicted()
    plan = RankCurriculum().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    with pytest.raises(UsageError, match="classify with a linear model counts all records alike"):
        Classify().trial(plan, pool, goal, Run())
    for proof in (Ngram(), TinyLm(depth=1, tokens=2000, vocab=300)):
        with pytest.raises(UsageError, match="counts all records alike, and this plan weights their losses until"):
            proof.trial(plan, pool, goal, Run())
    with pytest.raises(UsageError, match="data set counts all records alike"):
        dataset(plan, pool, Run())
