"""Regular expressions as instructions: does this string match?"""

from __future__ import annotations

from dataclasses import dataclass
from math import log2
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Pool, Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._automata import Automaton, automaton, expression, positions, render, star_free
from tilth.probes._tasks import Task, answers_of, exact, world

__all__ = ["RegSet", "solved"]

LETTERS: Final = "abcdefgh"
MONOID: Final = 2000
TRUTH: Final = pa.struct(
    [
        ("set", pa.string()),
        ("regex", pa.string()),
        ("string", pa.string()),
        ("operators", pa.int32()),
        ("states", pa.int32()),
        ("memory", pa.int32()),
        ("size", pa.float64()),
        ("star_free", pa.bool_()),
        ("ambiguous", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class _Language:
    """An expression whose language passed, its automaton and the truth about it."""

    regex: str
    machine: Automaton
    truth: dict[str, Any]


class RegSet(Probe):
    """An expression is the instruction, a string the input, yes or no the answer: what makes instructions hard?

    Every expression comes with equally many strings that match and that do not, of the same lengths. Those that match
    are drawn uniformly from the language's strings of a length; those that do not are one or two edits away from one
    that does, or uniform when no edit is found. The holdout has expressions whose languages training and target do not
    have (minimal automata are compared, so another spelling of the same language does not get through): like those in
    training (``new``), with more operators, over a larger alphabet, or with longer strings. `hard` keeps only languages
    that are large and need much memory: at least 2 ** (0.8 log2 of all strings) of the strings and five states or more.

    Takes answers to the holdout, a list of ``yes`` and ``no``; the mark is the share that is right. **Chance is
    0.5**, for constants too. `solved` gives the measure of the paper, the share of expressions with 90 % right; its
    chance with 20 strings is 0.0002. The truth: ``truth.regex`` and ``truth.string`` as `re` reads them (prompts have
    blanks between symbols, so that any tokenizer sees them), ``truth.set`` (which expression), ``truth.operators``,
    ``truth.states`` of the minimal automaton, ``truth.memory`` (the size of its transition monoid), ``truth.size``
    (log2 of the number of matching strings up to `length`), ``truth.star_free`` and ``truth.ambiguous``. Cost: about
    2 ms an expression, ten times that when hard. Trap: star-free is meant as in theory, definable without a star;
    ``(ab)*`` is. Source: Finlayson et al. 2022 (arXiv 2204.09148); hard is our reading of it.

    >>> import re
    >>> from tilth.core import Run
    >>> probe = RegSet()
    >>> world = probe.build(200, Run())
    >>> truth = world.pool.column("truth").to_pylist()
    >>> all((re.fullmatch(t["regex"], t["string"]) is not None) == (t["answer"] == "yes") for t in truth)
    True
    >>> len({t["set"] for t in truth}), sum(t["answer"] == "yes" for t in truth)
    (10, 100)
    >>> asked = world.goal.holdout.column("truth").to_pylist()
    >>> probe.grade(world, [t["answer"] for t in asked]), probe.grade(world, ["yes"] * len(asked))
    (1.0, 0.5)
    """

    paper: ClassVar[str] = "what_makes_instruction_learning_hard_an"

    split: Literal["new", "more_operators", "larger_alphabet", "longer_strings"] = Field(
        "new", description="how the holdout differs from training, beyond being new languages"
    )
    alphabet: int = Field(2, ge=2, le=6, description="letters in training; the larger alphabet has two more")
    operators: int = Field(
        7, ge=3, le=15, description="operators of an expression, at most; more means up to twice that"
    )
    length: int = Field(12, ge=4, le=30, description="longest string; longer strings are up to twice that")
    strings: int = Field(20, ge=2, le=200, multiple_of=2, description="strings per expression, half of them matching")
    items: int = Field(20, ge=1, description="expressions of target and holdout each")
    hard: bool = Field(False, description="only large languages that need much memory")
    states: int = Field(60, ge=2, le=1000, description="expressions whose automaton has more states are passed over")

    def build(self, size: int, run: Run) -> World:
        known: set[Automaton] = set()
        parts = {}
        # The holdout draws first: what it takes, training cannot have, and its languages do not depend on the size.
        for name, count in (("holdout", self.items), ("target", self.items), ("pool", max(1, size // self.strings))):
            rng = run.rng(name)
            tasks = []
            for number in range(count):
                language = self._language(known, name == "holdout", rng)
                tasks += self._tasks(f"{name}{number}", language, name == "holdout", rng)
            parts[name] = [tasks[i] for i in rng.permutation(len(tasks))]
        return world(parts, TRUTH)

    def _lengths(self, held_out: bool) -> range:
        longer = held_out and self.split == "longer_strings"
        return range(self.length + 1, 2 * self.length + 1) if longer else range(1, self.length + 1)

    def _language(self, known: set[Automaton], held_out: bool, rng: np.random.Generator) -> _Language:
        """A language that is not known yet; it is then."""
        more = held_out and self.split == "more_operators"
        larger = held_out and self.split == "larger_alphabet"
        letters = LETTERS[: self.alphabet + 2 * larger]
        low, high = (self.operators + 1, 2 * self.operators) if more else (2, self.operators)
        for _ in range(20_000):
            count = int(rng.integers(low, high + 1))
            tree = expression(count, letters, rng)
            found = positions(tree)
            machine = automaton(found, self.states)
            if machine is None or machine in known or (larger and machine.letters[-1] < letters[self.alphabet]):
                continue
            yes, no = (machine.counts(2 * self.length, side) for side in (True, False))
            if sum(min(yes[n][0], no[n][0]) for n in self._lengths(held_out)) < self.strings // 2:
                continue
            size = log2(max(1, sum(yes[n][0] for n in range(1, self.length + 1))))
            every = log2(sum(len(machine.letters) ** n for n in range(1, self.length + 1)))
            if self.hard and (size < 0.8 * every or len(machine.moves) < 5):
                continue
            monoid = machine.monoid(MONOID)
            if monoid is None:
                continue
            known.add(machine)
            regex = render(tree)
            truth = {"regex": regex, "operators": count, "states": len(machine.moves), "memory": len(monoid)}
            truth |= {"size": size, "star_free": star_free(monoid), "ambiguous": found.ambiguous}
            return _Language(regex, machine, truth)
        raise DataError(
            f"regset found no new language with {low} to {high} operators over {letters!r} after {len(known)} of them. "
            f"Raise `operators`, `alphabet` or `length`, lower `strings`, or build a smaller world."
        )

    def _tasks(self, name: str, language: _Language, held_out: bool, rng: np.random.Generator) -> list[Task]:
        machine, lengths = language.machine, self._lengths(held_out)
        yes, no = (machine.counts(lengths.stop - 1, side) for side in (True, False))
        room = {n: min(yes[n][0], no[n][0]) for n in lengths}
        matching: dict[str, None] = {}
        others: dict[str, None] = {}
        for _ in range(self.strings // 2):
            length = int(rng.choice([n for n in lengths if room[n]]))
            room[length] -= 1
            good = machine.draw(yes, length, rng)
            while good in matching:
                good = machine.draw(yes, length, rng)
            matching[good] = None
            bad = good
            for attempt in range(50):
                bad = _edited(good, machine.letters, rng) if attempt < 10 else machine.draw(no, length, rng)
                if bad not in others and not machine.matches(bad):
                    break
            while bad in others or machine.matches(bad):
                bad = machine.draw(no, length, rng)
            others[bad] = None
        pairs = [(s, "yes") for s in matching] + [(s, "no") for s in others]
        spaced = " ".join(language.regex)
        source = self.split if held_out else "train"
        return [
            Task(f"regex: {spaced}\nstring: {' '.join(s)}", a, source, {**language.truth, "set": name, "string": s})
            for s, a in pairs
        ]

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("regset grades answers to the holdout of its own world; this world has none.")
        return exact(world.goal.holdout, answer, self.name())


def solved(pool: Pool, answer: Any) -> float:
    """Share of the expressions of which at least 90 % of the strings were answered right."""
    given = answers_of(answer, pool, "regset")
    right: dict[str, list[bool]] = {}
    for row, said in zip(pool.column("truth").to_pylist(), given, strict=True):
        right.setdefault(row["set"], []).append(said.strip() == row["answer"])
    return sum(sum(r) >= 0.9 * len(r) for r in right.values()) / max(1, len(right))


def _edited(string: str, letters: str, rng: np.random.Generator) -> str:
    """The string with one or two of its letters changed, or two neighbours swapped."""
    edited = [*string]
    if len(edited) > 1 and rng.random() < 0.3:
        i = int(rng.integers(len(edited) - 1))
        edited[i : i + 2] = edited[i + 1], edited[i]
    else:
        for i in rng.integers(len(edited), size=int(rng.integers(1, 3))).tolist():
            edited[i] = letters[(letters.index(edited[i]) + int(rng.integers(1, len(letters)))) % len(letters)]
    return "".join(edited)
