"""TwoPhase: shares of each phase to the record, limits kept, and what the order does to a small transformer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.policies.mix.two_phase import TwoPhase
from tilth.proofs.tiny_lm import TinyLm


def pool_of(seed: int, n: int = 900) -> tuple[TablePool, dict[str, TablePool]]:
    """Prose is a chain of words, code another chain over some of the same words; and texts of each to be judged by."""
    rng = np.random.Generator(np.random.PCG64(seed))
    follow = {"prose": rng.integers(0, 60, (60, 3)), "code": rng.integers(0, 60, (60, 3))}
    names = {"prose": [f"w{i}" for i in range(60)], "code": [f"w{i}" if i < 30 else f"c{i}" for i in range(60)]}

    def text(kind: str) -> str:
        words = [int(rng.integers(0, 60))]
        for _ in range(29):
            words.append(int(follow[kind][words[-1], rng.integers(0, 3)]))
        return " ".join(names[kind][w] for w in words)

    kinds = ["prose", "code"] * (n // 2)
    tokens = pa.StructArray.from_arrays([pa.array([30] * n)], ["count"])
    pool = TablePool(pa.table({"text": [text(k) for k in kinds], "source": kinds, "tokens": tokens}))
    return pool, {k: TablePool(pa.table({"text": [text(k) for _ in range(25)]})) for k in ("prose", "code")}


POLICY = TwoPhase(late=("code",), before=0.1, after=0.7, turn=0.5)


def test_phases_have_their_shares_and_limits_hold() -> None:
    pool, sides = pool_of(0)
    goal = Goal(sides["code"], sides["code"], Budget(12_000))
    start = Plan.everything(pool, goal.budget)
    plan = POLICY.revise(start, pool, goal, Run())
    code = np.array(pool.column("source").to_pylist()) == "code"
    for phase, share in ((0, 0.1), (1, 0.7)):
        read = plan.repeats * (plan.phase == phase)
        assert read.sum() == pytest.approx(200, abs=2)
        assert read[code].sum() / read.sum() == pytest.approx(share, abs=0.01)
    assert plan.decisions[-1].details["phases"][1]["code"] == pytest.approx(0.7, abs=0.01)
    held = Plan.everything(pool, goal.budget, Limits(ceiling={"code": 0.2}))
    limited = POLICY.revise(held, pool, goal, Run())
    assert limited.mixture()["code"] <= 0.2 + 1e-3
    assert limited.decisions[-1].warnings, "a phase that has less than asked is told"
    back = POLICY.worst().revise(start, pool, goal, Run())
    assert back.repeats.tolist() == plan.repeats.tolist()
    assert (back.repeats * (back.phase == 0))[code].sum() == pytest.approx(140, abs=3)


def test_a_scarce_source_is_repeated_in_the_joint_phase_only() -> None:
    kinds = ["high"] * 990 + ["low"] * 10
    pool = TablePool(pa.table({"text": ["x"] * 1000, "source": kinds}))
    goal = Goal(pool, pool, Budget(400, "records"))
    policy = TwoPhase(late=("low",), before=0.0, after=0.2, turn=0.5)
    plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    low = np.array(kinds) == "low"
    assert (plan.phase[low] == 1).all()
    assert plan.repeats[low].tolist() == [4] * 10
    wide = policy.model_copy(update={"cap": 10.0}).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert wide.repeats[low].sum() == 40


def test_what_comes_last_is_known_best() -> None:
    """Equal tokens of each source: code is known better where it came late, and prose where code came first."""
    proof = TinyLm(depth=1, tokens=24_000, vocab=300, context=64, points=1)
    policy = POLICY.model_copy(update={"after": 0.9})
    losses: dict[tuple[str, str], list[float]] = {}
    for seed in range(2):
        pool, sides = pool_of(seed)
        for side, held in sides.items():
            goal = Goal(held, held, Budget(24_000))
            start = Plan.everything(pool, goal.budget)
            plan = policy.revise(start, pool, goal, Run())
            plans = {"two": plan, "reversed": policy.worst().revise(start, pool, goal, Run())}
            for name, made in plans.items():
                losses.setdefault((name, side), []).append(proof.trial(made, pool, goal, Run(seed=seed)).mean())
    mean = {key: float(np.mean(values)) for key, values in losses.items()}
    assert mean["two", "code"] < mean["reversed", "code"]
    assert mean["two", "prose"] > mean["reversed", "prose"]


def test_says_what_is_wrong() -> None:
    pool, sides = pool_of(0)
    goal = Goal(sides["code"], sides["code"], Budget(12_000))
    start = Plan.everything(pool, goal.budget)
    with pytest.raises(UsageError, match="no record has 'maths' in source"):
        TwoPhase(late=("maths",)).revise(start, pool, goal, Run())
    with pytest.raises(UsageError, match="the plan has but one"):
        TwoPhase(late=("code", "prose")).revise(start, pool, goal, Run())
