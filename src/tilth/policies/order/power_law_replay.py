"""PowerLawReplay: tasks one after the other, with a little of the earlier ones, the recent rather than the old."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups, take_budget
from tilth.core.errors import UsageError

__all__ = ["PowerLawReplay", "replay_weights"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Kernel = Literal["power", "exponential", "uniform", "none"]
MOST = 500  # tasks; details hold a table of tasks by tasks
MISSED = 0.1  # a phase that replays so much less than asked is worth a warning


class PowerLawReplay(Policy):
    """One phase per task, in the order of `tasks`; a share `replay` of each later phase are records of earlier tasks.

    An earlier task is met again as a power of its age: of the replay in phase k, task j gets a part proportional to
    ``(k - j)^-exponent``, as people meet things again (arXiv 2401.10393). ``kernel: exponential`` lets it fall as
    ``exp(-(k - j) / tau)``, ``uniform`` treats all earlier tasks alike, ``none`` is plain sequential training.

    A plan reads a record in one phase only, so a replayed record is not one that was read before: a part `buffer` of
    each task at most is held back for later phases, and read several times there, up to `cap`, where the replay asks
    for more than that. Parts are allotted, not drawn: they are right to the record. Where all is more than the budget,
    every task gives up the same share of its records by lot, lest the last tasks fall off the end: with such a budget
    kernels can be compared, as they then read equally much. `details` tells what each phase reads.

    Not here: the paper's events, where what is met again depends on when it was last met. Cost: none. Trap: with few
    tasks `uniform` is hard to beat (claim `gandhi2024_power_law_replay`: with ten, power was 0.19 ahead of exponential
    and 0.03 behind uniform); a large `exponent` replays the last task alone; and in one run with one
    learning-rate schedule, later tasks are learned at lower rates.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 4000, "year": ["1", "2", "3", "4"] * 1000}))
    >>> goal = Goal(pool, pool, Budget(6000, "records"))
    >>> plan = PowerLawReplay(by="year").revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> [round(share, 2) for share in plan.decisions[-1].details["phases"][3].values()]
    [0.04, 0.05, 0.11, 0.8]
    """

    paper: ClassVar[str] = "catastrophic_interference_is_mitigated_in_naturalistic"

    by: str = Field("source", description="the column whose values are the tasks")
    tasks: tuple[str, ...] = Field((), description="its values, in the order of learning; empty: sorted")
    kernel: Kernel = Field("power", description="how replay falls with a task's age, in phases")
    exponent: float = Field(1.0, ge=0, description="of the power")
    tau: float = Field(1.0, gt=0, description="phases in which the exponential falls to 1/e")
    replay: float = Field(0.2, ge=0, lt=1, description="share of each phase but the first that are earlier tasks")
    buffer: float = Field(0.1, gt=0, lt=1, description="largest part of a task that is held back for later phases")
    cap: int = Field(4, ge=1, description="most readings of a record held back, if the goal allows as many")
    reverse: bool = Field(False, description="the oldest task most, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The oldest task is met again most; kernels that treat all alike have no opposite."""
        if self.kernel in ("uniform", "none"):
            return self
        return self.model_copy(update={"reverse": not self.reverse})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        names, task = self._tasks(plan, pool)
        count = len(names)
        lots = run.uniform(plan.ids, "replay")
        weights = self._weights(count)
        phase, repeats = task.astype(np.int64), plan.repeats.astype(np.int64)
        held, wanted, keep = self._split(plan, task, lots, weights)
        cap = min(self.cap, max(1, int(plan.limits.repeats or self.cap)))
        for j, rows in enumerate(held):
            _place(rows, wanted[:, j], plan.sizes, cap, phase, repeats)
        repeats[~keep] = 0
        read = np.zeros((count, count))
        np.add.at(read, (phase[keep], task[keep]), (plan.sizes * repeats)[keep])
        told = [dict(zip(names, (row / max(row.sum(), 1)).tolist(), strict=True)) for row in read]
        met = np.array([row[:k].sum() for k, row in enumerate(read)])
        made = plan.revised(
            self.describe(),
            f"{count} tasks in sequence, {self._said()}",
            repeats=repeats,
            phase=phase,
            reason="there was no room in the budget",
            details={"phases": told, "asked": weights.tolist(), "replayed": met.tolist()},
        )
        asked = wanted.sum(1)
        if short := [k for k in range(1, count) if asked[k] > 0 and met[k] < (1 - MISSED) * asked[k]]:
            k = short[0]
            made = made.warned(
                f"phase {k + 1} replays {met[k]:,.0f} of {asked[k]:,.0f} asked: too little was held back. Raise "
                f"`buffer` or `cap`, or lower `replay`"
            )
        return made

    def _tasks(self, plan: Plan, pool: Pool) -> tuple[list[str], Ints]:
        """The tasks in the order of learning, and which each kept record is of; 0 of those that are out."""
        by = groups(pool, self.by)
        there = np.bincount(by.index[plan.kept], minlength=len(by.names)) > 0
        names = list(self.tasks) or [name for name, some in zip(by.names, there, strict=True) if some]
        if missing := [name for name in names if name not in by.names or not there[by.names.index(name)]]:
            raise UsageError(
                f"power_law_replay: no record of the plan has {missing[0]!r} in {self.by}. It has "
                f"{', '.join(name for name, some in zip(by.names, there, strict=True) if some)}."
            )
        if len(names) > MOST:
            raise UsageError(
                f"power_law_replay: {len(names):,} values of {self.by} would be as many phases; {MOST} is the most. "
                f"Name a coarser column, or the `tasks`."
            )
        place = np.array([names.index(name) if name in names else -1 for name in by.names])
        task = np.where(plan.kept, place[by.index], 0)
        if (task < 0).any():
            raise UsageError(
                f"power_law_replay: {by.names[int(by.index[task < 0][0])]!r} in {self.by} is none of its tasks. Name "
                f"it in `tasks`, or drop its records before."
            )
        return names, task

    def _weights(self, count: int) -> Floats:
        return replay_weights(count, self.kernel, self.exponent, self.tau, self.reverse)

    def _needed(self, whole: Floats, weights: Floats) -> tuple[Floats, Floats]:
        """How much of each task is read in its own phase, and in each phase of each earlier task, (phases, tasks).

        Solved from the last task, which holds nothing back, to the first: what the later phases want of a task follows
        from what they read of their own.
        """
        first, wanted = whole.copy(), np.zeros_like(weights)
        for j in reversed(range(whole.size)):
            first[j] -= min(wanted[:, j].sum(), self.buffer * whole[j])
            wanted[j] = first[j] * self.replay / (1 - self.replay) * weights[j]
        return first, wanted

    def _split(
        self, plan: Plan, task: Ints, lots: Floats, weights: Floats
    ) -> tuple[list[Ints], Floats, npt.NDArray[np.bool_]]:
        """Rows of each task that are held back, how much each phase wants of each task, and which rows are kept."""
        amounts = plan.sizes * plan.repeats
        rows = [np.flatnonzero(plan.kept & (task == j)) for j in range(len(weights))]
        rows = [part[np.argsort(lots[part], kind="stable")] for part in rows]
        whole = np.array([amounts[part].sum() for part in rows], float)
        first, wanted = self._needed(whole, weights)
        room = 1.0
        if plan.steering is None:  # of a steered plan amounts only say what there is to read
            room = min(1.0, plan.budget.amount / max(first.sum() + wanted.sum(), 1.0))
        keep = np.zeros(len(plan), bool)
        held = []
        for j, part in enumerate(rows):
            part = part if room == 1.0 else part[: max(1, take_budget(amounts[part], float(whole[j]) * room))]
            keep[part] = True
            held.append(part[max(1, take_budget(amounts[part], float(first[j]) * room)) :])
        return held, wanted * room, keep

    def _said(self) -> str:
        if self.kernel == "none" or not self.replay:
            return "nothing replayed"
        how = {
            "power": f"falling as age to the power -{self.exponent:g}",
            "exponential": f"falling as exp(-age / {self.tau:g})",
            "uniform": "of all earlier tasks alike",
            "none": "",
        }[self.kernel]
        return f"{self.replay:.0%} of each phase replayed, {how}" + (", the oldest most" if self.reverse else "")


