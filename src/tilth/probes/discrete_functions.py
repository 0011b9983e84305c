"""Discrete functions: prompts of examples of a Boolean function, the next label to be told from those before it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core import Probe, Run, TablePool, World
from tilth.core.errors import DataError
from tilth.models.boolean import Bits

__all__ = ["DiscreteFunctions", "points_of"]

Family = Literal["conjunction", "disjunction", "dnf", "majority", "halfspace", "parity", "sparse_parity", "nearest"]
TAUGHT: Final = ("conjunction", "disjunction")
RARE: Final = 0.3
"""Share of inputs that are made to satisfy a conjunction, or to fail a disjunction, which would be rare by chance."""
HELD_OUT: Final = 0.2
"""Share of the functions that only the test has."""
DRAWS: Final = 2000
TERMS, TERM, PAIR, WEIGHT = 3, 3, 2, 3
TABLE: Final = 1 << 12
"""Inputs by which functions are told apart: all of them up to 12 bits, else as many drawn ones."""


@dataclass(frozen=True)
class _Function:
    name: str
    call: Callable[[Bits], Bits]
    literals: tuple[tuple[int, int], ...] = ()
    anchors: Bits | None = None


class DiscreteFunctions(Probe):
    """Prompts that each show one Boolean function: can a model learn it from the context, as well as an algorithm can?

    A record (kind ``text``) has a line for each point: the bits, a space, the label. A model trained on the pool is
    asked for each label of the prompts of ``more["test"]`` given the lines before; a fifth of the functions is kept for
    the test, and equal functions written differently count as one. For conjunctions about 30 % of the inputs are made
    to satisfy the function (for disjunctions, to fail it), as labels would else be nearly constant. `teaching` is the
    share of prompts that begin with a teaching sequence, for conjunctions and disjunctions: two points that agree in
    just the l literals, then one point for each literal that breaks it alone; after these l + 2 points only one
    function of the class is left. The truth is ``truth.function`` (as a formula), ``truth.labels`` and
    ``truth.taught``, the length of the teaching sequence.

    `grade` takes for each test prompt a string with a label for every point, and returns the share that is right in the
    last quarter of the points; `curve` has it for each place. **Chance is not 0.5** but what `majority` gets, the more
    frequent label so far; the ceilings are the learners here: `elimination` (conjunctions; disjunctions by
    complement), `gf2` (parities), `perceptron` and `winnow` (half-spaces, majorities), `nearest`. Each predicts every
    label from the points before it. Trap: bits as single tokens or as one token make tasks of different difficulty, and
    a transformer that fails on parity is no bug. Cost: some thousand records a second.
    Source: arXiv 2310.03016; sizes of the classes are ours.

    >>> from tilth.core import Run
    >>> from tilth.models.boolean import elimination, majority
    >>> probe = DiscreteFunctions(family="conjunction", bits=6, points=12, teaching=1.0)
    >>> world = probe.build(100, Run())
    >>> truth = world.more["test"].column("truth")[0].as_py()
    >>> print(truth["function"], truth["labels"], truth["taught"])
    !x2 & !x3 110011110100 4
    >>> for line in world.more["test"].column("text")[0].as_py().splitlines()[:4]:
    ...     print(line)
    000101 1
    100010 1
    110011 0
    101000 0
    >>> points = [points_of(text) for text in world.more["test"].column("text").to_pylist()]
    >>> probe.grade(world, ["".join(map(str, elimination(x, y))) for x, y in points])
    1.0
    >>> round(probe.grade(world, ["".join(map(str, majority(x, y))) for x, y in points]), 1)
    0.5
    """

    paper: ClassVar[str] = "understanding_incontext_learning_in_transformers_and"

    family: Family = Field("conjunction", description="class of functions")
    bits: int = Field(12, ge=4, le=64, description="bits of an input; the paper uses 28")
    points: int = Field(40, ge=4, le=2000, description="points of a prompt")
    teaching: float = Field(0.0, ge=0, le=1, description="share of prompts that begin with a teaching sequence")

    @model_validator(mode="after")
    def _can_teach(self) -> Self:
        if self.teaching > 0 and self.family not in TAUGHT:
            raise ValueError(f"teaching sequences are for {' and '.join(TAUGHT)}, not {self.family}")
        if self.teaching > 0 and self.points < 2 + self._most():
            raise ValueError(f"a prompt needs {2 + self._most()} points for a teaching sequence of {self.bits} bits")
        return self

    def build(self, size: int, run: Run) -> World:
        count = max(10, size // 10)
        tables = {name: self._prompts(name, n, run) for name, n in (("train", size), ("test", count))}
        return World(tables["train"], more={"test": tables["test"]})

    def grade(self, world: World, answer: Any) -> float:
        return float(self.curve(world, answer)[-max(1, self.points // 4) :].mean())

    def curve(self, world: World, answer: Sequence[str]) -> npt.NDArray[np.float64]:
        """Share of test prompts whose label is right, for each place in the prompt."""
        truth = [t["labels"] for t in world.more["test"].column("truth").to_pylist()]
        given = [str(a) for a in answer]
        if [len(a) for a in given] != [len(t) for t in truth]:
            raise DataError(
                f"discrete_functions grades {len(truth)} strings of {self.points} labels. Got {len(given)}, the first "
                f"with {len(given[0]) if given else 0}."
            )
        rows = [[a == b for a, b in zip(g, t, strict=True)] for g, t in zip(given, truth, strict=True)]
        return np.asarray(np.mean(rows, 0), np.float64)

    def _prompts(self, side: str, count: int, run: Run) -> TablePool:
        rng = run.rng("discrete_functions", side)
        table = self._table(run)
        taught = rng.permutation(np.arange(count) < round(self.teaching * count))
        texts, truth = [], []
        for teach in taught.tolist():
            function = self._kept(side, table, rng, run)
            x = self._inputs(function, teach, rng)
            labels = "".join(map(str, function.call(x).tolist()))
            lines = ["".join(map(str, row)) for row in x.tolist()]
            texts.append("\n".join(f"{line} {label}" for line, label in zip(lines, labels, strict=True)))
            length = 2 + len(function.literals) if teach else 0
            truth.append({"function": function.name, "labels": labels, "taught": length})
        kind = pa.struct([("function", pa.string()), ("labels", pa.string()), ("taught", pa.int32())])
        ids = pa.array([f"{side}{i}" for i in range(count)], pa.string())
        return TablePool(pa.table({"id": ids, "text": pa.array(texts, pa.string()), "truth": pa.array(truth, kind)}))

    def _table(self, run: Run) -> Bits:
        if 1 << self.bits <= TABLE:
            return ((np.arange(1 << self.bits)[:, None] >> np.arange(self.bits)) & 1).astype(np.int8)
        return run.rng("discrete_functions", "table").integers(0, 2, (TABLE, self.bits), np.int8)

    def _kept(self, side: str, table: Bits, rng: np.random.Generator, run: Run) -> _Function:
        """A function of this side, which its values decide, so that the two sides never share one."""
        for _ in range(DRAWS):
            function = self._drawn(rng)
            if self.family == "nearest":
                return function  # its anchors and labels are not drawn twice
            key = hashlib.sha256(np.packbits(function.call(table).astype(bool)).tobytes()).hexdigest()
            held = run.rng("discrete_functions", "held out", key).random() < HELD_OUT
            if held == (side == "test"):
                return function
        raise DataError(
            f"discrete_functions found no {self.family} of {self.bits} bits for its {side} side in {DRAWS} draws. "
            f"There are too few of them: raise bits or take another seed."
        )

    def _most(self) -> int:
        return max(2, self.bits // 3)

    def _drawn(self, rng: np.random.Generator) -> _Function:
        n = self.bits
        if self.family in TAUGHT:
            return _literals(self.family, self._signed(int(rng.integers(2, self._most() + 1)), rng))
        if self.family == "dnf":
            return _dnf([self._signed(TERM, rng) for _ in range(TERMS)])
        if self.family == "majority":
            odd = 3 + 2 * int(rng.integers((n - 1) // 2))
            return _majority(np.sort(rng.permutation(n)[: min(odd, n - 1 + n % 2)]))
        if self.family == "halfspace":
            return _halfspace(rng.integers(1, WEIGHT + 1, n) * rng.choice((-1, 0, 1), n, p=(0.4, 0.2, 0.4)))
        if self.family == "nearest":
            anchors = self.points // 2
            return _nearest_of(rng.integers(0, 2, (anchors, n), np.int8), rng.integers(0, 2, anchors, np.int8))
        wanted = PAIR if self.family == "sparse_parity" else max(1, int(rng.binomial(n, 0.5)))
        return _parity(np.sort(rng.permutation(n)[:wanted]))

    def _signed(self, count: int, rng: np.random.Generator) -> tuple[tuple[int, int], ...]:
        """Literals: places of distinct bits, and the value each must have."""
        return tuple((int(i), int(rng.integers(2))) for i in np.sort(rng.permutation(self.bits)[:count]))

    def _inputs(self, function: _Function, teach: bool, rng: np.random.Generator) -> Bits:
        x = rng.integers(0, 2, (self.points, self.bits), np.int8)
        if self.family == "nearest":
            x[: self.points // 2] = function.anchors
        if self.family not in TAUGHT:
            return x
        places = np.array([i for i, _ in function.literals])
        # The values that make a conjunction true, or a disjunction false.
        values = np.array([v if self.family == "conjunction" else 1 - v for _, v in function.literals], np.int8)
        made = np.flatnonzero(rng.random(self.points) < RARE)
        x[np.ix_(made, places)] = values
        if teach:
            length = 2 + places.size
            x[1] = 1 - x[0]
            x[:length, places] = values
            x[np.arange(2, length), places] = 1 - values
        return x


def _literals(family: str, literals: tuple[tuple[int, int], ...]) -> _Function:
    places, values = (np.array(side) for side in zip(*literals, strict=True))
    words = [f"{'' if v else '!'}x{i + 1}" for i, v in literals]
    if family == "conjunction":
        return _Function(" & ".join(words), lambda x: (x[:, places] == values).all(1).astype(np.int8), literals)
    return _Function(" | ".join(words), lambda x: (x[:, places] == values).any(1).astype(np.int8), literals)


def _dnf(terms: Sequence[tuple[tuple[int, int], ...]]) -> _Function:
    parts = [_literals("conjunction", term) for term in terms]
    name = " | ".join(f"({part.name})" for part in parts)
    return _Function(name, lambda x: np.max([part.call(x) for part in parts], 0))


def _majority(places: npt.NDArray[np.int64]) -> _Function:
    name = f"{' + '.join(f'x{i + 1}' for i in places.tolist())} > {places.size // 2}"
    return _Function(name, lambda x: (x[:, places].sum(1) > places.size // 2).astype(np.int8))


def _halfspace(weights: npt.NDArray[np.int64]) -> _Function:
    name = f"{' '.join(f'{w:+d}*(2*x{i + 1}-1)' for i, w in enumerate(weights.tolist()))} > -0.5"
    return _Function(name, lambda x: ((2 * x.astype(np.int64) - 1) @ weights > -0.5).astype(np.int8))


def _parity(places: npt.NDArray[np.int64]) -> _Function:
    name = " ^ ".join(f"x{i + 1}" for i in places.tolist())
    return _Function(name, lambda x: (x[:, places].sum(1) % 2).astype(np.int8))


def _nearest_of(anchors: Bits, labels: Bits) -> _Function:
    """The label of the nearest anchor, of the first one among equals."""
    name = f"nearest of the first {len(anchors)}"
    return _Function(name, lambda x: labels[(x[:, None, :] != anchors[None]).sum(2).argmin(1)], anchors=anchors)


def points_of(text: str) -> tuple[Bits, Bits]:
    """The inputs and labels of a prompt.

    >>> x, y = points_of("01 1\\n11 0")
    >>> x.tolist(), y.tolist()
    ([[0, 1], [1, 1]], [1, 0])
    """
    rows = [line.split() for line in text.splitlines()]
    return np.array([[*map(int, bits)] for bits, _ in rows], np.int8), np.array([int(y) for _, y in rows], np.int8)
