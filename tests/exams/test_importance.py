"""Importance weights: worked out by hand, found by rank, and better than chance in a proof."""

from __future__ import annotations

from math import log

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.policies.select.sample import Sample
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram
from tilth.signals.target.importance import Importance


def goal_of(*texts: str, weight: list[float] | None = None) -> Goal:
    columns: dict[str, object] = {"text": list(texts)} | ({"weight": weight} if weight else {})
    target = TablePool(pa.table(columns))
    return Goal(target, target, Budget(1))


def test_by_hand() -> None:
    """Pool: a a b = {a: 2, b: 1, aa: 1, ab: 1}; target: a b = {a: 1, b: 1, ab: 1}; 50,000 buckets, no collision."""
    n, s = 50_000, 0.5
    scored = score_in_memory(
        Importance(buckets=n, smoothing=s), TablePool(pa.table({"text": ["A a b"]})), goal_of("a b")
    )
    target = {"a": 1, "b": 1, "aa": 0, "ab": 1}
    source = {"a": 2, "b": 1, "aa": 1, "ab": 1}
    ratio = {g: log((target[g] + s) / (3 + n * s)) - log((source[g] + s) / (5 + n * s)) for g in target}
    weight = 2 * ratio["a"] + ratio["b"] + ratio["aa"] + ratio["ab"]
    (row,) = scored.column("importance").to_pylist()
    assert row == {
        "weight": pytest.approx(weight, rel=1e-5),
        "per_token": pytest.approx(weight / 5, rel=1e-5),
        "ngrams": 5,
    }


def test_words_alone() -> None:
    scored = score_in_memory(
        Importance(ngram=1, buckets=50_000), TablePool(pa.table({"text": ["a, a b"]})), goal_of("a b")
    )
    assert scored.column("importance.ngrams").to_pylist() == [4]


def test_target_items_count_by_their_weight() -> None:
    pool = TablePool(pa.table({"text": ["red red", "blue blue"]}))

    def lead(weight: list[float]) -> float:
        red, blue = (
            score_in_memory(Importance(), pool, goal_of("red", "blue", weight=weight))
            .column("importance.weight")
            .to_pylist()
        )
        return float(red - blue)

    assert lead([1, 1]) == pytest.approx(0.0, abs=1e-5)
    assert lead([3, 1]) > 0.5
    assert lead([30, 10]) == pytest.approx(lead([3, 1]))  # only the proportion matters
    assert lead([1, 3]) == pytest.approx(-lead([3, 1]), abs=1e-5)


@pytest.mark.parametrize("measure", ["weight", "per_token"])
def test_finds_records_like_the_target(measure: str) -> None:
    """Sources a and b make up nine tenths of the target and three tenths of the pool."""
    world = PlantedMixture().build(1000, Run())
    assert isinstance(world.pool, TablePool)
    scored = score_in_memory(Importance(), world.pool, world.goal)
    wanted = np.isin(scored.column("source").to_pylist(), ["a", "b"])
    values = np.array(scored.column(f"importance.{measure}").to_pylist())
    assert roc_auc_score(wanted, values) > 0.99
    rng = np.random.default_rng(0)
    blind = Goal(TablePool(world.pool.take(rng.choice(1000, 40), ["text"])), world.pool, Budget(1))
    useless = score_in_memory(Importance(), world.pool, blind)  # a target like the pool knows nothing of the sources
    assert roc_auc_score(wanted, np.array(useless.column(f"importance.{measure}").to_pylist())) < 0.8


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_selection_beats_random_in_a_proof(temperature: float) -> None:
    world = PlantedMixture().build(2000, Run())
    assert isinstance(world.pool, TablePool)
    assert world.goal is not None
    pool = score_in_memory(Importance(), world.pool, world.goal)
    start = Plan.everything(pool, world.goal.budget)
    proof = Ngram(tokens=20_000)
    chosen = Sample(by="importance.per_token", temperature=temperature).revise(start, pool, world.goal, Run())
    losses = proof.trial(chosen, pool, world.goal, Run()).mean()
    chance = [
        proof.trial(Sample().revise(start, pool, world.goal, Run(seed=s)), pool, world.goal, Run()).mean()
        for s in (1, 2, 3)
    ]
    assert losses < min(chance) - 3 * np.std(chance)


def test_learns_the_same_however_the_pool_is_cut() -> None:
    texts = [f"word{i % 7} and word{i % 11}, word{i % 3}" for i in range(50)]
    states = [
        Importance().fit(TablePool(pa.table({"text": texts}), fragment=size), goal_of("word1"), Run())
        for size in (7, 50)
    ]
    assert (states[0] == states[1]).all()


def test_empty_pool_empty_target_and_no_goal() -> None:
    empty = TablePool(pa.table({"text": pa.array([], pa.string())}))
    assert np.isfinite(Importance().fit(empty, goal_of("a"), Run())).all()
    state = Importance().fit(TablePool(pa.table({"text": ["a"]})), Goal(empty, empty, Budget(1)), Run())
    assert np.isfinite(state).all()
    with pytest.raises(UsageError, match="goal"):
        Importance().fit(empty, None, Run())
