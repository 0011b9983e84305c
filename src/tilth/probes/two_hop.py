"""Compositions of random tables: which unseen inputs can be solved by what the seen ones had in common?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core.errors import DataError
from tilth.core.goal import Budget, Goal
from tilth.core.probe import Probe, World
from tilth.core.records import Record
from tilth.core.run import Run
from tilth.models.coverage import depth
from tilth.probes._questions import auroc, question, questions, right, written

__all__ = ["TwoHop"]

FRAGMENTS: Final = {
    "two_hop": ((0, 1),),
    "parallel": ((0, 1), (2, 3)),
    "three_hop": ((0, 1), (0, 1, 2)),
    "ambiguous": ((0, 1),),
}
"""The positions of each task that feed an inner table: what may stand for one another if it gives the same bridge."""
TRUTH: Final = pa.struct(
    [("answer", pa.string()), ("bridges", pa.list_(pa.string())), ("covered", pa.bool_()), ("depth", pa.int32())]
)
Solve = Callable[[Sequence[int]], list[int]]


class TwoHop(Probe):
    """Functions of three or four tokens made of random tables, some of whose inputs are covered and some not.

    * ``two_hop``: t = g(f(x1, x2), x3).
    * ``parallel``: t = h(f(x1, x2), g(x3, x4)).
    * ``three_hop``: t = h(g(f(x1, x2), x3), x4).
    * ``ambiguous``: t = g(f(x1, x2), x2, x3): x2 also goes straight to the outer table, so what f makes of two pairs
      does not decide whether they may stand for one another.

    A question is ``t3 t17 t4`` and the reply ``t8``; with `bridge`, what the inner tables gave comes first,
    ``t11 t8``. The pool has `size` inputs drawn evenly from all there are. Target and holdout have `items` unseen ones
    each, half of them covered at `k` and half not, as far as a search among forty times as many finds them. An input is
    covered when a seen one becomes it by replacing pairs that behaved alike in at least k contexts
    (`tilth.models.coverage`).

    Truth: ``answer``, ``bridges``, ``covered`` and ``depth``, the largest k up to `most` at which it is covered, 0 for
    none. Inputs of the pool are covered; their depth is null.

    The mark takes either replies to the holdout's questions, a list of strings, and is the share of the covered
    questions whose last word is right: **chance is 1 / tokens**. Or it takes a number per holdout question, higher
    where it should be solvable, and is the area under the ROC curve against ``covered``: **chance is 0.5**.

    Cost: the search for covered inputs, 0.1 s for 2,000 inputs of 20 tokens, 2 s for 20,000 of 50, and up to a minute
    for as many inputs of four tokens. Trap: a small k counts lucky agreements as evidence, so look at accuracy by
    depth. Source: the coverage principle (arXiv 2505.20278), which names the tasks; sizes are our own.

    >>> from tilth.core import Run
    >>> probe = TwoHop(tokens=8, items=20)
    >>> world = probe.build(250, Run())
    >>> row = world.pool.table(["messages", "truth"]).to_pylist()[0]
    >>> [turn["content"] for turn in row["messages"]], row["truth"]["bridges"]
    (['t7 t3 t6', 't3'], ['t0'])
    >>> covered = world.goal.holdout.column("truth.covered").to_pylist()
    >>> sum(covered), probe.grade(world, covered)
    (10, 1.0)
    """

    paper: ClassVar[str] = "the_coverage_principle"

    task: Literal["two_hop", "parallel", "three_hop", "ambiguous"] = Field("two_hop", description="how tables compose")
    tokens: int = Field(20, ge=4, le=200, description="tokens there are; every table's inputs and outputs")
    k: int = Field(2, ge=1, le=100, description="contexts that two pairs must share to stand for one another")
    most: int = Field(8, ge=1, le=100, description="the largest depth looked for")
    bridge: bool = Field(False, description="the reply gives what the inner tables gave first, as a chain of thought")
    items: int = Field(100, ge=2, description="questions in the target and in the holdout, each")

    def build(self, size: int, run: Run) -> World:
        fragments = FRAGMENTS[self.task]
        width = 4 if self.task in ("parallel", "three_hop") else 3
        there_are = int(self.tokens**width)
        if size + 2 * self.items > there_are:
            raise DataError(
                f"two_hop has {there_are} inputs of {self.tokens} tokens; the pool, target and holdout need "
                f"{size + 2 * self.items}. Ask for fewer records or more tokens."
            )
        solve = self._tables(run.rng("tables"))
        rng = run.rng("inputs")
        codes = rng.choice(there_are, min(there_are, size + 40 * 2 * self.items), replace=False)
        drawn = [tuple(int(i) for i in item) for item in np.array(np.unravel_index(codes, (self.tokens,) * width)).T]
        seen, unseen = drawn[:size], drawn[size:]
        deep = depth(seen, [solve(x)[-1] for x in seen], unseen, max(self.most, self.k), fragments)
        asked = self._half_covered(deep)
        pool = questions((self._row(x, solve, True, None) for x in seen), TRUTH, "pool")
        target, holdout = (
            questions((self._row(unseen[i], solve, bool(deep[i] >= self.k), int(deep[i])) for i in part), TRUTH, name)
            for name, part in (("target", asked[0::2]), ("holdout", asked[1::2]))
        )
        return World(pool, Goal(target, holdout, Budget(size, "records")))

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("two_hop grades answers to a holdout, and this world has none. Build it with `build`.")
        covered = np.array(world.goal.holdout.column("truth.covered").to_pylist(), bool)
        if not covered.any() or covered.all() or len(answer) != covered.size:
            raise DataError(
                f"two_hop grades one reply or number per question of a holdout with covered and uncovered ones. Got "
                f"{len(answer)} for {covered.size} questions, {int(covered.sum())} of them covered."
            )
        if written(answer):
            last = [((reply or "").split() or [""])[-1] for reply in answer]
            return float(right(world.goal.holdout, last, "two_hop")[covered].mean())
        return auroc(answer, covered)

    def _half_covered(self, deep: npt.NDArray[np.int64]) -> list[int]:
        """Numbers of unseen inputs for target and holdout in turn, as many covered as not if there are enough."""
        sides = np.flatnonzero(deep >= self.k).tolist(), np.flatnonzero(deep < self.k).tolist()
        rare, common = sorted(sides, key=len)
        few = min(len(rare), self.items)
        return [*rare[:few], *common[: 2 * self.items - few]]

    def _tables(self, rng: np.random.Generator) -> Solve:
        n = self.tokens
        if self.task == "ambiguous":
            f, g = rng.integers(0, n, (n, n)), rng.integers(0, n, (n, n, n))
            return lambda x: [int(f[x[0], x[1]]), int(g[f[x[0], x[1]], x[1], x[2]])]
        f, g, h = rng.integers(0, n, (3, n, n))
        if self.task == "two_hop":
            return lambda x: [int(f[x[0], x[1]]), int(g[f[x[0], x[1]], x[2]])]
        if self.task == "parallel":
            return lambda x: [int(f[x[0], x[1]]), int(g[x[2], x[3]]), int(h[f[x[0], x[1]], g[x[2], x[3]]])]

        def three(x: Sequence[int]) -> list[int]:
            one = f[x[0], x[1]]
            two = g[one, x[2]]
            return [int(one), int(two), int(h[two, x[3]])]

        return three

    def _row(self, x: Sequence[int], solve: Solve, covered: bool, deep: int | None) -> Record:
        *bridges, answer = (f"t{value}" for value in solve(x))
        reply = " ".join([*bridges, answer]) if self.bridge else answer
        truth = {
            "answer": answer,
            "bridges": bridges,
            "covered": covered,
            "depth": None if deep is None else min(deep, self.most),
        }
        return question(" ".join(f"t{i}" for i in x), reply, self.task, truth)
