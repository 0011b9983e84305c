"""Dmt: which records are read when, and what a reminder does for a skill in a small transformer."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.policies.mix.dmt import Dmt
from tilth.proofs.tiny_lm import TinyLm


def pool_of(seed: int, n: int = 1200) -> tuple[TablePool, dict[str, TablePool]]:
    """Three sources over the same words, each with its own rule for the next; and texts of each to be judged by."""
    rng = np.random.Generator(np.random.PCG64(seed))
    kinds = ["general", "sums", "general", "brackets"] * (n // 4)
    follow = {kind: rng.integers(0, 60, (60, 2)) for kind in ("general", "sums", "brackets")}

    def text(kind: str) -> str:
        words = [int(rng.integers(0, 60))]
        for _ in range(29):
            words.append(int(follow[kind][words[-1], rng.integers(0, 2)]))
        return f"{kind}: " + " ".join(f"w{word}" for word in words)

    tokens = pa.StructArray.from_arrays([pa.array([30] * n)], ["count"])
    pool = TablePool(pa.table({"text": [text(k) for k in kinds], "source": kinds, "tokens": tokens}))
    return pool, {k: TablePool(pa.table({"text": [text(k) for _ in range(25)]})) for k in follow}


POLICY = Dmt(skills=("sums", "brackets"))


def test_skills_first_and_a_part_of_each_held_back() -> None:
    pool, sides = pool_of(0)
    goal = Goal(sides["sums"], sides["sums"], Budget(36_000))
    start = Plan.everything(pool, goal.budget)
    plan = POLICY.revise(start, pool, goal, Run())
    source = np.array(pool.column("source").to_pylist())
    assert (plan.repeats == 1).all(), "no record is read twice"
    assert (plan.phase[source == "general"] == 1).all()
    for skill in POLICY.skills:
        assert (plan.phase[source == skill] == 1).sum() == pytest.approx(300 / 16, abs=1)
    back = POLICY.worst().revise(start, pool, goal, Run())
    assert (back.phase[source == "general"] == 0).all()
    none = POLICY.model_copy(update={"reminder": 0.0}).revise(start, pool, goal, Run())
    assert (none.phase == (source == "general")).all(), "the sequential baseline"


def test_a_stated_share_and_limits() -> None:
    pool, sides = pool_of(0)
    goal = Goal(sides["sums"], sides["sums"], Budget(12_000))
    start = Plan.everything(pool, goal.budget)
    plan = POLICY.model_copy(update={"share": 0.2}).revise(start, pool, goal, Run())
    assert plan.mixture()["general"] == pytest.approx(0.8, abs=0.01)
    assert plan.amount == pytest.approx(12_000, abs=30)
    held = Plan.everything(pool, goal.budget, Limits(ceiling={"sums": 0.1}))
    limited = POLICY.revise(held, pool, goal, Run())
    assert limited.mixture()["sums"] <= 0.1 + 1e-3


def test_a_reminder_keeps_the_skills_and_costs_the_general_source_little() -> None:
    proof = TinyLm(depth=1, tokens=36_000, vocab=300, context=64, points=1)
    losses: dict[tuple[str, str], list[float]] = {}
    for seed in range(3):
        pool, sides = pool_of(seed)
        for side, held in sides.items():
            goal = Goal(held, held, Budget(36_000))
            start = Plan.everything(pool, goal.budget)
            for name, part in (("dmt", 1 / 16), ("sequential", 0.0)):
                plan = POLICY.model_copy(update={"reminder": part}).revise(start, pool, goal, Run(seed=seed))
                kind = "general" if side == "general" else "skill"
                losses.setdefault((name, kind), []).append(proof.trial(plan, pool, goal, Run(seed=seed)).mean())
    mean = {key: float(np.mean(values)) for key, values in losses.items()}
    saved = mean["sequential", "skill"] - mean["dmt", "skill"]
    assert saved > 0
    assert mean["dmt", "general"] - mean["sequential", "general"] < saved / 4


def test_says_what_is_wrong() -> None:
    pool, sides = pool_of(0)
    goal = Goal(sides["sums"], sides["sums"], Budget(12_000))
    start = Plan.everything(pool, goal.budget)
    with pytest.raises(UsageError, match="no record has 'maths' in source"):
        Dmt(skills=("maths",)).revise(start, pool, goal, Run())
    with pytest.raises(UsageError, match="the plan has but one"):
        Dmt(skills=("general", "sums", "brackets")).revise(start, pool, goal, Run())
