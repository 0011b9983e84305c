"""ModularMerge must choose the sources that the target is of, and confirm what it chose."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Pool, Room, Run, TablePool, World
from tilth.core.errors import UsageError
from tilth.policies.mix.modular_merge import ModularMerge, _Table
from tilth.policies.mix.random import Random
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.merged import Merged
from tilth.proofs.ngram import Ngram

PROBE = PlantedMixture(words=60, length=40)
PROOF = Merged(depth=1, seed_tokens=12_000, part_tokens=6000, vocab=320, context=64)
POLICY = ModularMerge(proof=PROOF, cap=8, most=3)


def world(seed: int, limits: Limits | None = None) -> tuple[Plan, Goal, World, Run]:
    run = Run(seed=seed)
    made = PROBE.build(2000, run)
    assert made.goal is not None
    goal = Goal(half(made.goal.target), half(made.goal.holdout), made.goal.budget)
    return Plan.everything(made.pool, made.goal.budget, limits), goal.blind(), World(made.pool, goal), run


def half(pool: Pool) -> TablePool:
    """As many items of a as of b, and none of c or d: the target is of one union."""
    table = pool.table(["id", "text", "source"])
    rows = [np.flatnonzero(np.array(table["source"].to_pylist()) == s)[:12] for s in "ab"]
    return TablePool(table.take(pa.array(np.concatenate(rows))))


@pytest.mark.parametrize("seed", range(3))
def test_takes_the_sources_of_the_target(seed: int) -> None:
    start, goal, made, run = world(seed)
    assert made.goal is not None
    plan = POLICY.revise(start, made.pool, goal, run)
    told = plan.decisions[-1].details
    assert told["unions"] == 4 + 6 + 4
    assert told["union"] == ["a", "b"]
    assert plan.mixture()["c"] == plan.mixture()["d"] == 0
    rivals = [start, *(p.revise(start, made.pool, goal, run) for p in (Random(), Stratified(cap=8)))]
    ours, *theirs = (Ngram(tokens=30_000).trial(p, made.pool, made.goal, run).mean() for p in (plan, *rivals))
    assert ours < min(theirs), "a proof of another kind agrees"
    json.dumps(told)


def test_a_proof_decides_among_the_best() -> None:
    start, goal, made, run = world(0)
    asked = POLICY.model_copy(update={"confirm": Ngram(tokens=30_000), "top": 4})
    for policy, pick in ((asked, min), (asked.worst(), max)):
        told = policy.revise(start, made.pool, goal, run).decisions[-1].details
        assert len(told["confirmed"]) == 4
        assert told["confirmed"][" + ".join(told["union"])] == pick(told["confirmed"].values())


def test_greedy_finds_what_all_unions_give_and_scores_fewer() -> None:
    start, goal, made, run = world(0)
    every = POLICY
    one, two = (
        p.revise(start, made.pool, goal, run).decisions[-1].details
        for p in (every, every.model_copy(update={"exhaustive": 1}))
    )
    assert (one["search"], two["search"]) == ("all", "greedy")
    assert one["union"] == two["union"]
    assert two["unions"] < one["unions"]


def test_worst_takes_others() -> None:
    start, goal, made, run = world(0)
    plan = POLICY.worst().revise(start, made.pool, goal, run)
    assert not {"a", "b"} & set(plan.decisions[-1].details["union"])


def test_unions_fill_the_budget_or_are_not_chosen() -> None:
    _, goal, made, run = world(0)
    big = Plan.everything(made.pool, Budget(60_000))  # a has 8,000 tokens, b 16,000, c 24,000, d 32,000
    plan = POLICY.model_copy(update={"cap": 1.0}).revise(big, made.pool, goal, run)
    assert max(plan.epochs().values()) <= 1.01
    assert plan.amount > 58_000
    with pytest.raises(UsageError, match="Raise `most`"):
        ModularMerge(proof=PROOF, cap=1.0, most=1).revise(big, made.pool, goal, run)


def test_keeps_to_a_floor() -> None:
    start, goal, made, run = world(0, Limits(floor={"d": 0.2}))
    plan = POLICY.revise(start, made.pool, goal, run)
    assert plan.mixture()["d"] > 0.19


def test_search_on_a_known_table() -> None:
    """Each unit beyond the first costs 3.5, and only one is worth more than that: greedy stops there."""
    worth = np.array([5.0, 4.0, 3.0, 0, 0, 0, 0, 0, 0, 0])

    def loss(shares: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        used = shares > 0
        return np.asarray(-(used * worth).sum(1) + 3.5 * np.maximum(used.sum(1) - 1, 0))

    room = Room([*"abcdefghij"], np.full(10, 0.1), np.zeros(10), np.ones(10))
    table = _Table(room, loss)
    table.climb(range(10), 5)
    assert table.ranked()[0] == (0, 1)
    assert len(table.loss) == 10 + 9 + 8
    assert table.shares[(0, 1)][:2] == pytest.approx([0.5, 0.5])
