"""Tasks on short sequences, asked on longer ones: what was learned, an algorithm or the lengths?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import perm
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core.errors import DataError
from tilth.core.goal import Budget, Goal
from tilth.core.probe import Probe, World
from tilth.core.records import Record
from tilth.core.run import Run
from tilth.probes._questions import question, questions, right

__all__ = ["LabelSortHints"]

KINDS: Final = 5
"""Distinct tokens of a sequence whose mode is asked for."""
HINTED: Final = ("copy_unique", "copy_repeat", "sort", "parity", "add_forward", "add_reverse")
WORKED: Final = ("parity", "add_forward", "add_reverse")
TRUTH: Final = pa.struct(
    [("task", pa.string()), ("length", pa.int32()), ("answer", pa.string()), ("expected", pa.bool_())]
)
Raw = tuple[int, ...]
Spell = Callable[[Iterable[int], Iterable[int]], str]


class LabelSortHints(Probe):
    """One of eight tasks, trained on lengths 1 to `train` and asked on lengths above, up to `test`.

    Tokens are words between spaces. With n for the length:

    * ``count``: ``3 6``, ``3 4 5 6`` (n numbers are said).
    * ``mode``: of n tokens of at most five kinds, the most frequent; there is one.
    * ``copy_unique``, ``copy_repeat``: n different tokens, or n times 0 or 1; the reply is the same.
    * ``sort``: n different numbers; the reply is in rising order.
    * ``parity``: n times 0 or 1; the reply is 1 if there is an odd number of ones.
    * ``add_forward``, ``add_reverse``: ``1 9 + 0 4``, two numbers of n digits; the reply has n + 1 digits, ``0 2 3``,
      or the units first, ``3 2 0``.

    With `hints`, a token for its place (``i7``) goes before every token of the question and again where that token or
    place comes up in the reply; equal places of two numbers have equal hints, and the first hint is random. With
    `scratchpad`, the reply works it out and gives the answer after ``=``: the parity so far at every token, or the
    digit and the carry of every place from the units up.

    Lengths are uniform. The holdout asks `items` longer questions. Target and ``more["same"]`` ask `items` each of the
    trained lengths; no question of theirs is in the pool, where short ones come many times (of the few questions a
    short length has, a quarter at most is kept for them).

    Truth: ``task``, ``length``, ``answer``, and ``expected``: whether the task as set has a short program in RASP-L,
    and so should generalise. That is so of count, mode, unique copy and sort; of reversed addition with hints; of
    parity with hints and scratchpad. For copying repeats with hints and forward addition with both it is our own
    reading: both then come down to looking places up.

    The mark takes the replies to the holdout's questions, a list of strings: the share whose answer is right; hints are
    not marked. **Chance** is 0.5 for parity, about 0.2 for mode (a random one of five) and near 0 for the others.

    Cost: some 20 microseconds a record. Trap: positions never seen in training fail every task, so pack many questions
    into a context and begin at a random one. Source: What algorithms can transformers learn? (arXiv 2310.16028);
    formats are our own.

    >>> from tilth.core import Run
    >>> sort, add = LabelSortHints(task="sort", train=4), LabelSortHints(task="add_reverse", hints=True, train=4)
    >>> parity = LabelSortHints(task="parity", scratchpad=True, train=8, items=20)
    >>> for probe in (sort, add, parity):
    ...     row = probe.build(50, Run()).pool.table(["messages", "truth"]).to_pylist()[0]
    ...     print([turn["content"] for turn in row["messages"]], row["truth"]["expected"])
    ['80 64 26 33', '26 33 64 80'] True
    ['i25 3 i26 7 + i25 7 i26 3', 'i26 0 i25 1 i24 1'] True
    ['1 0 1 1 0 0 1', '1 1 0 1 1 1 0 = 0'] False
    """

    paper: ClassVar[str] = "what_algorithms_can_transformers_learn_a"

    task: Literal["count", "mode", "copy_unique", "copy_repeat", "sort", "parity", "add_forward", "add_reverse"] = (
        Field("sort", description="what is to be done with the sequence")
    )
    hints: bool = Field(False, description="a token for its place before every token; not for count and mode")
    scratchpad: bool = Field(False, description="work it out before the answer; for parity and addition")
    train: int = Field(20, ge=2, le=500, description="longest length trained on")
    test: int = Field(40, ge=3, le=1000, description="longest length asked")
    vocabulary: int = Field(100, ge=10, le=10_000, description="numbers there are, from 0")
    items: int = Field(
        100, ge=1, description="questions in the target, in the same-length pool and in the holdout, each"
    )

    @model_validator(mode="after")
    def _fits(self) -> LabelSortHints:
        if self.hints and self.task not in HINTED:
            raise ValueError(f"hints go with {', '.join(HINTED)}, not with {self.task}")
        if self.scratchpad and self.task not in WORKED:
            raise ValueError(f"a scratchpad goes with {', '.join(WORKED)}, not with {self.task}")
        if self.test <= self.train:
            raise ValueError(f"test ({self.test}) must be above train ({self.train})")
        if self.test > self.vocabulary and self.task in ("count", "copy_unique", "sort"):
            raise ValueError(f"{self.task} of {self.test} numbers needs a vocabulary as large, not {self.vocabulary}")
        return self

    @property
    def expected(self) -> bool:
        """Whether the task as set has a short RASP-L program."""
        if self.task in ("copy_repeat", "add_reverse"):
            return self.hints
        if self.task in ("parity", "add_forward"):
            return self.hints and self.scratchpad
        return True

    def build(self, size: int, run: Run) -> World:
        rng = run.rng("label_sort_hints")
        kept = self._apart(range(1, self.train + 1), 2 * self.items, rng)
        longer = self._apart(range(self.train + 1, self.test + 1), self.items, rng)
        seen: list[Raw] = []
        away = set(kept)
        while len(seen) < size:
            raw = self._draw(int(rng.integers(1, self.train + 1)), rng)
            if raw not in away:
                seen.append(raw)
        parts = {"pool": seen, "target": kept[0::2], "same": kept[1::2], "holdout": longer}
        made = {name: questions((self._row(raw, rng) for raw in part), TRUTH, name) for name, part in parts.items()}
        goal = Goal(made["target"], made["holdout"], Budget(size, "records"))
        return World(made["pool"], goal, {"same": made["same"]})

    def final(self, reply: str) -> str:
        """The answer in a reply, without working and hints."""
        words = reply.split()
        if self.scratchpad:
            words = words[len(words) - words[::-1].index("=") :] if "=" in words else []
        return " ".join(word for word in words if not word.startswith("i"))

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("label_sort_hints grades the replies to a holdout, and this world has none. Use `build`.")
        found = [self.final(reply or "") for reply in answer]
        return float(right(world.goal.holdout, found, "label_sort_hints").mean())

    def _apart(self, lengths: Sequence[int], count: int, rng: np.random.Generator) -> list[Raw]:
        """So many different sequences, of all lengths in turn; at most a quarter of those that a length has."""
        room = {n: min(count, self._there_are(n) // 4) for n in lengths}
        if sum(room.values()) < count:
            raise DataError(
                f"label_sort_hints keeps at most {sum(room.values())} questions of {self.task} apart for lengths "
                f"{lengths[0]} to {lengths[-1]}. Got {count}; ask for fewer items or a wider range of lengths."
            )
        found: dict[Raw, None] = {}
        while len(found) < count:
            for n in lengths:
                if room[n] and len(found) < count:
                    room[n] -= 1
                    before = len(found)
                    while len(found) == before:
                        found[self._draw(n, rng)] = None
        return [*found]

    def _there_are(self, n: int) -> int:
        """How many questions of this length there are, at least."""
        if self.task == "count":
            return self.vocabulary - n + 1
        if self.task in ("parity", "copy_repeat"):
            return int(2**n)
        if self.task in ("copy_unique", "sort"):
            return perm(self.vocabulary, n)
        return int(100**n) if self.task != "mode" else self.vocabulary * int(2 ** ((n - 1) // 2))

    def _draw(self, n: int, rng: np.random.Generator) -> Raw:
        """The numbers of a question: its ends, its tokens, or the digits of both numbers, one after the other."""
        if self.task == "count":
            first = int(rng.integers(0, self.vocabulary - n + 1))
            return first, first + n - 1
        if self.task in ("parity", "copy_repeat"):
            return tuple(rng.integers(0, 2, n).tolist())
        if self.task in ("copy_unique", "sort"):
            return tuple(rng.permutation(self.vocabulary)[:n].tolist())
        if self.task != "mode":
            return tuple(rng.integers(0, 10, 2 * n).tolist())
        kinds = rng.permutation(self.vocabulary)[:KINDS]
        while True:
            raw = tuple(kinds[rng.integers(0, KINDS, n)].tolist())
            most = Counter(raw).most_common(2)
            if len(most) == 1 or most[0][1] > most[1][1]:
                return raw

    def _row(self, raw: Raw, rng: np.random.Generator) -> Record:
        n = raw[1] - raw[0] + 1 if self.task == "count" else len(raw) // (2 if self.task.startswith("add") else 1)
        first = int(rng.integers(0, self.test + 2)) if self.hints else 0

        def said(values: Iterable[int], places: Iterable[int]) -> str:
            pairs = zip(values, places, strict=True)
            return " ".join(f"i{first + place} {value}" if self.hints else f"{value}" for value, place in pairs)

        if self.task.startswith("add"):
            asked, working, answer = self._addition(raw, n, said)
        else:
            asked = said(raw, range(len(raw)))
            working, answer = self._sequence(raw, n, said)
        reply = f"{working} = {answer}" if self.scratchpad else answer
        truth = {"task": self.task, "length": n, "answer": self.final(reply), "expected": self.expected}
        return question(asked, reply, f"length{n}", truth)

    def _sequence(self, raw: Raw, n: int, said: Spell) -> tuple[str, str]:
        """Working and answer of every task but addition."""
        if self.task == "count":
            return "", " ".join(str(raw[0] + i) for i in range(n))
        if self.task == "mode":
            return "", str(Counter(raw).most_common(1)[0][0])
        if self.task == "parity":
            so_far = (np.cumsum(raw) % 2).tolist()
            return said(so_far, range(n)), str(so_far[-1])
        order = np.argsort(raw).tolist() if self.task == "sort" else [*range(n)]
        return "", said([raw[i] for i in order], order)

    def _addition(self, raw: Raw, n: int, said: Spell) -> tuple[str, str, str]:
        """Question, working and answer; the place of the highest digit of the sum is 0, that of the units n."""
        one, other = raw[:n], raw[n:]
        digits, steps, carry = [0] * (n + 1), [], 0
        for place in range(n, 0, -1):
            total = one[place - 1] + other[place - 1] + carry
            digits[place], carry = total % 10, total // 10
            steps.append(f"{said([digits[place]], [place])} c{carry}")
        digits[0] = carry
        order = [*range(n, -1, -1)] if self.task == "add_reverse" else [*range(n + 1)]
        places = range(1, n + 1)
        return f"{said(one, places)} + {said(other, places)}", " ".join(steps), said([digits[i] for i in order], order)
