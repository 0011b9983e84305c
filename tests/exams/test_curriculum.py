"""Curriculum: the limit is never broken, draws below it are uniform, and easy records stay to the end."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import kstest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.models.batches import reading_order
from tilth.models.pacing import Pacing
from tilth.policies.order.curriculum import Curriculum

Ints = npt.NDArray[np.int64]
SHAPES = ("linear", "root", "exp", "log", "quad", "step")


def pool_of(n: int, seed: int = 0, **columns: Any) -> TablePool:
    """Difficulties are 0 to n - 1, dealt at random: a record's percentile is (difficulty + 1) / n."""
    rng = np.random.Generator(np.random.PCG64(seed))
    return TablePool(pa.table({"text": ["x"] * n, "hard": rng.permutation(n).astype(float), **columns}))


def read(policy: Curriculum, pool: TablePool, budget: int, seed: int = 0) -> tuple[Plan, Ints]:
    """The plan, and the difficulties in the order of reading."""
    goal = Goal(pool, pool, Budget(budget, "records"))
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))
    rows, _ = plan.reading_order(Run(seed=seed))
    again = reading_order(plan.repeats, Run(seed=seed).rng("order"), plan.phase, plan.rank)
    assert rows.tolist() == again.tolist(), "both ways of reading a plan agree"
    return plan, pool.column("hard").to_numpy()[rows].astype(np.int64)


@pytest.mark.parametrize("shape", SHAPES)
def test_the_limit_holds_and_draws_below_it_are_uniform(shape: Any) -> None:
    n, budget = 60_000, 1500
    plan, hard = read(Curriculum(by="hard", pacing=shape), pool_of(n), budget)
    assert hard.size == budget
    assert np.unique(hard).size == budget, "nothing is read twice"
    limit = Pacing(shape).limit(np.arange(budget) / budget)
    percentile = (hard + 1) / n
    assert (percentile <= limit + 1e-12).all()
    within = percentile / limit
    for part in np.split(within, 3):  # uniform below the limit, early, in the middle and late
        assert kstest(part, "uniform").pvalue > 1e-3
    assert not plan.decisions[-1].warnings


def test_sorting_is_told_from_it() -> None:
    """The wrong way, sorting, has no easy record late; draws have as many as a uniform draw would."""
    pool = pool_of(20_000)
    share = {}
    for pacing in ("linear", "sort"):
        _, hard = read(Curriculum(by="hard", pacing=pacing), pool, 2000)
        share[pacing] = (hard[-200:] < 5000).mean()
    assert share["linear"] > 0.15
    assert share["sort"] == 0


def test_a_plan_no_larger_than_the_budget_loses_nothing_and_warns() -> None:
    plan, hard = read(Curriculum(by="hard"), pool_of(2000), 2000)
    assert sorted(hard.tolist()) == list(range(2000))
    assert (hard + 1 <= Pacing().limit(np.arange(2000) / 2000) * 2000 + 1e-6).all()
    assert "easy records ran out" in plan.decisions[-1].warnings[0]
    slow, _ = read(Curriculum(by="hard", pacing="quad"), pool_of(2000), 2000)
    assert any("before the pacing released" in w for w in slow.decisions[-1].warnings)
    assert slow.decisions[-1].details["early"] > 500


def test_sorting_is_exact_in_every_direction() -> None:
    pool = pool_of(301)
    _, up = read(Curriculum(by="hard", pacing="sort"), pool, 301)
    assert up.tolist() == list(range(301))
    _, down = read(Curriculum(by="hard", pacing="sort").worst(), pool, 301)
    assert down.tolist() == list(range(301))[::-1]
    _, mixed = read(Curriculum(by="hard", pacing="sort", direction="mixed"), pool, 301)
    assert mixed[:4].tolist() == [0, 300, 1, 299]
    assert mixed[-1] == 150
    _, cut = read(Curriculum(by="hard", pacing="sort"), pool, 100)
    assert (np.diff(cut) > 0).all()
    assert cut.mean() == pytest.approx(150, abs=30), "what does not fit is left out by lot, not by difficulty"


def test_sizes_count_and_records_without_a_value_are_spread() -> None:
    n = 900
    sizes = np.random.Generator(np.random.PCG64(1)).integers(0, 200, n)
    hard = [None if i % 3 == 0 else float(i) for i in range(n)]
    tokens = pa.StructArray.from_arrays([pa.array(sizes)], ["count"])
    pool = TablePool(pa.table({"text": ["x"] * n, "hard": pa.array(hard, pa.float64()), "tokens": tokens}))
    for budget in (int(sizes.sum()), int(sizes.sum()) // 4):
        goal = Goal(pool, pool, Budget(budget))
        plan = Curriculum(by="hard").revise(Plan.everything(pool, goal.budget), pool, goal, Run())
        assert plan.amount == pytest.approx(budget, abs=200)
        assert plan.kept.all() == (budget == sizes.sum())
        rows, _ = plan.reading_order(Run())
        places = np.flatnonzero(rows % 3 == 0) / rows.size
        assert kstest(places, "uniform").pvalue > 1e-3
        amount = np.cumsum(sizes[rows]) / sizes[rows].sum()
        known = rows % 3 != 0
        order = np.sort([i for i in range(n) if i % 3])
        percentile = (np.searchsorted(order, rows[known]) + 1) / order.size
        assert (percentile <= Pacing().limit(amount[known]) + 0.06).all(), "progress is by tokens"


def test_phases_stay_and_repeats_warn() -> None:
    pool = pool_of(400)
    goal = Goal(pool, pool, Budget(400, "records"))
    start = Plan.everything(pool, goal.budget)
    phase = np.arange(400) % 2
    start = start.revised({"use": "test"}, "two phases", phase=phase, repeats=np.ones(400) + (np.arange(400) < 20))
    plan = Curriculum(by="hard", pacing="sort").revise(start, pool, goal, Run())
    assert plan.phase.tolist() == phase.tolist()
    rows, _ = plan.reading_order(Run())
    hard = pool.column("hard").to_numpy()
    for number in (0, 1):
        mine = rows[plan.phase[rows] == number]
        assert (np.diff(hard[mine]) >= 0).all()
    assert "several times" in plan.decisions[-1].warnings[0]


def test_ties_go_by_lot_and_an_empty_column_is_an_error() -> None:
    pool = pool_of(200, same=pa.array([1.0] * 200), none=pa.nulls(200, pa.float64()))
    goal = Goal(pool, pool, Budget(200, "records"))
    start = Plan.everything(pool, goal.budget)
    one, two = (Curriculum(by="same").revise(start, pool, goal, Run(seed=s)).rank for s in (0, 1))
    assert abs(np.corrcoef(one, two)[0, 1]) < 0.2
    with pytest.raises(DataError, match="Score the column first"):
        Curriculum(by="none").revise(start, pool, goal, Run())
    with pytest.raises(ValueError, match="must be below end"):
        Curriculum(by="hard", start=0.5, end=0.5)
