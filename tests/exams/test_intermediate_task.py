"""IntermediateTask: all of the target after the rest, within the budget, and what a classifier makes of the order."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.policies.order.intermediate_task import IntermediateTask
from tilth.proofs.classify import Classify


def pool_of(many: int, few: int) -> TablePool:
    return TablePool(pa.table({"text": ["x"] * (many + few), "source": ["many"] * many + ["few"] * few}))


def planned(pool: TablePool, budget: int, policy: IntermediateTask, limits: Limits | None = None) -> Plan:
    goal = Goal(pool, pool, Budget(budget, "records"))
    return policy.revise(Plan.everything(pool, goal.budget, limits), pool, goal, Run())


POLICY = IntermediateTask(target=("few",), epochs=3)


def test_the_target_is_read_whole_and_last() -> None:
    pool = pool_of(900, 100)
    plan = planned(pool, 800, POLICY)
    few = np.array(pool.column("source").to_pylist()) == "few"
    assert set(plan.repeats[few].tolist()) == {3}
    assert plan.repeats[~few].sum() == 500
    assert plan.repeats[~few].max() == 1
    assert plan.amount == 800
    rows, _ = plan.reading_order(Run())
    assert few[rows].tolist() == [False] * 500 + [True] * 300
    turned = planned(pool, 800, POLICY.worst())
    assert turned.repeats.tolist() == plan.repeats.tolist()
    assert few[turned.reading_order(Run())[0]].tolist() == [True] * 300 + [False] * 500
    assert planned(pool, 5000, POLICY).amount == 900 + 300, "the intermediate task is read once"
    assert planned(pool_of(100, 300), 1000, POLICY).amount == 1000, "what the others cannot fill the target may"


def test_a_target_that_is_not_scarce_is_told() -> None:
    pool = pool_of(900, 100)
    few = np.array(pool.column("source").to_pylist()) == "few"
    less = planned(pool, 450, POLICY)
    assert set(less.repeats[few].tolist()) == {2}
    assert less.amount == 450
    assert "take more than 50% of the budget in 3 readings" in less.decisions[0].warnings[0]
    least = planned(pool, 100, POLICY)
    assert (least.repeats[few].sum(), least.repeats[~few].sum()) == (50, 50)
    held = planned(pool, 800, POLICY, Limits(repeats=2))
    assert set(held.repeats[few].tolist()) == {2}
    assert not planned(pool, 800, POLICY).decisions[0].warnings


def test_what_a_classifier_was_told_last_is_what_it_says() -> None:
    """Both tasks have the same texts and opposite labels: the order alone decides."""
    pytest.importorskip("torch")
    rng = np.random.Generator(np.random.PCG64(0))

    def texts(count: int) -> tuple[list[str], list[str]]:
        side = rng.integers(0, 2, count)
        words = [" ".join(f"{'ab'[s]}{i}" for i in rng.integers(0, 8, 6)) for s in side]
        return words, ["yes" if s else "no" for s in side]

    many, few, held = texts(200), texts(60), texts(80)
    turned = [{"yes": "no", "no": "yes"}[label] for label in many[1]]
    table = {"text": many[0] + few[0], "label": turned + few[1], "source": ["many"] * 200 + ["few"] * 60}
    pool = TablePool(pa.table(table), "labeled")
    holdout = TablePool(pa.table({"text": held[0], "label": held[1]}), "labeled")
    goal = Goal(holdout, holdout, Budget(380, "records"))
    start = Plan.everything(pool, goal.budget)
    proof = Classify(model="transformer", depth=1, vocab=300, context=48, batch=16, passes=6)
    last, first, mixed = (
        proof.trial(plan, pool, goal, Run()).mean()
        for plan in (POLICY.revise(start, pool, goal, Run()), POLICY.worst().revise(start, pool, goal, Run()), start)
    )
    assert last < 0.4 < np.log(2)
    assert first > 1.0
    assert mixed > last + 0.2


def test_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="two_phase, which keeps them"):
        planned(pool_of(9, 9), 9, POLICY, Limits(ceiling={"few": 0.1}))
    with pytest.raises(UsageError, match="no record has 'none' in source"):
        planned(pool_of(9, 9), 9, IntermediateTask(target=("none",)))
    with pytest.raises(UsageError, match="the plan has but one"):
        planned(pool_of(9, 9), 9, IntermediateTask(target=("few", "many")))
