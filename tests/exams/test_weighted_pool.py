"""WeightedPool in a simulated experiment: an arm's mean loss from pooled logs, without bias and with less variance."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError, UsageError
from tilth.policies.select.weighted_pool import WeightedPool

POLICY = WeightedPool(toward="t", arm="arm", features=("x", "y"))


def logs(seed: int, n: int = 1000) -> tuple[TablePool, Goal]:
    """Two recommenders show different items and get different answers to the same ones; both are logged."""
    rng = np.random.Generator(np.random.PCG64(seed))
    arm = rng.random(n) < 0.5
    x = rng.normal(0, 1, n) + np.where(arm, 0.4, -0.4)
    y = x + rng.normal(0, 1, n) + np.where(arm, 0.3, -0.3)
    pool = TablePool(pa.table({"text": ["x"] * n, "arm": np.where(arm, "t", "c"), "x": x, "y": y}))
    return pool, Goal(pool, pool, Budget(n // 2, "records"))


def loss(pool: TablePool) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """What some model pays for each record."""
    x, y = pool.column("x").to_numpy(), pool.column("y").to_numpy()
    return np.asarray((y - 0.5 * x - 0.5) ** 2)


def test_no_bias_and_less_variance_than_splitting() -> None:
    rows = []
    for seed in range(40):
        pool, goal = logs(seed)
        plan = POLICY.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))
        paid, weight = loss(pool), plan.values["0.weight"].astype(float)
        treated = np.array(pool.column("arm").to_pylist()) == "t"
        short = POLICY.model_copy(update={"features": ("x",)})
        partial = short.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))
        incomplete = partial.values["0.weight"].astype(float)
        rows.append(
            [
                weight @ paid / weight.sum(),
                paid[treated].mean(),
                paid.mean(),
                incomplete @ paid / incomplete.sum(),
                plan.repeats @ paid / plan.repeats.sum(),
            ]
        )
    # in the treatment arm y - x / 2 - 1 / 2 = x / 2 + noise - 0.2, with x ~ N(0.4, 1): mean 0, mean square 0.25 + 1
    truth = 1.25
    mean, spread = np.mean(rows, 0), np.std(rows, 0, ddof=1)
    error = spread / np.sqrt(40)
    assert abs(mean[0] - truth) < 2.5 * error[0]
    assert abs(mean[4] - truth) < 3 * error[4]  # and so does the plan drawn from the weights
    assert mean[2] - truth > 0.3, "pooled without weights is biased"
    assert mean[3] - truth > 5 * error[3], "and so is what leaves the outcome out"
    assert spread[0] < spread[1], "less variance than the arm's own records alone"
    pool, goal = logs(0)
    told = POLICY.revise(Plan.everything(pool, goal.budget), pool, goal, Run()).decisions[0].details
    assert abs(told["mean_weight"] - 1) < 0.02
    assert told["effective_share"] > 0.5


@pytest.mark.parametrize("model", ["logistic", "trees"])
def test_the_shift_is_undone_and_worst_looks_like_the_other_arm(model: str) -> None:
    pool, goal = logs(1, 6000)
    arm, start = np.array(pool.column("arm").to_pylist()), Plan.everything(pool, goal.budget)
    policy = POLICY.model_copy(update={"model": model})
    for chosen, name in ((policy, "t"), (policy.worst(), "c")):
        plan = chosen.revise(start, pool, goal, Run())
        for column in ("x", "y"):
            values = pool.column(column).to_numpy()
            assert plan.repeats @ values / plan.amount == pytest.approx(values[arm == name].mean(), abs=0.08)
        assert ((plan.repeats > 0) & (arm != name)).sum() > 300, "the other arm's records are used"
        assert plan.repeats.max() <= 4


def test_what_is_left_out_stays_shifted() -> None:
    """The trap: without the outcome the weights know nothing of how the arms differ in it."""
    pool, goal = logs(2, 6000)
    arm, y = np.array(pool.column("arm").to_pylist()), pool.column("y").to_numpy()
    start = Plan.everything(pool, goal.budget)
    gap = {}
    for features in (("x",), ("x", "y")):
        plan = POLICY.model_copy(update={"features": features}).revise(start, pool, goal, Run())
        gap[features] = abs(plan.repeats @ y / plan.amount - y[arm == "t"].mean())
    assert gap[("x",)] > 0.15 > 0.08 > gap[("x", "y")]


def test_says_what_is_wrong() -> None:
    pool, goal = logs(3, 300)
    start = Plan.everything(pool, goal.budget)
    with pytest.raises(UsageError, match="it has c, t"):
        POLICY.model_copy(update={"toward": "b"}).revise(start, pool, goal, Run())
    with pytest.raises(UsageError, match="cannot be among the features"):
        POLICY.model_copy(update={"features": ("x", "arm")}).revise(start, pool, goal, Run())
    given = pool.with_column("copy", pool.column("arm"))
    told = POLICY.model_copy(update={"features": ("copy",)}).revise(start, given, goal, Run()).decisions[0]
    assert any("all but say which" in warning for warning in told.warnings)
    alone = pool.with_column("arm", pa.array(["t"] * 300))
    with pytest.raises(DataError, match="The plan has 300 and 0"):
        POLICY.revise(start, alone, goal, Run())
