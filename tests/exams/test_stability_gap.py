"""StabilityGap: the best of a domain, as often as asked, beside the old mixture; on data whose quality is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError, UsageError
from tilth.policies.mix.stability_gap import StabilityGap
from tilth.proofs.tiny_lm import TinyLm

POLICY = StabilityGap(domain=("law",), quality="noise", share=0.8)


def pool_of(law: int = 3000, score: Any = None) -> TablePool:
    rng = np.random.default_rng(0)
    source = ["law"] * law + ["books"] * 600 + ["code"] * 300
    size = rng.integers(5, 40, len(source))
    noise = rng.random(len(source)) if score is None else np.full(len(source), score)
    tokens = pa.StructArray.from_arrays([pa.array(size.tolist())], ["count"])
    return TablePool(pa.table({"text": ["x"] * len(source), "source": source, "tokens": tokens, "noise": noise}))


def planned(policy: StabilityGap, pool: TablePool, budget: int = 10_000) -> Plan:
    goal = Goal(pool, pool, Budget(budget))
    return policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())


def test_the_best_subset_is_read_epochs_times_beside_the_old_mixture() -> None:
    pool = pool_of()
    noise, law = pool.column("noise").to_numpy(), np.array(pool.column("source").to_pylist()) == "law"
    plan = planned(POLICY.model_copy(update={"mixture": (("books", 3.0), ("code", 1.0))}), pool)
    assert plan.amount == pytest.approx(10_000, abs=40)
    assert plan.mixture() == pytest.approx({"law": 0.8, "books": 0.15, "code": 0.05}, abs=0.005)
    kept = plan.kept & law
    assert noise[kept].max() < noise[law & ~plan.kept].min()
    assert (plan.repeats[kept] == 4).mean() > 0.95
    assert (plan.repeats[plan.kept & ~law] == 1).all()
    assert not plan.decisions[-1].warnings
    assert plan.decisions[-1].records == (len(plan), int(plan.kept.sum()))
    assert (plan.dropped_by[law & ~plan.kept] == 0).all()
    rows, copy = plan.reading_order(Run())
    quarter = rows[: len(rows) // 4]
    assert (copy[: len(rows) // 4][law[quarter]] == 0).mean() > 0.9, "one epoch after the other"
    assert 0.7 < plan.sizes[quarter][law[quarter]].sum() / plan.sizes[quarter].sum() < 0.9, "replay all along"


def test_natural_shares_beside_the_domain_and_the_opposite_choice() -> None:
    pool = pool_of()
    noise, law = pool.column("noise").to_numpy(), np.array(pool.column("source").to_pylist()) == "law"
    plan = planned(POLICY, pool)
    size = plan.sizes
    books, code = (size[np.array(pool.column("source").to_pylist()) == n].sum() for n in ("books", "code"))
    assert plan.mixture()["books"] / plan.mixture()["code"] == pytest.approx(books / code, rel=0.1)
    worst = planned(POLICY.worst(), pool)
    assert noise[worst.kept & law].min() > noise[law & ~worst.kept].max()
    assert POLICY.worst().worst() == POLICY
    once = planned(POLICY.model_copy(update={"epochs": 1}), pool)
    assert (once.kept & law).sum() > 3.5 * (plan.kept & law).sum()


def test_too_little_of_something_is_told() -> None:
    assert "less than a subset" in planned(POLICY, pool_of(law=40)).decisions[-1].warnings[0]
    told = planned(POLICY, pool_of(law=30_000), budget=150_000).decisions[-1].warnings
    assert any("a general source is read" in line for line in told)


def test_says_what_is_wrong() -> None:
    pool = pool_of()
    with pytest.raises(UsageError, match="no record has 'maths'"):
        planned(POLICY.model_copy(update={"domain": ("maths",)}), pool)
    with pytest.raises(UsageError, match="'law' of `mixture` must be a source beside"):
        planned(POLICY.model_copy(update={"mixture": (("law", 1.0),)}), pool)
    with pytest.raises(DataError, match="Score it first"):
        planned(POLICY, pool_of(score=np.nan))


def test_a_clean_subset_again_and_again_beats_all_of_a_noisy_domain_once() -> None:
    """Half of the domain's words are noise in bad records; the general language is kept by what is replayed."""
    rng = np.random.Generator(np.random.PCG64(0))
    follow = {"law": rng.integers(0, 60, (60, 2)), "books": rng.integers(0, 60, (60, 2))}

    def text(kind: str, noise: float) -> str:
        words = [int(rng.integers(0, 60))]
        for _ in range(29):
            again = rng.random() < noise
            words.append(int(rng.integers(0, 60) if again else follow[kind][words[-1], rng.integers(0, 2)]))
        return f"{kind}: " + " ".join(f"w{word}" for word in words)

    noise = np.where(np.arange(1400) < 1000, np.arange(1400) / 1000, 0.0)
    kinds = ["law"] * 1000 + ["books"] * 400
    tokens = pa.StructArray.from_arrays([pa.array([30] * 1400)], ["count"])
    texts = [text(kind, x) for kind, x in zip(kinds, noise, strict=True)]
    pool = TablePool(pa.table({"text": texts, "source": kinds, "tokens": tokens, "noise": noise}))
    held = TablePool(pa.table({"text": [text("law", 0.0) for _ in range(40)]}))
    goal = Goal(held, held, Budget(24_000))
    proof = TinyLm(depth=1, tokens=24_000, vocab=300, context=64, points=1)
    losses = {}
    for name, policy in (("best", POLICY), ("all", POLICY.model_copy(update={"epochs": 1})), ("worst", POLICY.worst())):
        plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
        losses[name] = proof.trial(plan, pool, goal, Run()).mean()
    assert losses["best"] < losses["all"] < losses["worst"]
