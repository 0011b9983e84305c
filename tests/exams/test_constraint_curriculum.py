"""ConstraintCurriculum: which records are read in which stage, replay to the record, nothing lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError
from tilth.policies.order.constraint_curriculum import ConstraintCurriculum


def pool_of(counts: Any, sizes: Any = None) -> TablePool:
    columns: dict[str, Any] = {"text": ["x"] * len(counts), "constraints": pa.array(counts, pa.float64())}
    if sizes is not None:
        columns["tokens"] = pa.StructArray.from_arrays([pa.array(sizes)], ["count"])
    return TablePool(pa.table(columns))


def stages(pool: TablePool, policy: ConstraintCurriculum, budget: Budget, start: Plan | None = None) -> Plan:
    goal = Goal(pool, pool, budget)
    return policy.revise(start or Plan.everything(pool, budget), pool, goal, Run())


COUNTS = np.random.Generator(np.random.PCG64(0)).integers(1, 6, 1000).astype(float)


def test_two_stages_with_replay() -> None:
    pool = pool_of(COUNTS)
    plan = stages(pool, ConstraintCurriculum(by="constraints", replay=0.2), Budget(1000, "records"))
    assert plan.kept.all()
    assert set(plan.phase[COUNTS > 3]) == {1}
    second = COUNTS[plan.phase == 1]
    assert (second <= 3).mean() == pytest.approx(0.2, abs=0.01)
    assert (COUNTS[plan.phase == 0] <= 3).all()
    replayed = COUNTS[(plan.phase == 1) & (COUNTS <= 3)]
    assert len({*replayed.tolist()}) == 3, "replay is by lot, not the hardest of the easy"
    rows, _ = plan.reading_order(Run())
    assert (np.diff(plan.phase[rows]) >= 0).all()
    none = stages(pool, ConstraintCurriculum(by="constraints", replay=0.0), Budget(1000, "records"))
    assert none.phase.tolist() == (COUNTS > 3).astype(int).tolist()


def test_more_stages_and_sizes() -> None:
    sizes = np.random.Generator(np.random.PCG64(1)).integers(1, 100, 1000)
    pool = pool_of(COUNTS, sizes)
    policy = ConstraintCurriculum(by="constraints", cuts=(1.0, 3.0, 4.0), replay=0.1)
    plan = stages(pool, policy, Budget(int(sizes.sum())))
    own = np.searchsorted([1.0, 3.0, 4.0], COUNTS)
    for stage in (1, 2, 3):
        mine = plan.phase == stage
        assert sizes[mine & (own < stage)].sum() / sizes[mine].sum() == pytest.approx(0.1, abs=0.01)
        assert (own[mine] <= stage).all()
        assert mine[own == stage].sum() == (own[mine] == stage).sum()
    assert plan.decisions[-1].details["stages"][3]["replay"] == pytest.approx(0.1, abs=0.01)
    assert not plan.decisions[-1].warnings


def test_the_other_way_round() -> None:
    pool = pool_of(COUNTS)
    plan = stages(pool, ConstraintCurriculum(by="constraints", replay=0.1).worst(), Budget(1000, "records"))
    assert (COUNTS[plan.phase == 0] > 3).all()
    assert (COUNTS[plan.phase == 1] > 3).mean() == pytest.approx(0.1, abs=0.01)


def test_phases_and_order_inside_are_kept() -> None:
    pool = pool_of(COUNTS)
    budget = Budget(1000, "records")
    first = np.arange(1000) % 2
    start = Plan.everything(pool, budget).revised({"use": "test"}, "", phase=first, rank=np.arange(1000) / 1000)
    plan = stages(pool, ConstraintCurriculum(by="constraints", replay=0.0), budget, start)
    assert plan.phase.tolist() == (first * 2 + (COUNTS > 3)).tolist()
    assert plan.rank.tolist() == start.rank.tolist()


def test_what_is_missing_is_told() -> None:
    pool = pool_of([1, None, 2, 1, 1, 2])
    plan = stages(pool, ConstraintCurriculum(by="constraints"), Budget(3, "records"))
    assert plan.phase[1] == 0
    assert "1 without constraints in the first stage" in plan.decisions[-1].note
    warnings = plan.decisions[-1].warnings
    assert "1 of 2 stages have no record" in warnings[0]
    assert "more than its budget" in warnings[-1]
    few = stages(pool_of([1.0] * 10 + [5.0] * 190), ConstraintCurriculum(by="constraints"), Budget(200, "records"))
    assert "too few are there" in few.decisions[-1].warnings[0]
    with pytest.raises(DataError, match="Score the column"):
        stages(pool_of([None]), ConstraintCurriculum(by="constraints"), Budget(1, "records"))
    with pytest.raises(BadField, match="above the one before"):
        ConstraintCurriculum(by="constraints", cuts=(3.0, 3.0))
