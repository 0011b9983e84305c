"""FacilityLocation covers planted clusters better than a random draw and k_center, exactly or in blocks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.exams.vectors import clustered, coverage, planned, pool_of

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadInput, DataError, MissingColumns
from tilth.policies.select.facility_location import FacilityLocation
from tilth.policies.select.k_center import KCenter
from tilth.policies.select.sample import Sample

SIZES = [400, 300, 200, 100, 60, 40, 30, 20, 20, 20]


@pytest.mark.parametrize("seed", range(3))
def test_covers_better_than_its_rivals(seed: int) -> None:
    values, group = clustered(SIZES, 16, seed, 0.5)
    pool = pool_of(values)
    ours, drawn, centre, worst = (
        planned(policy, pool, 12, seed=seed).kept
        for policy in (FacilityLocation(), Sample(), KCenter(), FacilityLocation().worst())
    )
    assert len(set(group[ours])) == 10
    reached = coverage(values, ours)
    assert reached > coverage(values, drawn) + 0.05
    assert reached > coverage(values, centre)
    assert coverage(values, worst) < coverage(values, drawn)


def test_the_cover_told_is_the_cover() -> None:
    values, _ = clustered(SIZES, 16, 7, 0.5)
    plan = planned(FacilityLocation(), pool_of(values), 30)
    assert plan.decisions[0].details["coverage"] == pytest.approx(coverage(values, plan.kept), abs=1e-5)
    gain = plan.values["0.gain"]
    assert gain[plan.kept].min() == pytest.approx(plan.decisions[0].threshold["gain"])


def test_blocks_lose_little() -> None:
    values, group = clustered([n * 3 for n in SIZES], 16, 3, 0.5)
    pool = pool_of(values)
    exact = planned(FacilityLocation(), pool, 60)
    cut = planned(FacilityLocation(block=600), pool, 60)
    assert cut.decisions[0].details["blocks"] == 8
    assert coverage(values, cut.kept) > 0.97 * coverage(values, exact.kept)
    assert coverage(values, cut.kept) > coverage(values, planned(Sample(), pool, 60).kept)
    assert len(set(group[cut.kept])) == 10
    assert planned(FacilityLocation(block=100), pool, 20).decisions[0].warnings


def test_composes_with_what_came_before() -> None:
    values, _ = clustered(SIZES, 16, 4)
    pool = pool_of(values)
    goal = Goal(pool, pool, Budget(50, "records"))
    half = Plan.everything(pool, goal.budget).revised({}, "half", repeats=np.where(np.arange(1190) % 2, 2, 0))
    plan = FacilityLocation().revise(half, pool, goal, Run())
    assert plan.amount == 50  # 25 records, read twice
    assert (np.flatnonzero(plan.kept) % 2 == 1).all()
    # what was out plays no part
    few = TablePool(pool.take(np.flatnonzero(half.kept), ["id", "text", "embedding"]))
    alone = FacilityLocation().revise(
        Plan.everything(few, goal.budget).revised({}, "all", repeats=np.full(595, 2)), few, goal, Run()
    )
    assert np.flatnonzero(plan.kept).tolist() == (np.flatnonzero(alone.kept) * 2 + 1).tolist()


def test_texts_get_embeddings_and_those_without_are_dropped() -> None:
    rng = np.random.default_rng(0)
    words = [[f"w{t}x{i}" for i in range(8)] for t in range(5)]
    topic = np.repeat(np.arange(5), [200, 100, 50, 30, 20])
    texts = [" ".join(rng.choice(words[t], 12)) for t in topic] + ["", "!?"]
    pool = TablePool(pa.table({"text": texts}))
    plan = planned(FacilityLocation(), pool, 10)
    assert set(topic[np.flatnonzero(plan.kept)]) == set(range(5))
    assert plan.decisions[0].details["unknown"] == 2
    assert plan.decisions[0].note.endswith("2 without an embedding dropped")


def test_bad_columns_are_told() -> None:
    values, _ = clustered([20, 20], 4, 0)
    holes = [None if i % 2 else [1.0, float(i)] for i in range(40)]
    pool = pool_of(values, holes=holes, ragged=[[1.0] * (1 + i % 2) for i in range(40)])
    plan = planned(FacilityLocation(vectors="holes"), pool, 5)
    assert plan.decisions[0].details["unknown"] == 20
    assert (np.flatnonzero(plan.kept) % 2 == 0).all()
    with pytest.raises(MissingColumns, match="no_such"):
        planned(FacilityLocation(vectors="no_such"), pool, 5)
    with pytest.raises(DataError, match="between 1 and 2 numbers"):
        planned(FacilityLocation(vectors="ragged"), pool, 5)
    with pytest.raises(BadInput, match="lists of numbers"):
        planned(FacilityLocation(vectors="text"), pool, 5)
    nothing = pool_of(values, void=pa.nulls(40, pa.list_(pa.float32())))
    with pytest.raises(DataError, match="none of 40 records has an embedding"):
        planned(FacilityLocation(vectors="void"), nothing, 5)
