"""L1Amtrl must find the sources that the target is made of, and train a target better than even or spread shares."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool
from tilth.core.errors import DataError, UsageError
from tilth.models.relevance import shared_basis
from tilth.policies.mix import l1_amtrl
from tilth.policies.mix.l1_amtrl import L1Amtrl
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import PlantedMixture

pytest.importorskip("torch")  # what claims share needs it

from tilth.claims.wang2023_l1_relevance import Simulator

WIDTH = 50
POLICY = L1Amtrl(vectors="features", first=60, rounds=2)


def test_lower_risk_than_even_shares_and_than_least_length() -> None:
    """Five directions and twenty sources, as in the paper's setting: which three is not to be known, the risk is."""
    risks = []
    for seed in range(10):
        world = Simulator(Run(seed=seed), each=700)
        plan = POLICY.revise(world.start, world.pool, world.goal, world.run)
        even = Stratified().revise(world.start, world.pool, world.goal, world.run)
        risks.append([world.risk(p) for p in (plan, world.planned(world.spread()), even)])
    sparse, spread, even_risk = np.mean(risks, axis=0)
    assert sparse < 0.9 * even_risk
    assert sparse < spread


def test_finds_the_support_where_it_can_be_known() -> None:
    """With fifteen directions and a target of many examples, the three sources are those with the largest shares."""
    found, strangers = [], []
    for seed in range(6):
        world = Simulator(Run(seed=seed), rank=15, targets=300, each=700)
        policy = L1Amtrl(vectors="features", first=200, rounds=2, rank=15)
        told = policy.revise(world.start, world.pool, world.goal, world.run).decisions[-1].details
        relevance = np.array([*told["relevance"].values()])
        found += np.isin(world.support, np.argsort(-relevance)[:4]).tolist()
        strangers.append(np.delete(relevance, world.support).mean() / relevance[world.support].mean())
    assert np.mean(found) >= 0.9
    assert np.mean(strangers) < 0.4


def test_each_round_judges_by_all_that_was_read(monkeypatch: pytest.MonkeyPatch) -> None:
    world, read = Simulator(Run(), each=100), []

    def watched(x: npt.NDArray[np.float64], *args: Any) -> npt.NDArray[np.float64]:
        read.append({tuple(row[:3]) for row in x.tolist()})
        return shared_basis(x, *args)

    monkeypatch.setattr(l1_amtrl, "shared_basis", watched)
    policy = POLICY.model_copy(update={"first": 20, "rounds": 6})
    policy.revise(world.start, world.pool, world.goal, world.run)
    assert [len(some) for some in read[:2]] == [400, pytest.approx(1100, abs=110)]
    assert all(some < more for some, more in pairwise(read)), "what was read stays, nothing is read twice"
    assert len(read[-1]) == world.pool.count, "a round that finds nothing new is the last"


def test_loud_labels_do_not_count_for_more() -> None:
    world = Simulator(Run(), each=700)
    loud = np.where(world.source == 7, 100.0, 1.0)
    pool = world.table(world.x, world.y * loud, world.source)
    policy = L1Amtrl(vectors="features", first=60, rounds=1)
    told = policy.revise(world.start, pool, world.goal, world.run).decisions[-1].details["relevance"]
    assert told["s07"] < 0.5 * sum(told.values())


@pytest.mark.parametrize("seed", range(3))
def test_without_labels_topics_of_the_target(seed: int) -> None:
    probe, run = PlantedMixture(), Run(seed=seed)
    world = probe.build(1500, run)
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    plan, worst, even = (
        p.revise(start, world.pool, world.goal.blind(), run)
        for p in (L1Amtrl(cap=8), L1Amtrl(cap=8).worst(), Stratified(cap=8))
    )
    assert probe.grade(world, plan) > 0.8  # natural shares 0.4, equal ones 0.6
    assert probe.grade(world, plan) > probe.grade(world, even) > probe.grade(world, worst)
    assert plan.decisions[-1].details["heads"] == "texts"


def test_classes_limits_and_errors() -> None:
    rng = np.random.default_rng(0)
    basis = rng.normal(size=(WIDTH, 2))
    x = rng.normal(size=(900, WIDTH))
    source = np.repeat(np.arange(3), 300)
    scores = x @ basis
    label = np.where(source == 0, scores[:, 0] > 0, np.where(source == 1, scores[:, 1] > 0, rng.random(900) > 0.5))
    table = {"id": [f"id{i}" for i in range(900)], "text": ["x"] * 900, "label": np.where(label, "yes", "no")}
    names = ["first", "second", "noise"]
    pool = TablePool(
        pa.table({**table, "source": [names[s] for s in source], "features": pa.array(x.tolist())}), "labeled"
    )
    tx = rng.normal(size=(60, WIDTH))
    answers = np.where(tx @ basis[:, 1] > 0, "yes", "no")
    target = TablePool(pa.table({"text": ["x"] * 60, "label": answers, "features": pa.array(tx.tolist())}), "labeled")
    goal = Goal(target, target, Budget(200, "records"))
    policy = L1Amtrl(vectors="features", first=100, rank=2)
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert plan.mixture()["second"] > 0.5
    held = Limits(ceiling={"second": 0.3})
    assert policy.revise(Plan.everything(pool, goal.budget, held), pool, goal, Run()).mixture()["second"] <= 0.31
    bare = TablePool(pa.table({"text": ["x"]}))
    with pytest.raises(UsageError, match="needs a column `label`"):
        L1Amtrl(heads="labels").revise(Plan.everything(pool, goal.budget), pool, Goal(bare, bare, goal.budget), Run())
    ragged = TablePool(pa.table({"text": ["x", "y"], "features": [[1.0], [1.0, 2.0]]}))
    with pytest.raises(DataError, match="between 1 and 2 numbers"):
        policy.revise(Plan.everything(pool, goal.budget), pool, Goal(ragged, ragged, goal.budget), Run())
