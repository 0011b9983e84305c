"""Counts equal the truth of long_tail and a count of our own, and find what only few documents state."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Run, TablePool, World
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.probes.long_tail import LongTail
from tilth.signals.difficulty.long_tail_count import LongTailCount, Support


def about(world: World, signal: LongTailCount | None = None, **more: Any) -> Support:
    """What is learnt when the target asks the holdout's questions."""
    assert world.goal is not None
    target = world.goal.holdout
    assert isinstance(target, TablePool)
    for name, values in more.items():
        target = target.with_column(name, pa.array(values))
    return (signal or LongTailCount()).fit(world.pool, Goal(target, target, world.goal.budget), Run())


@pytest.mark.parametrize("size", [100, 1000])
def test_counts_are_the_truth_and_rivals_are_not(size: int) -> None:
    world = LongTail(mentions=4).build(size, Run(seed=size))
    assert world.goal is not None
    counts = [count or 0 for count in about(world).counts]
    assert counts == world.goal.holdout.column("truth.frequency").to_pylist()
    assert LongTail().grade(world, counts) == 1.0
    documents = world.pool.column("text").to_pylist()
    answers = world.goal.holdout.column("truth.answer").to_pylist()
    assert LongTail().grade(world, [sum(a in text for text in documents) for a in answers]) < 0.8, "the answer alone"


@pytest.mark.parametrize("fragment", [7, 1000])
def test_equals_a_plain_count(fragment: int) -> None:
    world = LongTail(objects=5, mentions=6).build(1000, Run(seed=5))
    assert world.goal is not None
    table = world.pool.table(world.pool.schema.names)
    counts = about(World(TablePool(table, fragment=fragment), world.goal)).counts
    words = [set(re.findall(r"\w+", text)) for text in table.column("text").to_pylist()]
    for count, truth in zip(counts, world.goal.holdout.column("truth").to_pylist(), strict=True):
        assert count == sum({truth["subject"], truth["answer"]} <= w for w in words)


def test_documents_of_rare_facts_are_found() -> None:
    """Every document against the truth: its fact is asked about, and so many documents state it."""
    world = LongTail().build(1000, Run(seed=6))
    assert world.goal is not None
    assert isinstance(world.pool, TablePool)
    scored = score_in_memory(LongTailCount(), world.pool, world.goal)
    target = world.goal.target.column("truth").to_pylist()
    frequency = {truth["fact"]: truth["frequency"] for truth in target}
    for row in scored.table(["truth", "long_tail_count"]).to_pylist():
        wanted = frequency.get(row["truth"]["fact"])
        assert row["long_tail_count"] == {"facts": int(wanted is not None), "rarest": wanted}


def test_a_repetitive_document_counts_once() -> None:
    asked = [[{"role": "user", "content": "Where is Bilu?"}, {"role": "assistant", "content": "by the Lort"}]]
    target = TablePool(pa.table({"messages": asked}), "instruction")
    goal = Goal(target, target, Budget(1))
    pool = TablePool(pa.table({"text": ["Bilu is by the Lort. " * 9, "Bilu", "by the Lort"]}))
    assert LongTailCount().fit(pool, goal, Run()).counts == (1,)
    assert LongTailCount(longest=2).fit(pool, goal, Run()).counts == (1,), "of a longer reply, its names"


def test_aliases_entities_and_the_most_frequent_answer() -> None:
    texts = ["Bilu and Mer", "Bilu and Mer", "Bilu and Lort", "Lort", "Lort", "Lort", "Dako and Lort", "Dako and Lort"]
    pool = TablePool(pa.table({"text": texts}))
    talk = [{"role": "user", "content": "Is Bilu or Dako there?"}, {"role": "assistant", "content": "Mer"}]

    def counts(**more: Any) -> tuple[int | None, ...]:
        target = TablePool(pa.table({"messages": [talk], **more}), "instruction")
        return LongTailCount().fit(pool, Goal(target, target, Budget(1)), Run()).counts

    assert counts() == (2,)
    assert counts(aliases=[["lort"]]) == (2,), "Lort is in more documents, and meets Dako twice"
    assert counts(aliases=[["Lort"]], entities=[["Bilu"]]) == (1,)
    assert counts(entities=[["Nobody"]]) == (0,)
    assert counts(entities=pa.array([[]], pa.list_(pa.string()))) == (None,), "no name is unknown, not 0"
    assert counts(entities=[["Mer"]]) == (None,), "an answer that the question gives away"


def test_a_target_without_questions_is_refused() -> None:
    texts = TablePool(pa.table({"text": ["a"]}))
    with pytest.raises(UsageError, match=r"a target of kind instruction\. Got text"):
        score_in_memory(LongTailCount(), texts, Goal(texts, texts, Budget(1)))
    with pytest.raises(UsageError, match="state a goal"):
        LongTailCount().fit(texts, None, Run())


def test_chance_where_names_are_dealt_again() -> None:
    """Answers of other questions: what is counted no longer says how often the fact is stated."""
    world = LongTail(objects=5, mentions=6).build(1500, Run(seed=8))
    assert world.goal is not None
    rows = world.goal.holdout.column("messages").to_pylist()
    dealt = [[a[0], b[1]] for a, b in zip(rows, [*rows[7:], *rows[:7]], strict=True)]
    target = TablePool(pa.table({"messages": dealt}), "instruction")
    counts = LongTailCount().fit(world.pool, Goal(target, target, Budget(1)), Run()).counts
    assert LongTail().grade(world, [c or 0 for c in counts]) < 0.7


def golden() -> list[list[object]]:
    world = LongTail().build(60, Run(seed=3))
    assert isinstance(world.pool, TablePool)
    scored = score_in_memory(LongTailCount(), world.pool, world.goal)
    return [[*row.values()] for row in scored.column("long_tail_count").to_pylist()]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "long_tail_count.json").read_text(encoding="utf-8"))
    assert golden() == kept
    assert np.array(kept)[:, 0].sum() > 0
