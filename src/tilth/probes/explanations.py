"""Explanations: which of two numbers is in the list more often, if you know which two to count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Probe, Run, TablePool, World
from tilth.core.errors import DataError

__all__ = ["Explanations", "relevant", "solve"]

Told = Literal["full", "noisy", "parts", "mirrored", "shifted", "causal", "wrong"]
SHIFT: Final = 5
FIRST: Final = 3
"""The smallest number that is counted: 1 and 2 are the indicator's."""
PARTS: Final = ((1, 0, 0, 1), (0, 1, 1, 0))
"""Which of m, n, r, d each part tells: no part has both numbers of a pair."""


@dataclass(frozen=True)
class _Task:
    index: int
    hidden: tuple[int, int, int, int]


class Explanations(Probe):
    """A task that explanations make easy: the label is a count, and the explanation says of what.

    A record is a list of whole numbers. The first is the number of its task; each task hides four numbers m, n, r, d.
    The second, the indicator, is 1 or 2. The label is 1 when m occurs more often than n (indicator 1) or r more often
    than d (indicator 2), else 0. All other places hold numbers that the task does not count. Within each task half of
    the records have label 1, half each indicator, half a distracting pair that agrees with the label, and in half the
    distracting pair is the one that was given its places first and so fills more of them (as nearly as their number
    allows): neither the task's number, nor the distractor, nor a total tells the label.

    The pool (kind ``labeled``) has a column ``explanation``: the task's number and m, n, r, d, as `told` says: exact;
    each off by up to `noise`, so that only many together say the truth; in two parts that a record gets by turns;
    mirrored or shifted; the counted pair alone; or, as a control, four other numbers. ``more["test"]`` has new records
    of the same tasks (of new tasks when `disjoint`) and no such column. The truth is ``truth.task``, the four numbers,
    ``truth.indicator`` and ``truth.pair``, whether m, n (1) or r, d (2) is counted. `solve` is the rule itself;
    `relevant` finds the records of a task, without the one that asks: its own explanation would be a leak.

    `grade` takes the labels ``0`` or ``1`` of the test records as strings and returns the accuracy: **chance is 0.5**,
    and counting m and n whatever the indicator says gets 0.75. Cost: about 20,000 records a second. Trap: a task needs
    about ten records before its numbers can be learned, and small models take long.
    Source: arXiv 2102.02201 and the authors' generator; the balance of labels within a task is ours.

    >>> from tilth.core import Run
    >>> probe = Explanations(length=12)
    >>> world = probe.build(40, Run())
    >>> for name in ("text", "label", "explanation"):
    ...     print(world.pool.column(name)[0])
    5436 2 92 93 97 93 97 93 93 93 43 93
    1
    5436 93 81 97 96
    >>> test = world.more["test"]
    >>> labels = [solve(text, tuple(t[k] for k in "mnrd")) for text, t in
    ...           zip(test.column("text").to_pylist(), test.column("truth").to_pylist())]
    >>> probe.grade(world, labels), probe.grade(world, ["1"] * test.count)
    (1.0, 0.5)
    """

    paper: ClassVar[str] = "when_can_models_learn_from_explanations"

    told: Told = Field("full", description="what an explanation says of the hidden numbers")
    per_task: int = Field(10, ge=2, le=1000, description="records of each task in the pool")
    tests: int = Field(4, ge=1, le=1000, description="test records of each task")
    length: int = Field(20, ge=10, le=512, description="numbers of a record")
    max_int: int = Field(100, ge=10, le=10_000, description="largest number that may be counted")
    noise: int = Field(1, ge=1, le=100, description="how far each number of a noisy explanation may be off")
    indicator: bool = Field(True, description="second number says which pair counts; without it m and n always do")
    index: bool = Field(True, description="first number is the task's; without it no explanation can be found")
    disjoint: bool = Field(False, description="test records come from tasks that the pool does not have")

    def build(self, size: int, run: Run) -> World:
        count = max(1, size // self.per_task)
        tasks = self._tasks(2 * count if self.disjoint else count, run.rng("explanations", "tasks"))
        seen: set[tuple[int, ...]] = set()
        pool = self._rows(tasks[:count], self.per_task, seen, run.rng("explanations", "pool"))
        told = self._explained(pool, run.rng("explanations", "told"))
        test = self._rows(tasks[-count:], self.tests, seen, run.rng("explanations", "test"))
        order = run.rng("explanations", "order").permutation(len(pool))
        shown = _pool([pool[i] for i in order], "train").with_column(
            "explanation", pa.array([told[i] for i in order], pa.string())
        )
        return World(shown, more={"test": _pool(test, "test")})

    def grade(self, world: World, answer: Any) -> float:
        truth = world.more["test"].column("label").to_pylist() if "test" in world.more else []
        given = [None if a is None else str(a) for a in answer]
        if len(given) != len(truth) or not truth:
            raise DataError(f"explanations grades one label per test record, {len(truth)}. Got {len(given)}.")
        return float(np.mean([a == b for a, b in zip(given, truth, strict=True)]))

    def _tasks(self, count: int, rng: np.random.Generator) -> list[_Task]:
        if count > self.max_int**2 // 2:
            raise DataError(
                f"explanations has {self.max_int**2 // 2:,} tasks with max_int={self.max_int}, not {count:,}. "
                f"Raise max_int or per_task."
            )
        numbers = self.max_int + 1 + rng.permutation(self.max_int**2)[:count]
        found: dict[tuple[int, int, int, int], None] = {}
        while len(found) < count:
            m, n, r, d = (FIRST + rng.permutation(self.max_int - FIRST + 1)[:4]).tolist()
            found[m, n, r, d] = None
        return [_Task(int(i), hidden) for i, hidden in zip(numbers, found, strict=True)]

    def _rows(
        self, tasks: Sequence[_Task], each: int, seen: set[tuple[int, ...]], rng: np.random.Generator
    ) -> list[dict[str, Any]]:
        """New records of the tasks, `each` of them, balanced within each task."""
        rows = []
        for task in tasks:
            half = [rng.permutation((np.arange(each) + int(rng.integers(2))) % 2) for _ in range(4)]
            for label, pair, agree, swap in zip(*(h.tolist() for h in half), strict=True):
                pair = pair if self.indicator else 0
                numbers = self._numbers(task, label, pair, bool(agree), bool(swap), rng)
                while tuple(numbers) in seen:
                    numbers = self._numbers(task, label, pair, bool(agree), bool(swap), rng)
                seen.add(tuple(numbers))
                truth = dict(zip("mnrd", task.hidden, strict=True))
                truth |= {"task": task.index, "indicator": numbers[1], "pair": pair + 1}
                rows.append({"text": " ".join(map(str, numbers)), "label": str(label), "truth": truth})
        return rows

    def _numbers(
        self, task: _Task, label: int, pair: int, agree: bool, swap: bool, rng: np.random.Generator
    ) -> list[int]:
        """A list with the wanted label; the counts are drawn as the authors draw them."""
        free = self.length - 2
        large, small = _counts(free - 3, rng)  # three places stay for the other pair
        others = _counts(free - large - small, rng)
        counted, other = (others, (large, small)) if swap else ((large, small), others)
        ordered = (counted if label else counted[::-1], other if agree == bool(label) else other[::-1])
        times = [*ordered[0], *ordered[1]] if pair == 0 else [*ordered[1], *ordered[0]]
        left = np.setdiff1d(np.arange(FIRST, self.max_int + 1), task.hidden)
        body = np.concatenate([np.repeat(task.hidden, times), rng.choice(left, free - sum(times))])
        return [task.index if self.index else 1, pair + 1, *rng.permutation(body).tolist()]

    def _explained(self, rows: Sequence[Mapping[str, Any]], rng: np.random.Generator) -> list[str]:
        """The explanation of each row; rows of a task stand together."""
        told = []
        for i, row in enumerate(rows):
            truth = row["truth"]
            hidden = np.array([truth[k] for k in "mnrd"])
            numbers: list[int] = self._told(hidden, i % self.per_task, truth["pair"], rng).tolist()
            told.append(" ".join(map(str, [truth["task"], *numbers])))
        return told

    def _told(
        self, hidden: npt.NDArray[np.int64], turn: int, pair: int, rng: np.random.Generator
    ) -> npt.NDArray[np.int64]:
        if self.told == "noisy":
            return hidden + rng.integers(-self.noise, self.noise + 1, 4)
        if self.told == "parts":
            part: npt.NDArray[np.int64] = hidden * np.array(PARTS[turn % len(PARTS)])
            return part
        if self.told == "mirrored":
            return self.max_int - hidden
        if self.told == "shifted":
            return hidden + SHIFT
        if self.told == "causal":
            return hidden[:2] if pair == 1 else hidden[2:]
        if self.told == "wrong":
            return rng.permutation(np.setdiff1d(np.arange(FIRST, self.max_int + 1), hidden))[:4]
        return hidden


def _counts(places: int, rng: np.random.Generator) -> tuple[int, int]:
    """How often the more frequent number of a pair occurs, and how often the other: fewer, maybe never."""
    large = int(rng.integers(1, max(2, places)))
    return large, int(rng.integers(0, max(1, min(large, places - large))))


def _pool(rows: Sequence[Mapping[str, Any]], name: str) -> TablePool:
    fields = ["task", *"mnrd", "indicator", "pair"]
    truth = pa.array([r["truth"] for r in rows], pa.struct([(f, pa.int64()) for f in fields]))
    table = {
        "id": pa.array([f"{name}{i}" for i in range(len(rows))], pa.string()),
        "text": pa.array([r["text"] for r in rows], pa.string()),
        "label": pa.array([r["label"] for r in rows], pa.string()),
        "truth": truth,
    }
    return TablePool(pa.table(table), "labeled")


def solve(text: str, hidden: tuple[int, ...]) -> str:
    """The label of a record, from the four numbers that an exact explanation tells.

    >>> solve("200 1 7 7 9 4", (7, 9, 4, 5)), solve("200 2 7 7 9 5", (7, 9, 4, 5))
    ('1', '0')
    """
    numbers = [int(n) for n in text.split()]
    m, n, r, d = hidden
    one, two = (m, n) if numbers[1] == 1 else (r, d)
    return str(int(numbers.count(one) > numbers.count(two)))


def relevant(texts: Sequence[str], query: str, itself: int | None = None) -> list[int]:
    """The records of the query's task, by their first number, without the record that asks.

    >>> relevant(["200 1 7", "300 1 7", "200 2 8"], "200 1 9"), relevant(["200 1 7", "200 2 8"], "200 1 7", itself=0)
    ([0, 2], [1])
    """
    wanted = query.split(maxsplit=1)[0]
    return [i for i, text in enumerate(texts) if i != itself and text.split(maxsplit=1)[0] == wanted]
