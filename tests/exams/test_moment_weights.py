"""MomentWeights on a skewed pool with a nuisance topic: margins as asked, everything else as it was."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import chi2_contingency

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError, UsageError
from tilth.policies.select.moment_weights import MomentWeights


def skewed(seed: int, n: int = 20_000) -> tuple[TablePool, Goal, dict[str, npt.NDArray[np.int64]]]:
    """85/15 in one attribute, another that goes with it, and a topic that goes with both."""
    rng = np.random.Generator(np.random.PCG64(seed))
    a = rng.random(n) < 0.15
    b = rng.random(n) < np.where(a, 0.6, 0.2)
    topic = (rng.integers(0, 4, n) + a + b) % 5
    columns = {"a": a.astype(np.int64), "b": b.astype(np.int64), "topic": topic}
    pool = TablePool(pa.table({"text": ["x"] * n, **columns}))
    return pool, Goal(pool, pool, Budget(4000, "records")), columns


@pytest.mark.parametrize("seed", range(3))
def test_margins_are_met_and_the_rest_is_left_alone(seed: int) -> None:
    pool, goal, was = skewed(seed)
    policy = MomentWeights(moments=("a = 0.5", "b:1 = 0.5"))
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))
    read = plan.repeats / plan.repeats.sum()
    assert abs(plan.amount - 4000) <= 1
    for name in "ab":
        assert read @ was[name] == pytest.approx(0.5, abs=0.01)
    for a in (0, 1):  # topics given the attributes are as they were
        for b in (0, 1):
            cell = (was["a"] == a) & (was["b"] == b)
            weights = (np.ones(len(cell)), plan.repeats)
            counts = np.array([np.bincount(was["topic"][cell], w[cell], 5) for w in weights])
            seen = counts[:, counts[0] > 0]
            assert chi2_contingency(seen).pvalue > 0.001
    told = plan.decisions[0].details
    quarter = sum(0.25 * np.log(0.25 / ((was["a"] == a) & (was["b"] == b)).mean()) for a in (0, 1) for b in (0, 1))
    assert told["kl"] < quarter, "nearer to the pool than equal numbers of all four cells"
    assert 0.2 < told["effective_share"] < 0.9


def test_worst_tilts_away() -> None:
    pool, goal, was = skewed(0)
    policy = MomentWeights(moments=("a = 0.3",))
    start = Plan.everything(pool, goal.budget)
    away = policy.worst().revise(start, pool, goal, Run())
    assert (away.repeats @ was["a"]) / away.amount < 0.1
    assert policy.worst().worst() == policy


def test_means_count_tokens_under_a_token_budget() -> None:
    rng = np.random.Generator(np.random.PCG64(1))
    size = rng.integers(5, 200, 3000)
    kind = np.where(rng.random(3000) < 0.2, "code", "prose")
    tokens = pa.StructArray.from_arrays([pa.array(size)], ["count"])
    pool = TablePool(pa.table({"text": ["x"] * 3000, "kind": kind, "tokens": tokens, "s": rng.normal(size=3000)}))
    goal = Goal(pool, pool, Budget(60_000))
    policy = MomentWeights(moments=("kind:code = 0.4", "s = 0.5"))
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    read = plan.repeats * size
    assert plan.amount == pytest.approx(60_000, rel=0.01)
    assert read[kind == "code"].sum() / read.sum() == pytest.approx(0.4, abs=0.01)
    assert read @ pool.column("s").to_numpy() / read.sum() == pytest.approx(0.5, abs=0.03)


def test_repeats_stay_below_the_cap() -> None:
    pool, _, was = skewed(2, 2000)  # 300 have the attribute; 4 times each they can be 1200
    wide = Goal(pool, pool, Budget(2000, "records"))
    plan = MomentWeights(moments=("a = 0.5",), cap=4).revise(Plan.everything(pool, wide.budget), pool, wide, Run())
    assert plan.repeats.max() <= 4
    assert (plan.repeats @ was["a"]) / plan.amount == pytest.approx(0.5, abs=0.01)
    with pytest.raises(UsageError, match="raise cap, lower the budget, or state slack"):
        MomentWeights(moments=("a = 0.9",)).revise(Plan.everything(pool, wide.budget), pool, wide, Run())


def test_the_target_says_the_mean() -> None:
    pool, goal, was = skewed(3, 5000)
    target = TablePool(pa.table({"text": ["t"] * 4, "a": [1, 1, 0, 0], "weight": [3.0, 1.0, 2.0, 2.0]}))
    goal = Goal(target, target, Budget(1000, "records"))
    plan = MomentWeights(moments=("a = target",)).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert (plan.repeats @ was["a"]) / plan.amount == pytest.approx(0.5, abs=0.01)
    with pytest.raises(UsageError, match="has no column b"):
        MomentWeights(moments=("b = target",)).revise(Plan.everything(pool, goal.budget), pool, goal, Run())


def test_says_what_is_wrong() -> None:
    pool, goal, _ = skewed(4, 100)
    start = Plan.everything(pool, goal.budget)
    for moments in (("a > 3",), ("a = x",), ("a = 0.1", "a = 0.2"), ()):
        with pytest.raises(BadField):
            MomentWeights(moments=moments)
    with pytest.raises(UsageError, match="no record has 'c' in topic"):
        MomentWeights(moments=("topic:c = 0.1",)).revise(start, pool, goal, Run())
    flat = pool.with_column("flat", pa.array([1.0] * 100))
    with pytest.raises(DataError, match="it is 1 for every record"):
        MomentWeights(moments=("flat = 0.5",)).revise(start, flat, goal, Run())
