"""What worlds of tasks share: rows of question and answer made into pools, and exact match."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pyarrow as pa

from tilth.core.errors import DataError
from tilth.core.goal import Budget, Goal
from tilth.core.pool import Pool, TablePool
from tilth.core.probe import World

__all__ = ["Task", "answers_of", "exact", "table", "world"]

Form = Literal["instruction", "text"]


@dataclass(frozen=True)
class Task:
    """A question, its answer, where it belongs, and what else is known of it."""

    prompt: str
    answer: str
    source: str
    truth: dict[str, Any] = field(default_factory=dict)


def table(name: str, tasks: Sequence[Task], truth: pa.StructType, kind: Form = "instruction") -> TablePool:
    """A pool of tasks: as messages of user and assistant, or as text of two lines.

    `truth` is the type of the truth column without its first field, ``answer``. The column ``tokens.count`` counts
    words between blanks, so that a plan can have a budget in tokens without another signal.
    """
    typed = pa.struct([pa.field("answer", pa.string()), *truth])
    columns: dict[str, Any] = {"id": [f"{name}{i:08d}" for i in range(len(tasks))]}
    if kind == "text":
        columns["text"] = pa.array([f"{t.prompt}\n{t.answer}" for t in tasks], pa.string())
    else:
        turns = [[{"role": "user", "content": t.prompt}, {"role": "assistant", "content": t.answer}] for t in tasks]
        columns["messages"] = pa.array(turns, pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())])))
    columns["source"] = pa.array([t.source for t in tasks], pa.string())
    columns["truth"] = pa.array([{"answer": t.answer, **t.truth} for t in tasks], typed)
    counts = [{"count": len(t.prompt.split()) + len(t.answer.split())} for t in tasks]
    columns["tokens"] = pa.array(counts, pa.struct([("count", pa.int32())]))
    return TablePool(pa.table(columns), kind)


def world(
    parts: Mapping[str, Sequence[Task]],
    truth: pa.StructType,
    kind: Form = "instruction",
    more: Mapping[str, Pool] | None = None,
) -> World:
    """A world of the parts ``pool``, ``target`` and ``holdout``; its budget is the whole pool, read once."""
    pools = {name: table(name, tasks, truth, kind) for name, tasks in parts.items()}
    amount = sum(row["count"] for row in pools["pool"].column("tokens").to_pylist())
    goal = Goal(pools["target"], pools["holdout"], Budget(max(1, amount)))
    return World(pools["pool"], goal, more or {})


def answers_of(answer: Any, pool: Pool, who: str) -> list[str]:
    """The answers given, one string per record of the pool.

    Raises:
        DataError: when their number is another.
    """
    given = answer.to_pylist() if isinstance(answer, (pa.Array, pa.ChunkedArray)) else answer
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise DataError(f"{who} grades a list of answers, one per record of the holdout. Got {type(answer).__name__}.")
    rows = ["" if value is None else str(value) for value in given]
    if len(rows) != pool.count:
        raise DataError(f"{who} grades one answer per record. Got {len(rows)} answers for {pool.count} records.")
    return rows


def exact(pool: Pool, answer: Any, who: str) -> float:
    """Share of the records whose answer is the true one, blanks aside; an answer that is missing is wrong."""
    given = answers_of(answer, pool, who)
    right: list[str] = pool.column("truth.answer").to_pylist()
    return sum(a.split() == b.split() for a, b in zip(given, right, strict=True)) / max(1, len(right))
