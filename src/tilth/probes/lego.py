"""Chains of assignments to resolve: skills of which each needs the ones before it."""

from __future__ import annotations

from math import perm
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core.errors import DataError
from tilth.core.goal import Budget, Goal
from tilth.core.pool import TablePool
from tilth.core.probe import Probe, World
from tilth.core.records import Record
from tilth.core.run import Run
from tilth.probes._questions import auroc, question, questions, right, written

__all__ = ["Lego"]

LETTERS = "abcdefghijklmnopqrstuvwxyz"
TRUTH = pa.struct(
    [
        ("skill", pa.int32()),
        ("answer", pa.string()),
        ("needs", pa.list_(pa.int32())),
        ("chain", pa.list_(pa.string())),
    ]
)


class Lego(Probe):
    """Boolean variables in a chain, told in random order, and the value of one of them asked for.

    The first variable of a chain is given (``b = val 1``), each next one is a copy or the opposite of the one before
    (``d = val b``, ``a = not d``); the question is ``a ?`` and the reply 0 or 1. Skill i is the i-th place of the
    chain; it is also the source, ``skill1`` and so on. Skills are equally frequent, and so are the two values within
    each. No chain comes twice, in pool, target and holdout together; target and holdout have `items` questions per
    skill.

    Truth: ``skill``, ``answer``, ``needs`` (the skills it rests on: all before it) and ``chain``, the variables in
    order. `graph` is the planted graph: to resolve place j one resolves every place i < j.

    The mark takes either the replies to the holdout's questions, a list of strings, and is the share that is right; or
    a learned graph, an array whose row is the skill trained on and whose column the skill helped, and is the area under
    the ROC curve of its entries off the diagonal: 1 ranks all planted edges first, a transposed graph gets 0.
    **Chance is 0.5** for both.

    Cost: some 20 microseconds a record. Trap: the first skill alone can be read off one clause, so report skills apart.
    Source: the LEGO world of Skill-it (arXiv 2307.14430); the format is our own.

    >>> from tilth.core import Run
    >>> probe = Lego()
    >>> world = probe.build(50, Run())
    >>> row = world.pool.table(["messages", "truth"]).to_pylist()[0]
    >>> [turn["content"] for turn in row["messages"]], row["truth"]["skill"], row["truth"]["chain"]
    (['p = not m; j = not z; z = val 1; d = val j; m = val d; m ?', '0'], 4, ['z', 'j', 'd', 'm', 'p'])
    >>> probe.grade(world, probe.graph()), probe.grade(world, probe.graph().T), probe.grade(world, ["1"] * 100)
    (1.0, 0.0, 0.5)
    """

    paper: ClassVar[str] = "skillit_a_datadriven_skills_framework_for"

    variables: int = Field(5, ge=3, le=20, description="variables of a chain, and so skills")
    negations: float = Field(0.5, gt=0, lt=1, description="share of links that say not")
    items: int = Field(20, ge=2, description="questions per skill in the target and in the holdout, each")

    def build(self, size: int, run: Run) -> World:
        wanted = size + 2 * self.items * self.variables
        there_are = perm(len(LETTERS), self.variables) * 2**self.variables
        if wanted > there_are // 4:
            raise DataError(
                f"lego tells no chain twice, and there are {there_are} of {self.variables} variables, too few to draw "
                f"{wanted}. Ask for fewer records or more variables."
            )
        seen: set[str] = set()
        target, holdout = (
            self._pool(self.items * self.variables, part, run.rng(part), seen) for part in ("target", "holdout")
        )
        return World(self._pool(size, "pool", run.rng("pool"), seen), Goal(target, holdout, Budget(size, "records")))

    def graph(self) -> npt.NDArray[np.bool_]:
        """The planted graph: row i, column j is whether skill i + 1 is needed for skill j + 1, another one."""
        return np.triu(np.ones((self.variables, self.variables), bool), 1)

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is not None and written(answer):
            return float(right(world.goal.holdout, answer, "lego").mean())
        found, planted = np.asarray(answer, float), self.graph()
        if found.shape != planted.shape or np.isnan(found).any():
            raise DataError(
                f"lego grades replies or a graph of {self.variables} by {self.variables} numbers. Got an array of "
                f"shape {found.shape}."
            )
        off = ~np.eye(self.variables, dtype=bool)
        return auroc(found[off], planted[off])

    def _pool(self, count: int, name: str, rng: np.random.Generator, seen: set[str]) -> TablePool:
        return questions((self._draw(int(i), rng, seen) for i in rng.permutation(count)), TRUTH, name)

    def _draw(self, number: int, rng: np.random.Generator, seen: set[str]) -> Record:
        skill, value = 1 + number % self.variables, number // self.variables % 2
        while True:
            names = [LETTERS[i] for i in rng.permutation(len(LETTERS))[: self.variables]]
            opposite = (rng.random(self.variables - 1) < self.negations).tolist()
            first = (value + sum(opposite[: skill - 1])) % 2
            links = zip(names[1:], opposite, names, strict=False)
            clauses = [f"{names[0]} = val {first}", *(f"{y} = {'not' if no else 'val'} {x}" for y, no, x in links)]
            chain = "; ".join(clauses)
            if chain not in seen:
                break
        seen.add(chain)
        told = "; ".join(clauses[i] for i in rng.permutation(self.variables))
        truth = {"skill": skill, "answer": str(value), "needs": [*range(1, skill)], "chain": names}
        return question(f"{told}; {names[skill - 1]} ?", str(value), f"skill{skill}", truth)