def replay_weights(
    count: int, kernel: Kernel, exponent: float = 1.0, tau: float = 1.0, reverse: bool = False
) -> Floats:
    """Of the replay in each phase the part of each task, (count, count); rows sum to 1, or 0 where nothing is replayed.

    >>> replay_weights(3, "power").round(2).tolist()
    [[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.33, 0.67, 0.0]]
    """
    phase, task = np.indices((count, count))
    age = np.where(reverse, task + 1, phase - task).astype(np.float64)
    earlier = task < phase
    age = np.where(earlier, age, 1.0)
    made = {"power": age**-exponent, "exponential": np.exp((1 - age) / tau), "uniform": age**0, "none": age * 0}[kernel]
    made = np.where(earlier, made, 0.0)
    return np.asarray(made / np.maximum(made.sum(1, keepdims=True), 1e-300))


def _place(rows: Ints, wanted: Floats, sizes: Ints, cap: int, phase: Ints, repeats: Ints) -> None:
    """Give a task's records held back a phase and repeats each, so that every phase gets what it wants of them."""
    if not rows.size or wanted.sum() <= 0:
        return
    mine = sizes[rows].astype(np.float64)
    ends = np.cumsum(wanted) / wanted.sum()
    middle = (np.cumsum(mine) - mine / 2) / mine.sum()
    at = np.minimum(np.searchsorted(ends, middle, side="right"), len(wanted) - 1)
    for k in np.unique(at).tolist():
        some = rows[at == k]
        times, rest = divmod(float(wanted[k]), float(sizes[some].sum()))
        if times >= cap:
            times, rest = float(cap), 0.0
        more = take_budget(sizes[some], rest)
        given = np.full(some.size, int(times))
        given[:more] += 1
        again = given > 0  # what rounding leaves over goes back to its own phase, read as often as it was
        phase[some[again]] = k
        repeats[some[again]] = given[again]
