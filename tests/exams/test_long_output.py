"""LongOutput must find planted sound long answers among faulty ones, where the longest or random ones do not."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.policies.select.long_output import LongOutput

ASKS = ("Write {n} words about {t}.", "Give me a {n}-word text on {t}.", "Tell me about {t} in at least {n} words.")
WAYS = ("short", "cut", "refused", "repeated", "mixed", "meta")


def written(words: int, rng: np.random.Generator) -> list[str]:
    """Paragraphs of about so many words in all."""
    made, left = [], words
    while left > 0:
        n = min(left, int(rng.integers(30, 60)))
        made.append(" ".join(f"w{w}" for w in rng.integers(0, 3000, n)) + ".")
        left -= n
    return made


def answer(way: str, words: int, rng: np.random.Generator) -> str:
    """A sound answer, or one with one fault; all but the short ones and refusals are as long as asked."""
    parts = written(words, rng)
    if way == "short":
        parts = written(int(words * rng.uniform(0.2, 0.7)), rng)
    elif way == "cut":
        parts[-1] = parts[-1].rstrip(".") + " and the"
    elif way == "refused":
        parts = ["I'm sorry, but I cannot write a text of that length."]
    elif way == "repeated":
        parts = [*parts[: len(parts) // 2], *parts[: len(parts) - len(parts) // 2]]
    elif way == "mixed":
        parts[len(parts) // 2 :] = ["Потом приходит осень и листья падают на землю. " * 6] * 1 + parts[
            len(parts) // 2 :
        ]
    elif way == "meta":
        parts.append(f"Word count: {words}.")
    return "\n\n".join(part.strip() for part in parts)


def pool_of(seed: int, n: int = 400) -> tuple[TablePool, list[str]]:
    """A half asks for nothing, a half for a length; a quarter of the latter is answered well."""
    rng = np.random.default_rng(seed)
    talks, kinds = [], []
    for i in range(n):
        kind = "ordinary" if i % 2 else ("sound" if i % 8 == 0 else WAYS[int(rng.integers(len(WAYS)))])
        words = int(rng.integers(6, 15)) * 100
        ask = "What is {t}?" if kind == "ordinary" else ASKS[int(rng.integers(len(ASKS)))]
        said = " ".join(written(20, rng)) if kind == "ordinary" else answer(kind, words, rng)
        turns = [{"role": "user", "content": ask.format(n=words, t="rain")}, {"role": "assistant", "content": said}]
        talks.append(turns)
        kinds.append(kind)
    sizes = [{"count": len(turns[1]["content"].split())} for turns in talks]
    table = pa.table({"id": [f"r{i}" for i in range(n)], "messages": talks})
    pool = TablePool(table, "instruction")
    return pool.with_column("tokens", pa.array(sizes, pa.struct([("count", pa.int32())]))), kinds


@pytest.mark.parametrize("seed", range(3))
def test_finds_the_planted_sound_ones(seed: int) -> None:
    pool, kinds = pool_of(seed)
    kind = np.array(kinds)
    goal = Goal(pool, pool, Budget(10_000_000))
    start = Plan.everything(pool, goal.budget)
    plan = LongOutput().revise(start, pool, goal, Run(seed=seed))
    long = plan.kept & (kind != "ordinary")
    assert (kind[long] == "sound").mean() > 0.95
    assert long.sum() >= 0.95 * (kind == "sound").sum()
    longest = np.argsort(-np.where(kind == "ordinary", 0, start.sizes))[: (kind == "sound").sum()]
    assert (kind[longest] == "sound").mean() < 0.5, "the naive rival"
    told = plan.decisions[0].details["faults"]
    assert told["refusal"] == (kind == "refused").sum()
    assert told["wrong length"] >= 0.9 * (kind == "short").sum()
    worst = LongOutput().worst().revise(start, pool, goal, Run(seed=seed))
    assert not (worst.kept & (kind == "sound")).any()


def test_the_budget_is_split_and_never_exceeded() -> None:
    pool, kinds = pool_of(0)
    ordinary = np.array(kinds) == "ordinary"
    goal = Goal(pool, pool, Budget(4000))
    start = Plan.everything(pool, goal.budget)
    plan = LongOutput(ordinary=0.25).revise(start, pool, goal, Run())
    assert plan.amount <= 4000 + start.sizes.max() / 2
    read = plan.sizes * plan.repeats
    assert read[~ordinary].sum() == pytest.approx(3000, abs=int(start.sizes.max()))
    assert read[ordinary].sum() == pytest.approx(1000, abs=200)
    none = LongOutput(ordinary=0).revise(start, pool, goal, Run())
    assert not (none.kept & ordinary).any()


def test_tolerance_least_and_errors() -> None:
    pool, kinds = pool_of(0)
    goal = Goal(pool, pool, Budget(10_000_000))
    start = Plan.everything(pool, goal.budget)
    lax = LongOutput(tolerance=0.9).revise(start, pool, goal, Run())
    assert (lax.kept & (np.array(kinds) == "short")).any()
    with pytest.raises(DataError, match="Lower `least`"):
        LongOutput(least=1e6).revise(start, pool, goal, Run())
