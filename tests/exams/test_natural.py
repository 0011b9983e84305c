from __future__ import annotations

import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.policies.mix.natural import Natural

SOURCES = ["a"] * 100 + ["b"] * 300
POOL = TablePool(pa.table({"text": ["t"] * 400, "source": SOURCES, "lang": ["de", "en"] * 200}))


def test_shares_are_those_of_what_is_in_exactly() -> None:
    goal = Goal(POOL, POOL, Budget(80, "records"))
    start = Plan.everything(POOL, goal.budget)
    for seed in range(5):
        assert Natural().revise(start, POOL, goal, Run(seed=seed)).mixture() == {"a": 0.25, "b": 0.75}
    half = start.revised({"use": "t"}, "half of b", keep=[i < 200 for i in range(400)])
    assert Natural().revise(half, POOL, goal, Run()).mixture() == {"a": 0.5, "b": 0.5}


def test_any_column_can_be_the_source() -> None:
    goal = Goal(POOL, POOL, Budget(80, "records"))
    plan = Natural(by="lang").revise(Plan.everything(POOL, goal.budget), POOL, goal, Run())
    assert plan.requested == pytest.approx({"de": 0.5, "en": 0.5})
    assert plan.by == "lang"
    assert plan.amount == 80
