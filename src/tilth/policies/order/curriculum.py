"""Curriculum: easy records first, by any column, as fast as a pacing function says."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, model_validator

from tilth.core import Goal, Plan, Policy, Pool, Run, take_budget
from tilth.core.errors import DataError
from tilth.kernels.order import draw_released
from tilth.models.pacing import Pacing, Shape
from tilth.policies.order._ranks import ordered, over, phases
from tilth.policies.select._ranked import numbers

__all__ = ["Curriculum"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
EASY = 0.25  # the part of the records whose use is told
PARTS = 10  # parts of the reading for which it is told


class Curriculum(Policy):
    """Orders a plan by difficulty, paced: each place is drawn uniformly from the records below a rising limit.

    After a share u of the reading, a record is drawn by lot from those not yet read whose percentile in `by` is at most
    d(u). d is `first` up to `start`, rises to 1 at `end` in the `pacing`'s shape, and stays there, so easy records are
    still read later, and the end reads everything. CLIMB (arXiv 2311.08886) draws anew at each step; a plan has one
    place for a record, so draws here are without replacement (ours). That is much the same where the plan holds
    several times what the budget has room for (3 for the defaults): draws end when the budget is full, the rest is
    dropped. **A plan no larger than its budget must read nearly all that is released**, so easy records run out early
    and the order comes near to sorting (`log`, which opens early, is the exception). `details` tells the share of the
    easiest quarter in each tenth of the reading, and a warning says when little is left of them in the last.

    ``pacing: sort`` sorts, and draws what to sort by lot where the plan is larger than the budget. ``direction: down``
    begins with what is largest in `by`; ``mixed`` takes both ends first and the middle last. Percentiles are by record
    and inside each phase; equal values go by lot. Records without a value are spread over the phase.

    Cost: one sort and one draw a record. Trap: the papers that looked with enough seeds find no gain in general from
    such curricula, CLIMB among them, and nor does our own trial (claim `martinez2023_climb`: -0.004 and +0.026 nats
    against random order, over five seeds); prove against the same records in random order before believing one.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 4000, "hard": [i / 4000 for i in range(4000)]}))
    >>> goal = Goal(pool, pool, Budget(500, "records"))
    >>> plan = Curriculum(by="hard").revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> rows = plan.reading_order(Run())[0].tolist()
    >>> max(rows[:30]) < 400, min(rows[-60:]) < 400, max(rows[-60:]) > 3600  # easy ones only; everything
    (True, True, True)
    """

    paper: ClassVar[str] = "climb_2"

    by: str = Field(description="column with the difficulty (a number)", examples=["perplexity.bits_per_byte"])
    direction: Literal["up", "down", "mixed"] = Field("up", description="small values first, large first, both ends")
    pacing: Shape | Literal["sort"] = Field("linear", description="how the limit rises; sort: no draws, just sorted")
    start: float = Field(0.0625, ge=0, le=1, description="share of the reading before the limit rises")
    end: float = Field(0.875, ge=0, le=1, description="share of the reading after which everything is drawn from")
    first: float = Field(0.1, ge=0, le=1, description="percentile that is drawn from at first")

    @model_validator(mode="after")
    def _rises(self) -> Self:
        if self.start >= self.end:
            raise ValueError(f"start ({self.start:g}) must be below end ({self.end:g})")
        return self

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The other direction; `mixed` has no opposite."""
        turned: dict[str, Literal["up", "down", "mixed"]] = {"up": "down", "down": "up", "mixed": "mixed"}
        return self.model_copy(update={"direction": turned[self.direction]})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        raw = numbers(pool, self.by, "curriculum")
        if not np.isfinite(raw[plan.kept]).any():
            raise DataError(f"curriculum: none of the records kept has a number in {self.by}. Score the column first.")
        lots, ties = run.uniform(plan.ids, "draw"), run.uniform(plan.ids, "ties")
        amounts = plan.sizes * plan.repeats
        room = plan.budget.amount / amounts.sum() if over(plan) else 1.0
        rank, percentile = np.full(len(plan), np.nan), np.full(len(plan), np.nan)
        keep, early = np.zeros(len(plan), bool), 0
        for rows in phases(plan):
            known = np.isfinite(raw[rows])
            unknown = rows[~known][np.argsort(ties[rows[~known]])]
            keep[unknown[: _taken(amounts[unknown], room)]] = True
            rows = rows[known]
            rows = rows[np.lexsort((ties[rows], raw[rows] if self.direction != "down" else -raw[rows]))]
            if self.direction == "mixed":
                ends = np.minimum(np.arange(rows.size), np.arange(rows.size)[::-1])
                rows = rows[np.argsort(ends, kind="stable")]
            percentile[rows] = np.arange(1, rows.size + 1) / max(rows.size, 1)
            order, some = self._drawn(rows, amounts, lots, room)
            keep[order] = True
            rank[order] = np.arange(order.size) / max(order.size, 1)
            early += some
        missing = int((plan.kept & ~np.isfinite(raw)).sum())
        used = _used(rank, percentile, amounts)
        return self._told(
            ordered(
                plan,
                self.describe(),
                self._note(int((keep & ~np.isnan(rank)).sum()), missing),
                np.where(keep, rank, np.nan),
                keep=keep,
                values={"percentile": percentile},
                reason="the budget was full before it was drawn",
                details={"easiest": used, "early": early, "unknown": missing, "times": self._pace().times},
            ),
            used,
            early,
        )

    def _pace(self) -> Pacing:
        shape: Shape = "linear" if self.pacing == "sort" else self.pacing
        return Pacing(shape, self.start, self.end, self.first)

    def _drawn(self, rows: Ints, amounts: Ints, lots: Floats, room: float) -> tuple[Ints, int]:
        """The records of a phase in the order of reading, from those in the order of difficulty; and how many early."""
        if self.pacing == "sort":
            by_lot = np.argsort(lots[rows], kind="stable")
            taken = np.sort(by_lot[: _taken(amounts[rows[by_lot]], room)])
            return rows[taken], 0
        release = self._pace().release(np.arange(1, rows.size + 1) / max(rows.size, 1))
        horizon = max(float(amounts[rows].sum()) * room, 1.0)
        last = np.inf if room >= 1.0 else horizon
        order, _, early = draw_released(release, amounts[rows], lots[rows], horizon, last)
        return rows[order[: take_budget(amounts[rows[order]], horizon) if room < 1.0 else None]], early

    def _note(self, count: int, missing: int) -> str:
        way = {"up": "from small to large", "down": "from large to small", "mixed": "from both ends to the middle of"}
        how = "sorted" if self.pacing == "sort" else f"drawn with {self.pacing} pacing"
        lost = f"; {missing:,} without {self.by} spread among them" if missing else ""
        return f"{count:,} records {how} {way[self.direction]} {self.by}{lost}"

    def _told(self, made: Plan, used: list[float], early: int) -> Plan:
        if self.pacing == "sort":
            return made
        if early:
            made = made.warned(
                f"{early:,} records were read before the pacing released them: nothing easier was left. Use a pacing "
                f"that opens earlier, a larger `first`, or leave more records in the plan"
            )
        late = (np.arange(100) + 0.5) / 100 / PARTS + 1 - 1 / PARTS
        wanted = float(np.minimum(1.0, EASY / np.maximum(self._pace().limit(late), EASY)).mean())
        if used[-1] < wanted / 2:
            made = made.warned(
                f"the easiest quarter is {used[-1]:.0%} of the last tenth of the reading ({wanted:.0%} if draws were "
                f"made anew): easy records ran out. The plan should hold several times what the budget has room for"
            )
        return made


def _taken(amounts: Ints, room: float) -> int:
    """How many of the first records are taken when there is room for this share of them."""
    return amounts.size if room >= 1.0 else take_budget(amounts, float(amounts.sum()) * room)


def _used(rank: Floats, percentile: Floats, amounts: Ints) -> list[float]:
    """The share of the easiest quarter in each tenth of the reading, by amount."""
    some = np.flatnonzero(~np.isnan(rank))
    part = np.minimum((rank[some] * PARTS).astype(np.int64), PARTS - 1)
    read = amounts[some].astype(np.float64)
    all_of = np.bincount(part, read, PARTS)
    easy = np.bincount(part, read * (percentile[some] <= EASY), PARTS)
    return [float(x) for x in easy / np.maximum(all_of, 1e-300)]
