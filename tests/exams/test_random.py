from __future__ import annotations

import numpy as np
import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.policies.mix.random import Random

POOL = TablePool(pa.table({"text": [f"t{i}" for i in range(300)], "source": ["a"] * 100 + ["b"] * 200}))
GOAL = Goal(POOL, POOL, Budget(60, "records"))


def test_every_record_has_the_same_chance() -> None:
    start = Plan.everything(POOL, GOAL.budget)
    times = np.zeros(300)
    for seed in range(400):
        times += Random().revise(start, POOL, GOAL, Run(seed=seed)).kept
    expected = 400 * 60 / 300
    spread = np.sqrt(400 * 0.2 * 0.8)
    assert abs(times.mean() - expected) < 1e-9
    assert 0.85 < times.std() / spread < 1.15  # as independent draws scatter
    assert abs(times[:100].mean() - times[100:].mean()) < 4 * spread * np.sqrt(1 / 100 + 1 / 200)


def test_budgets_beyond_the_pool_repeat_whole_records() -> None:
    budget = Budget(700, "records")
    plan = Random(cap=3).revise(Plan.everything(POOL, budget), POOL, Goal(POOL, POOL, budget), Run())
    assert plan.amount == 700
    assert set(plan.repeats.tolist()) == {2, 3}
    assert plan.requested == {}  # it asks for no mixture
