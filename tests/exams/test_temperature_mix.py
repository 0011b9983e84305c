from __future__ import annotations

import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.policies.mix.temperature_mix import TemperatureMix

POOL = TablePool(pa.table({"text": ["t"] * 1700, "source": ["a"] * 100 + ["b"] * 1600}))
GOAL = Goal(POOL, POOL, Budget(85, "records"))


@pytest.mark.parametrize(("temperature", "share"), [(1.0, 1 / 17), (2.0, 1 / 5), (4.0, 1 / 3), (1e6, 1 / 2)])
def test_closed_form(temperature: float, share: float) -> None:
    """100 and 1,600 records: 16:1 becomes 16^(1/T):1."""
    start = Plan.everything(POOL, GOAL.budget)
    plan = TemperatureMix(temperature=temperature).revise(start, POOL, GOAL, Run())
    assert plan.requested["a"] == pytest.approx(share, abs=1e-5)
    assert plan.mixture()["a"] == pytest.approx(share, abs=1 / 85)
