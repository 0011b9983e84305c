"""DoReMi: its closed form, and a source that can be learned beside one that is noise."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.exams.test_steered import PROOF, plan_of, trial, world

from tilth.core import Budget, Goal, Run, TablePool, World
from tilth.policies.mix.doremi import DoReMi


def test_closed_form() -> None:
    """Excess .5 and -.1 (counts 0); c was not read; a thousandth... here a tenth is shared out equally."""
    state = {"a": 0.5, "b": 0.3, "c": 0.2}
    seen = {"step": 25, "excess": {"a": 0.5, "b": -0.1}}
    shares, after = DoReMi(eta=2, smoothing=0.1).step(state, seen, Run())
    raised = np.array([0.5 * np.e, 0.3, 0.2])
    assert list(shares.values()) == pytest.approx(0.9 * raised / raised.sum() + 0.1 / 3)
    assert after == shares
    assert DoReMi().step(state, {"step": 0}, Run()) == (state, state)


def test_reads_what_is_not_yet_learned_and_not_what_is_noise() -> None:
    """One source repeats a few sentences, the other draws words evenly: no model lags behind another on those."""
    rng = Run(seed=4).rng("texts")
    words = [f"w{i}" for i in range(300)]
    kinds = [" ".join(rng.choice(words, 40)) for _ in range(6)]
    texts = [kinds[i % 6] for i in range(600)] + [" ".join(rng.choice(words, 40)) for _ in range(600)]
    sources = ["learnable"] * 600 + ["noise"] * 600
    table = pa.table({"text": texts, "source": sources, "tokens": [{"count": 40}] * 1200})
    pool = TablePool(table)
    goal = Goal(TablePool(table.slice(0, 10)), TablePool(table.slice(600, 10)), Budget(20_000))
    made = World(pool, goal)
    log = trial(plan_of(made, policy={"use": "doremi", "eta": 5}), made).shares
    assert log[0][1] == {"learnable": 0.5, "noise": 0.5}
    assert max(shares["learnable"] for _, shares in log) > 0.65


def test_a_reference_is_trained_for_it_and_its_log_replays_without() -> None:
    made = world()
    plan = plan_of(made, policy="doremi")
    first = trial(plan, made)
    assert len({shares["a"] for _, shares in first.shares}) > 3
    again = PROOF.curve(plan.replaying(first.shares), made.pool, made.goal, Run(seed=3)) if made.goal else None
    assert again is not None
    assert (again.losses == first.losses).all()
