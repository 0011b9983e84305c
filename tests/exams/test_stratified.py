from __future__ import annotations

import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.policies.mix.stratified import Stratified

POOL = TablePool(pa.table({"text": ["t"] * 410, "source": ["a"] * 10 + ["b"] * 100 + ["c"] * 300}))


def test_equal_shares_while_there_is_enough_and_capped_repeats_after() -> None:
    goal = Goal(POOL, POOL, Budget(30, "records"))
    assert Stratified().revise(Plan.everything(POOL, goal.budget), POOL, goal, Run()).mixture() == dict.fromkeys(
        "abc", 1 / 3
    )
    goal = Goal(POOL, POOL, Budget(240, "records"))
    plan = Stratified(cap=2).revise(Plan.everything(POOL, goal.budget), POOL, goal, Run())
    assert plan.amount == 240
    assert plan.epochs()["a"] == 2.0  # 20 of the 80 it was due; the other two share the rest
    assert plan.sources.sums(plan.repeats).tolist() == [20, 110, 110]


def test_emptied_sources_get_nothing() -> None:
    goal = Goal(POOL, POOL, Budget(50, "records"))
    start = Plan.everything(POOL, goal.budget).revised({"use": "t"}, "no a", keep=[False] * 10 + [True] * 400)
    assert Stratified().revise(start, POOL, goal, Run()).mixture() == {"a": 0.0, "b": 0.5, "c": 0.5}
