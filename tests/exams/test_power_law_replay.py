"""PowerLawReplay: what each phase replays, to the record, at one budget whatever the kernel; and what it refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import chisquare

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.policies.order.power_law_replay import Kernel, PowerLawReplay, replay_weights

TASKS, EACH = 10, 400
KERNELS: tuple[Kernel, ...] = ("power", "exponential", "uniform")


def pool_of(each: int = EACH, tasks: int = TASKS) -> TablePool:
    names = [f"t{i % tasks}" for i in range(each * tasks)]
    return TablePool(pa.table({"id": [f"r{i}" for i in range(len(names))], "text": ["x"] * len(names), "task": names}))


def planned(policy: PowerLawReplay, budget: int = 10**6, each: int = EACH) -> tuple[Plan, np.ndarray, np.ndarray]:
    """The plan, each record's task, and how often each phase reads each task."""
    pool = pool_of(each)
    goal = Goal(pool, pool, Budget(budget, "records"))
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=3))
    task = np.array([int(name[1:]) for name in pool.column("task").to_pylist()])
    read = np.zeros((TASKS, TASKS), int)
    np.add.at(read, (plan.phase[plan.kept], task[plan.kept]), plan.repeats[plan.kept])
    return plan, task, read


def policy(**fields: Any) -> PowerLawReplay:
    return PowerLawReplay(by="task", buffer=0.2, **fields)


@pytest.mark.parametrize("kernel", KERNELS)
def test_the_histogram_of_replay_is_the_kernels(kernel: Kernel) -> None:
    plan, task, read = planned(policy(kernel=kernel, exponent=1.0, tau=1.0))
    assert (plan.phase[plan.kept] >= task[plan.kept]).all(), "nothing is replayed before it was learned"
    last = read[TASKS - 1, : TASKS - 1]
    ages = TASKS - 1 - np.arange(TASKS - 1)
    shapes = {"power": 1 / ages, "exponential": np.exp(-ages), "uniform": np.ones(TASKS - 1)}
    for name, shape in shapes.items():
        p = chisquare(last, last.sum() * shape / shape.sum()).pvalue
        assert p > 0.9 if name == kernel else p < 0.05, (name, p)
    every = np.array([read[k, :k].sum() for k in range(1, TASKS)])
    own = np.array([read[k, k] for k in range(1, TASKS)])
    assert every / (every + own) == pytest.approx(0.2, abs=0.01)
    whole = read.sum(0)
    wanted = replay_weights(TASKS, kernel, 1.0, 1.0)[1:] * (0.25 * own[:, None])
    assert (whole - np.diag(read)) == pytest.approx(wanted.sum(0), rel=0.05, abs=5)


def test_a_budget_that_binds_is_met_by_every_kernel() -> None:
    for kernel in (*KERNELS, "none"):
        assert planned(policy(kernel=kernel), budget=3000)[0].amount == pytest.approx(3000, rel=0.005)
    plan, _, read = planned(policy(kernel="none"))
    assert (read == np.diag(np.full(TASKS, EACH))).all(), "sequential training on everything"
    assert (plan.repeats == 1).all()


def test_replayed_records_are_others_than_those_read_before() -> None:
    """A record has one phase; those of the buffer are read in later ones alone, and no more often than the cap."""
    plan, task, read = planned(policy(cap=3, replay=0.4))
    own = (plan.phase == task) & plan.kept
    assert (plan.repeats[own] == 1).all()
    assert plan.repeats.max() <= 3
    pool = pool_of()
    goal = Goal(pool, pool, Budget(10**6, "records"))
    limited = policy(replay=0.4).revise(Plan.everything(pool, goal.budget, Limits(repeats=2)), pool, goal, Run())
    assert limited.repeats.max() == 2
    back = np.array([(~own & (task == j)).sum() for j in range(TASKS)])
    assert (back[:-2] <= 0.2 * EACH + 1).all()
    assert back[-1] == 0, "nothing of the last task is held back"
    assert "too little was held back" in plan.decisions[-1].warnings[0]
    assert not planned(policy())[0].decisions[-1].warnings
    assert read[:, 0].sum() > EACH * 0.8


def test_a_small_budget_costs_every_task_the_same() -> None:
    plan, task, _ = planned(policy(), budget=1500)
    assert plan.amount == pytest.approx(1500, rel=0.005)
    whole = np.array([plan.kept[task == j].sum() for j in range(TASKS)])
    assert whole == pytest.approx(whole[0], abs=1)
    assert whole[0] < EACH / 2
    order, _ = plan.reading_order(Run())
    assert task[order[:100]].max() == 0
    assert plan.decisions[-1].reason == "there was no room in the budget"


def test_the_opposite_meets_the_oldest_most_and_tasks_have_the_order_given() -> None:
    _, _, read = planned(policy().worst())
    last = read[TASKS - 1, : TASKS - 1]
    assert (np.diff(last) <= 1).all()
    assert last[0] > 3 * last[-1]
    assert policy(kernel="uniform").worst() == policy(kernel="uniform")
    turned = tuple(f"t{j}" for j in reversed(range(TASKS)))
    plan, task, _ = planned(policy(tasks=turned))
    assert (task[plan.reading_order(Run())[0][:100]] == TASKS - 1).all()
    details = plan.decisions[-1].details["phases"]
    assert details[0] == pytest.approx({name: float(name == "t9") for name in turned})
    assert details[1]["t9"] == pytest.approx(0.2, abs=0.02)


def test_weights() -> None:
    power = replay_weights(4, "power", 2.0)
    assert power[3] == pytest.approx(np.array([1 / 9, 1 / 4, 1, 0]) / (1 / 9 + 1 / 4 + 1))
    assert (power[0] == 0).all()
    assert replay_weights(4, "exponential", tau=1e-4)[3].tolist() == [0, 0, 1, 0]
    assert replay_weights(4, "uniform")[3] == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])
    assert not replay_weights(4, "none").any()
    assert replay_weights(4, "power", 1.0, reverse=True)[3, :3] == pytest.approx(replay_weights(4, "power")[3, 2::-1])


def test_says_what_is_wrong() -> None:
    pool = pool_of()
    goal = Goal(pool, pool, Budget(1000, "records"))
    start = Plan.everything(pool, goal.budget)
    with pytest.raises(UsageError, match="no record of the plan has 'maths'"):
        policy(tasks=("maths",)).revise(start, pool, goal, Run())
    with pytest.raises(UsageError, match="'t2' in task is none of its tasks"):
        policy(tasks=("t0", "t1")).revise(start, pool, goal, Run())
    without = start.revised({"use": "test"}, "dropped", keep=np.array(pool.column("task").to_pylist()) != "t3")
    plan = policy().revise(without, pool, goal, Run())
    assert plan.phase[plan.kept].max() == TASKS - 2
    with pytest.raises(UsageError, match="no record of the plan has 't3'"):
        policy(tasks=tuple(f"t{j}" for j in range(TASKS))).revise(without, pool, goal, Run())
    many = pool_of(1, 600)
    with pytest.raises(UsageError, match="600 values of task would be as many phases"):
        policy().revise(Plan.everything(many, goal.budget), many, goal, Run())
    one = pool_of(50, 1)
    plan = policy().revise(Plan.everything(one, goal.budget), one, goal, Run())
    assert plan.phase.max() == 0
    assert plan.amount == 50
