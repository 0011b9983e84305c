"""PerplexityPruning on a pool two fifths of which is garbled, and on ranks that are known."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.engine.apply import score_in_memory
from tilth.policies.select.perplexity_pruning import PerplexityPruning
from tilth.policies.select.sample import Sample
from tilth.proofs.ngram import Ngram
from tilth.signals.quality.perplexity import Perplexity


def garbled(seed: int) -> tuple[TablePool, Goal, npt.NDArray[np.bool_]]:
    """Sentences of a chain of words; two fifths of the pool have their letters shuffled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    follow = rng.integers(0, 300, (300, 4))
    names = ["".join(rng.choice(list("aeioulmnrst"), 5)) for _ in range(300)]

    def text() -> str:
        word, words = int(300 * rng.random() ** 2), []
        for _ in range(int(rng.integers(15, 40))):
            words.append(names[word])
            word = int(follow[word, int(4 * rng.random() ** 2)])
        return " ".join(words)

    broken = rng.random(1500) < 0.4
    texts = ["".join(rng.permutation(list(text()))) if b else text() for b in broken]
    target = TablePool(pa.table({"text": [text() for _ in range(60)]}))
    pool = TablePool(pa.table({"text": texts, "source": [f"s{i % 3}" for i in range(1500)]}))
    goal = Goal(target, target, Budget(300, "records"))
    return score_in_memory(Perplexity(), pool, goal, Run()), goal, broken


@pytest.mark.parametrize("seed", range(3))
def test_the_lowest_fifth_is_clean_and_teaches_more_than_as_much_at_random(seed: int) -> None:
    pool, goal, broken = garbled(seed)
    start = Plan.everything(pool, goal.budget)
    policy = PerplexityPruning(keep=0.2)
    plans = {name: p.revise(start, pool, goal, Run(seed=seed)) for name, p in (("low", policy), ("any", Sample()))}
    plans["worst"] = policy.worst().revise(start, pool, goal, Run(seed=seed))
    assert broken[plans["low"].kept].mean() <= 0.05
    assert broken[plans["any"].kept].mean() > 0.3
    losses = {name: Ngram().trial(plan, pool, goal, Run()).mean() for name, plan in plans.items()}
    assert losses["low"] < losses["any"] < losses["worst"]
    told = plans["low"].decisions[0]
    kinds = told.details["variety"]["distinct words per word"]
    assert kinds["after"] < 0.9 * kinds["before"]
    assert "distinct words per word fell" in told.warnings[0]  # what a slice by perplexity costs is told


def values(bits: list[float | None], **more: list[int] | list[str]) -> tuple[TablePool, Goal, Plan]:
    pool = TablePool(pa.table({"text": ["some words"] * len(bits), "bits": bits, **more}))
    goal = Goal(pool, pool, Budget(4, "records"))
    return pool, goal, Plan.everything(pool, goal.budget)


def rows(policy: PerplexityPruning, pool: TablePool, goal: Goal, start: Plan) -> list[int]:
    return np.flatnonzero(policy.revise(start, pool, goal, Run()).kept).tolist()


def test_slices_and_trimming_are_exact() -> None:
    world = values([float(i) for i in range(20)])
    policy = PerplexityPruning(by="bits", trim=0.1)
    assert rows(policy, *world) == [2, 3, 4, 5]
    assert rows(policy.worst(), *world) == [14, 15, 16, 17]
    middle = policy.model_copy(update={"part": "middle"})
    assert rows(middle, *world) == [8, 9, 10, 11]
    assert rows(middle.worst(), *world) == [2, 3, 16, 17]
    told = policy.revise(world[2], world[0], world[1], Run()).decisions[0]
    assert (told.threshold["least"], told.threshold["most"]) == (2.0, 5.0)


def test_like_is_compared_with_like() -> None:
    """Short records score low throughout; groups that score low would fill the plan."""
    length = [5] * 10 + [50] * 10
    world = values([*map(float, range(10)), *(100.0 + i for i in range(10))], size=length, lang=["a", "b"] * 10)
    plain = PerplexityPruning(by="bits", trim=0)
    assert rows(plain, *world) == [0, 1, 2, 3]
    assert rows(plain.model_copy(update={"length": "size", "buckets": 2}), *world) == [0, 1, 10, 11]
    assert rows(plain.model_copy(update={"balance": "lang"}), *world) == [0, 1, 2, 3]
    both = plain.model_copy(update={"length": "size", "buckets": 2, "balance": "lang"})
    assert rows(both, *world) == [0, 1, 10, 11]


def test_records_without_a_value() -> None:
    world = values([1.0, None, 2.0, 3.0, 4.0, 5.0])
    policy = PerplexityPruning(by="bits", trim=0)
    assert rows(policy, *world) == [0, 2, 3, 4]
    assert rows(policy.model_copy(update={"unknown": "keep"}), *world) == [0, 1, 2, 3]
    with pytest.raises(DataError, match="1 of 6 records have no bits"):
        rows(policy.model_copy(update={"unknown": "error"}), *world)
