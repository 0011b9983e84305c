"""DataDiet: keep the hard records, but not the very hardest, with a quota for each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run, groups
from tilth.core.errors import DataError
from tilth.policies.select._ranked import Unknown, even, fill, numbers, one_group

__all__ = ["DataDiet"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class DataDiet(Policy):
    """Prunes by a difficulty score: a window over each class's ranks that starts below the very hardest.

    Easy records teach nothing new, so the hard ones are kept; but the hardest few are mostly wrong labels, so the
    share `offset` of each class is left out at that end first. Scores differ between classes (a rare one looks hard),
    so every group of `balance` has its own ranks, and its share of the plan or, with ``quota: equal``, as much as any
    other. To drop doubtful labels and nothing else, state ``offset: 0.1, keep: 0.9``.

    Cost: one sort. Trap: how many labels are wrong is not known to the policy. With an offset below that share, a
    small `keep` gathers the rest of them; with none it is worse than random. `el2n.score` must come from an early
    model: one that has memorised its data finds wrong labels easy. Without `keep` the budget is filled.
    Sources: Paul et al. 2021, Deep learning on a data diet (arXiv 2107.07075); on text Fayyaz et al. 2022 (arXiv
    2211.05610). Equal quotas are ours.

    >>> from tilth.core import Budget, Plan
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> from tilth.signals.difficulty.el2n import El2n
    >>> world = LabelNoise(flip=0.1).build(600, Run())
    >>> pool, goal = score_in_memory(El2n(), world.pool), Goal(world.pool, world.pool, Budget(300, "records"))
    >>> wrong = np.array([t["flipped"] for t in pool.column("truth").to_pylist()])
    >>> start = Plan.everything(pool, goal.budget)
    >>> for offset in (0.0, 0.12):  # wrong labels among the 300 kept of 600, of which 60 are wrong
    ...     kept = DataDiet(offset=offset).revise(start, pool, goal, Run()).kept
    ...     print(offset, int((kept & wrong).sum()) > 55, int((kept & wrong).sum()) < 10)
    0.0 True False
    0.12 False True
    """

    paper: ClassVar[str] = "bert_on_a_data_diet"

    by: str = Field("el2n.score", description="column with the difficulty")
    keep: float | None = Field(None, gt=0, le=1, description="share of the plan to keep; empty fills the budget")
    offset: float = Field(0.05, ge=0, lt=1, description="share left out at the hard end first")
    balance: str = Field("label", description="column whose groups are ranked and filled apart; empty: all together")
    quota: Literal["natural", "equal"] = Field("natural", description="how much each group keeps")
    high: bool = Field(True, description="whether high scores are hard")
    prefer: Literal["hard", "easy"] = Field("hard", description="which end is kept")
    unknown: Unknown = Field("drop", description="what to do with records without a score")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(column for column in (self.by, self.balance) if column)

    def worst(self) -> Self:
        """The other end: the easiest records."""
        return self.model_copy(update={"prefer": "easy" if self.prefer == "hard" else "hard"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "data_diet (`balance: ''` ranks all records together)")
        raw = numbers(pool, self.by, "data_diet")
        hard = (raw if self.high else -raw).astype(np.float32)
        known = np.isfinite(raw)
        missing = int((plan.kept & ~known).sum())
        if missing and (self.unknown == "error" or missing == plan.kept.sum()):
            raise DataError(
                f"data_diet: {missing:,} of {int(plan.kept.sum()):,} records have no {self.by}. Score the column for "
                f"all records, or choose unknown: keep or drop."
            )
        ties = run.uniform(plan.ids, "ties")
        by = groups(pool, self.balance) if self.balance else one_group(plan)
        sizes = plan.sizes * plan.repeats
        total = plan.amount * self.keep if self.keep is not None else float(plan.budget.amount)
        top, above = fill(plan, plan.kept & known, hard, ties, by, self.offset * by.sums(sizes * (plan.kept & known)))
        eligible = plan.kept & ~top & (known | (self.unknown == "keep"))
        room = by.sums(sizes * eligible)
        amounts = even(room, total) if self.quota == "equal" else _natural(by.sums(sizes * plan.kept), room, total)
        keys = np.where(top, np.nan, hard if self.prefer == "hard" else -hard).astype(np.float32)
        keep, threshold = fill(plan, eligible, keys, ties, by, amounts)
        threshold |= {name.replace("key", "offset", 1): value for name, value in above.items()}
        return plan.revised(
            self.describe(),
            self._note(int(keep.sum()), int(top.sum()), missing),
            keep=keep,
            threshold=threshold,
            values={"key": keys, "score": raw},
            reason="among the hardest, left out, or beyond its group's quota",
            details={"unknown": missing, "left_out": int(top.sum()), "groups": _counts(by, plan.kept, top, keep)},
        )

    def _note(self, kept: int, top: int, missing: int) -> str:
        end = "hardest" if self.prefer == "hard" else "easiest"
        each = f", each {self.balance} by itself" if self.balance else ""
        lost = f"; {missing:,} without it {'kept' if self.unknown == 'keep' else 'dropped'}" if missing else ""
        return f"the {kept:,} {end} by {self.by} after the very hardest {top:,} were left out{each}{lost}"


def _natural(has: Floats, room: Floats, total: float) -> Floats:
    """Each group's share of the total by what the plan has of it, never more than is left of it."""
    return np.asarray(np.minimum(room, total * has / max(has.sum(), 1.0)))


def _counts(by: Groups, before: Bools, top: Bools, keep: Bools) -> dict[str, dict[str, int]]:
    columns = {"records": before, "left_out": top, "kept": keep}
    sums = {name: by.sums(mask) for name, mask in columns.items()}
    return {group: {name: int(sums[name][g]) for name in columns} for g, group in enumerate(by.names)}
