"""SCAN: commands and the actions they mean, with the factors that decide whether a learner composes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core import Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._tasks import Form, Task, exact, world

__all__ = ["TESTED", "Scan", "interpret"]

TESTED: Final = "jump"
BASE: Final = ("walk", "look", "run")
EXTRA: Final = (
    *("hop", "skip", "crawl", "climb", "swim", "dance", "roll", "kick", "bend", "wave"),
    *("clap", "nod", "spin", "duck", "lean", "march", "stomp", "squat", "leap"),
)
JOINED: Final = ("", "and", "after")
TIMES: Final = {"": 1, "twice": 2, "thrice": 3}
OPERATORS: Final = {"left", "right", "opposite", "around", "twice", "thrice", "and", "after"}
TRUTH: Final = pa.struct(
    [("operators", pa.int32()), ("length", pa.int32()), ("hard", pa.bool_()), ("copy", pa.int32())]
)

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


def interpret(command: str) -> list[str]:
    """The actions of a command of the language; ``walk left twice`` turns and walks, two times.

    Raises:
        DataError: when it is no command.
    """
    for word, backwards in (("and", False), ("after", True)):
        first, found, second = command.partition(f" {word} ")
        if found:
            parts = [interpret(first), interpret(second)]
            return parts[1] + parts[0] if backwards else parts[0] + parts[1]
    words = command.split()
    times = TIMES[words.pop()] if words and words[-1] in TIMES else 1
    if words in ([], ["turn"]) or len(words) > 3 or (len(words) > 1 and words[-1] not in ("left", "right")):
        raise DataError(f"Not a command of SCAN: {command!r}.")
    act = [] if words[0] == "turn" else [f"I_{words[0].upper()}"]
    if len(words) == 1:
        return act * times
    turn = [f"I_TURN_{words[-1].upper()}"]
    manner = words[1] if len(words) == 3 else ""
    if manner not in ("", "opposite", "around"):
        raise DataError(f"Not a command of SCAN: {command!r}.")
    once = {"": turn + act, "opposite": turn * 2 + act, "around": (turn + act) * 4}[manner]
    return once * times


@dataclass(frozen=True)
class _Language:
    """Every command there is, as the numbers of its one or two phrases, and what each one is like."""

    phrases: Sequence[str]
    joined: Ints
    first: Ints
    second: Ints
    hard: Bools
    tested: Bools
    bare: Bools
    length: Ints

    def command(self, i: int) -> str:
        first, second = self.phrases[self.first[i]], self.phrases[self.second[i]]
        return f"{first} {JOINED[self.joined[i]]} {second}" if self.joined[i] else first


def _language(words: Sequence[str], complexity: int) -> _Language:
    manners = ("", "opposite ", "around ")
    moved = [f"{w} {manner}{side}" for manner in manners for w in (*words, "turn") for side in ("left", "right")]
    times = [""] if complexity == 1 else [*TIMES]
    phrases = [f"{p} {t}".strip() for p in (*words, *moved) for t in times]
    outermost = {1: {"opposite", "around"}, 2: {"twice", "thrice"}, 3: set()}[complexity]
    hard = np.array([not outermost.isdisjoint(p.split()) for p in phrases])
    n = len(phrases)
    joined, first, second = np.zeros(n, np.int64), np.arange(n), np.zeros(n, np.int64)
    if complexity == 3:
        pairs = np.arange(2 * n * n)
        joined = np.concatenate([joined, 1 + pairs // (n * n)])
        first = np.concatenate([first, pairs // n % n])
        second = np.concatenate([second, pairs % n])
        hard = joined > 0
    long = np.array([len(interpret(p)) for p in phrases])
    names = np.array([p.split()[0] for p in phrases])
    single = np.array([len(p.split()) == 1 for p in phrases])
    two = joined > 0
    return _Language(
        phrases=phrases,
        joined=joined,
        first=first,
        second=second,
        hard=hard,
        tested=(names == TESTED)[first] | (two & (names == TESTED)[second]),
        bare=~two & single[first],
        length=long[first] + np.where(two, long[second], 0),
    )


class Scan(Probe):
    """Commands such as ``walk left twice and look``, to be translated into actions; does a learner compose them?

    The holdout asks for what training never showed. With the split ``add_primitive`` it is the word ``jump`` in
    compositions: in training it occurs alone and only alone (asserted while building). With ``length`` it is outputs
    longer than any in training, with ``random`` other commands of the same kind. The target is like training and is
    not in it. Bare words are repeated records on purpose, as in the published set. The factors: how many words take
    compositions (`primitives`), how deep these are (`complexity`), how often a command is repeated at the same number
    of records (`unique`), how many are hard (`hard`: those that use the outermost operator that `complexity` allows),
    and `linked`: whether the words that behave like the tested one also occur alone, which is what shows how a bare
    word enters a composition. Without it the vocabulary and the size grow as much, and the link is missing.

    Takes answers to the holdout, a list of strings; the mark is exact match. **Chance** is 0 for whoever guesses;
    always answering with the commonest output gets at most 0.05. The truth: ``truth.answer``, ``truth.operators``,
    ``truth.length`` of the output, ``truth.hard`` and ``truth.copy`` (0 is the first of its kind in the pool). Cost:
    half a second for twenty primitives, 10 us a record. Traps: seeds differ widely, so compare medians; a tokenizer
    that cuts words shows a model that actions are spelt like commands. Source: Lake and Baroni 2018 (arXiv
    1711.00350) for the language, Zhou et al. 2023 (arXiv 2311.04420) for the factors; the realisation of the factors
    is our own.

    >>> from tilth.core import Run
    >>> probe = Scan(primitives=4)
    >>> world = probe.build(200, Run())
    >>> prompts = [m[0]["content"] for m in world.pool.column("messages").to_pylist()]
    >>> {p for p in prompts if "jump" in p}
    {'jump'}
    >>> hidden = [m[0]["content"] for m in world.goal.holdout.column("messages").to_pylist()]
    >>> all("jump" in h and h != "jump" for h in hidden)
    True
    >>> probe.grade(world, [" ".join(interpret(h)) for h in hidden]), probe.grade(world, ["I_JUMP"] * len(hidden))
    (1.0, 0.0)
    """

    paper: ClassVar[str] = "data_factors_for_better_compositional_generalization"

    split: Literal["add_primitive", "length", "random"] = Field(
        "add_primitive", description="what the holdout asks for"
    )
    primitives: int = Field(
        1, ge=1, le=20, description="words like jump, jump included; walk, look and run come on top"
    )
    linked: bool = Field(True, description="the words like jump occur alone too; false is the control of equal size")
    complexity: int = Field(
        3, ge=1, le=3, description="1: directions; 2: and twice, thrice; 3: and joined by and, after"
    )
    hard: float = Field(0.8, ge=0, le=1, description="share of hard commands among the composed records")
    unique: float = Field(1.0, gt=0, le=1, description="distinct commands per composed record, as far as there are any")
    alone: float = Field(
        0.1, ge=0, le=0.4, description="share of records that are the bare tested word; others as many"
    )
    longest: int = Field(22, ge=2, le=47, description="longest output in training of the length split, in actions")
    items: int = Field(100, ge=4, description="commands of target and holdout each, as far as there are any")
    kind: Form = Field("instruction", description="messages, or texts of two lines")

    @model_validator(mode="after")
    def _longer_exists(self) -> Scan:
        most = {1: 8, 2: 24, 3: 48}[self.complexity]
        if self.split == "length" and self.longest >= most:
            raise ValueError(f"no command of complexity {self.complexity} has more than {most} actions")
        return self

    def build(self, size: int, run: Run) -> World:
        extra = EXTRA[: self.primitives - 1]
        language = _language((*BASE, TESTED, *extra), self.complexity)
        train, hidden = self._divided(language)
        target = self._some(language, train, 0.2, run.rng("target"))
        train[target] = hidden[target] = False
        holdout = self._some(language, hidden, 0.2 if self.split == "random" else 1.0, run.rng("holdout"))
        train[holdout] = False
        bare = self._bare(size, extra)
        composed = self._repeated(language, train, size - len(bare), run.rng("pool"))
        commands = [*bare, *(language.command(i) for i in composed)]
        hard = np.concatenate([np.zeros(len(bare), bool), language.hard[composed]])
        order = run.rng("order").permutation(len(commands))
        parts = {"pool": _tasks([commands[i] for i in order], hard[order].tolist(), "train")}
        for name, rows in (("target", target), ("holdout", holdout)):
            source = "train" if name == "target" or self.split == "random" else "test"
            parts[name] = _tasks([language.command(i) for i in rows], language.hard[rows].tolist(), source)
        leaked = [t.prompt for t in parts["pool"] if TESTED in t.prompt.split() and t.prompt != TESTED]
        if leaked and self.split == "add_primitive":
            raise DataError(f"The tested word stands in a composition of the training set: {leaked[0]!r}.")
        return world(parts, TRUTH, self.kind)

    def _divided(self, language: _Language) -> tuple[Bools, Bools]:
        """Which composed commands may be trained on, and which the holdout may ask for."""
        composed = ~language.bare
        if self.split == "add_primitive":
            return composed & ~language.tested, composed & language.tested
        if self.split == "length":
            return composed & (language.length <= self.longest), composed & (language.length > self.longest)
        return composed, composed.copy()

    def _bare(self, size: int, extra: Sequence[str]) -> list[str]:
        """Words alone: the tested one, and as many records of the others, in turn."""
        others = [*BASE, *(extra if self.linked else ())]
        count = max(1, round(self.alone * size))
        return [TESTED] * count + [others[i % len(others)] for i in range(round(self.alone * size))]

    def _some(self, language: _Language, allowed: Bools, share: float, rng: np.random.Generator) -> Ints:
        """At most `items` commands, at most this share of those allowed; hard and simple as asked, while they last."""
        strata = [rng.permutation(np.flatnonzero(allowed & (language.hard == hard))) for hard in (True, False)]
        most = [max(1, int(share * s.size)) if s.size else 0 for s in strata]
        simple = min(most[1], self.items - min(most[0], round(self.hard * self.items)))
        hard = min(most[0], self.items - simple)
        return np.concatenate([strata[0][:hard], strata[1][:simple]])

    def _repeated(self, language: _Language, allowed: Bools, count: int, rng: np.random.Generator) -> Ints:
        """Exactly `count` commands, hard and simple as asked, each distinct one about equally often."""
        strata = [rng.permutation(np.flatnonzero(allowed & (language.hard == hard))) for hard in (True, False)]
        hard = round(self.hard * count) if strata[0].size and strata[1].size else count * bool(strata[0].size)
        rows = [
            np.resize(s[: max(1, round(self.unique * n))], n) for s, n in zip(strata, (hard, count - hard), strict=True)
        ]
        return np.concatenate(rows)

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("scan grades answers to the holdout of its own world; this world has none.")
        return exact(world.goal.holdout, answer, self.name())


def _tasks(commands: Sequence[str], hard: Sequence[bool], source: str) -> list[Task]:
    seen: Counter[str] = Counter()
    tasks = []
    for command, difficult in zip(commands, hard, strict=True):
        actions = interpret(command)
        operators = sum(w in OPERATORS for w in command.split())
        truth = {"operators": operators, "length": len(actions), "hard": difficult, "copy": seen[command]}
        seen[command] += 1
        tasks.append(Task(command, " ".join(actions), source, truth))
    return tasks
