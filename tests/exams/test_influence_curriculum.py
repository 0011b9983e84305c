"""InfluenceCurriculum: which segment comes when, like beside like, lots inside, repeats inside their segment."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.models.batches import reading_order
from tilth.policies.mix.natural import Natural
from tilth.policies.order.influence_curriculum import InfluenceCurriculum
from tilth.policies.select.sample import Sample

Ints = npt.NDArray[np.int64]


def pool_of(values: Any) -> TablePool:
    influence = pa.StructArray.from_arrays([pa.array(values, pa.float64(), from_pandas=True)], ["mean"])
    return TablePool(pa.table({"text": ["x"] * len(values), "influence_average": influence}))


def dealt(n: int) -> Ints:
    return np.random.Generator(np.random.PCG64(0)).permutation(n)


def read(pool: TablePool, policy: InfluenceCurriculum, seed: int = 0) -> Ints:
    """Influence in the order of reading."""
    goal = Goal(pool, pool, Budget(pool.count, "records"))
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))
    rows, _ = plan.reading_order(Run(seed=seed))
    return np.asarray(pool.column("influence_average.mean").to_numpy()[rows], np.int64)


@pytest.mark.parametrize(
    ("order", "turns"),
    [
        ("up", [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        ("down", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
        ("alternate", [9, 0, 8, 1, 7, 2, 6, 3, 5, 4]),
    ],
)
def test_segments_come_in_turn_and_are_shuffled_inside(order: Any, turns: list[int]) -> None:
    pool = pool_of(dealt(1000))
    parts = read(pool, InfluenceCurriculum(order=order, segment=100)).reshape(10, 100)
    assert (parts // 100 == np.array(turns)[:, None]).all()
    assert all(abs(np.corrcoef(part, np.arange(100))[0, 1]) < 0.4 for part in parts)
    other = read(pool, InfluenceCurriculum(order=order, segment=100), seed=1).reshape(10, 100)
    assert (other // 100 == parts // 100).all()
    assert (other != parts).any()


def test_an_odd_number_of_segments_alternates_too() -> None:
    parts = read(pool_of(dealt(50)), InfluenceCurriculum(order="alternate", segment=10)).reshape(5, 10)
    assert (parts // 10)[:, 0].tolist() == [4, 0, 3, 1, 2]


def test_batches_are_alike_whichever_way() -> None:
    """What the paper takes for the cause: a batch of 20 has a hundredth of the variance that one by lot has."""
    pool = pool_of(dealt(2000))
    lot = dealt(2000).reshape(-1, 20).var(1).mean()
    for policy in (InfluenceCurriculum(segment=100), InfluenceCurriculum(segment=100).worst()):
        assert read(pool, policy).reshape(-1, 20).var(1).mean() < lot / 100


def test_the_upper_half_twice_is_three_steps() -> None:
    """The paper's C50: the lower half dropped, tokens kept by reading the rest twice, in segments."""
    pool = pool_of(dealt(400))
    goal = Goal(pool, pool, Budget(400, "records"))
    plan, run = Plan.everything(pool, goal.budget), Run()
    for policy in (
        Sample(by="influence_average.mean", fraction=0.5),
        Natural(),
        InfluenceCurriculum(segment=50),
    ):
        plan = policy.revise(plan, pool, goal, run)
    influence = pool.column("influence_average.mean").to_numpy()
    assert plan.amount == 400
    assert not plan.decisions[-1].warnings
    assert plan.repeats.tolist() == (2 * (influence >= 200)).tolist()
    order = reading_order(plan.repeats, run.rng("order"), plan.phase, plan.rank)
    parts = influence[order].reshape(4, 100)
    assert ((parts - 200) // 50 == np.arange(4)[:, None]).all()
    for part in parts:
        assert np.unique(part[:50]).size == 50, "all of a segment once, then all of it again"


def test_records_without_influence_are_dealt_evenly() -> None:
    values = np.where(np.arange(1200) % 4 == 0, np.nan, np.arange(1200.0))
    pool = pool_of(values)
    goal = Goal(pool, pool, Budget(1200, "records"))
    plan = InfluenceCurriculum(segment=90).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    rows, _ = plan.reading_order(Run())
    share = (rows % 4 == 0).reshape(6, 200).mean(1)
    assert share == pytest.approx([0.25] * 6, abs=0.09)
    assert "300 without" in plan.decisions[-1].note


def test_what_is_no_curriculum_is_told() -> None:
    pool = pool_of(dealt(100))
    goal = Goal(pool, pool, Budget(50, "records"))
    plan = InfluenceCurriculum().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert "random order" in plan.decisions[-1].warnings[0]
    assert "more than its budget" in plan.decisions[-1].warnings[1]
    empty = pool_of([None, None])
    with pytest.raises(DataError, match="Score it first"):
        InfluenceCurriculum().revise(Plan.everything(empty, goal.budget), empty, goal, Run())
