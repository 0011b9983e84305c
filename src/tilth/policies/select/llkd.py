"""Llkd: train the student on what its teacher is sure of and itself is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run, groups
from tilth.core.errors import DataError
from tilth.policies.select._ranked import fill, numbers, one_group

__all__ = ["Llkd"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Llkd(Policy):
    """Keeps records on which a teacher is confident and a student uncertain, by thresholds that each class has.

    For distillation on a teacher's labels (Li et al. 2024, arXiv 2411.08028): an unsure teacher is often wrong, and a
    certain student has nothing to learn. A class's threshold is the mean over the plan, scaled by the class's own mean
    and divided by the largest class mean, so a class that is harder throughout is not starved. Records that pass both
    fill the budget by ``weight``: confidence times (1 + uncertainty), their sum, or by lot. Where fewer pass than the
    budget holds, no more are taken: this is meant to read less.

    The paper moves both thresholds while the student trains; here they are taken once, from columns that a young
    student made, so after a while score again. Means in place of moving averages and the weights are ours.

    Cost: none beyond the columns. Trap: uncertainty alone gathers the teacher's mistakes (the exam shows it), so the
    teacher's test is never optional; and a teacher whose confidences are all 1 tests nothing, which is warned about.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> columns = {"sure": [0.9, 0.9, 0.4, 0.4], "open": [0.5, 0.1, 0.6, 0.1], "says": ["yes"] * 4}
    >>> pool = TablePool(pa.table({"text": ["x"] * 4, **columns}))
    >>> goal = Goal(pool, pool, Budget(4, "records"))
    >>> policy = Llkd(confidence="sure", uncertainty="open", label="says")
    >>> policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run()).kept.tolist()
    [True, False, False, False]
    """

    paper: ClassVar[str] = "learning_with_less"

    confidence: str = Field("teacher_student_gap.teacher_confidence", description="column: the teacher's confidence")
    uncertainty: str = Field("teacher_student_gap.student_uncertainty", description="column: the student's uncertainty")
    label: str = Field("teacher_student_gap.label", description="column: the teacher's label; empty: one class")
    weight: Literal["product", "sum", "uniform"] = Field("product", description="what goes first in a small budget")
    seek: Literal["learnable", "useless"] = Field("learnable", description="useless keeps what fails both tests")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(c for c in (self.confidence, self.uncertainty, self.label) if c))

    def worst(self) -> Self:
        """What fails both tests: the teacher is unsure, and the student is certain."""
        return self.model_copy(update={"seek": "useless" if self.seek == "learnable" else "learnable"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "llkd")
        by = groups(pool, self.label) if self.label else one_group(plan)
        sure, open_ = numbers(pool, self.confidence, "llkd"), numbers(pool, self.uncertainty, "llkd")
        known = plan.kept & np.isfinite(sure) & np.isfinite(open_)
        if not known.any():
            raise DataError(
                f"llkd: no record of the plan has both {self.confidence} and {self.uncertainty}. Score them, with a "
                f"target that has labels for a teacher to learn from."
            )
        sure_cut, open_cut = _thresholds(sure, known, by), _thresholds(open_, known, by)
        taught, asked = known & (sure >= sure_cut[by.index]), known & (open_ >= open_cut[by.index])
        best = self.seek == "learnable"
        passing = taught & asked if best else known & ~taught & ~asked
        if not passing.any():
            raise DataError(f"llkd: none of {int(known.sum()):,} records is {self.seek}: the columns hardly vary.")
        worth = {"product": sure * (1 + open_), "sum": sure + open_, "uniform": np.zeros(len(plan))}[self.weight]
        keys = np.where(known, worth if best else -worth, np.nan).astype(np.float32)
        one = one_group(plan)
        ties = run.uniform(plan.ids, "ties")
        keep, threshold = fill(plan, passing, keys, ties, one, np.array([float(plan.budget.amount)]))
        has = by.sums(known) > 0
        for name, cuts in (("confidence", sure_cut), ("uncertainty", open_cut)):
            threshold |= {
                f"{name}:{c}" if self.label else name: float(cuts[i]) for i, c in enumerate(by.names) if has[i]
            }
        warnings = []
        if np.ptp(sure[known]) < 1e-3:
            warnings.append("the teacher is equally sure of everything: its test drops nothing; use votes of several")
        missing = int((plan.kept & ~known).sum())
        return plan.revised(
            self.describe(),
            f"{int(keep.sum()):,} of {int(passing.sum()):,} records that the teacher is "
            + ("sure of and the student is not" if best else "unsure of and the student is certain of")
            + (f"; {missing:,} without columns dropped" if missing else ""),
            keep=keep,
            threshold=threshold,
            values={"key": keys, "confidence": sure, "uncertainty": open_},
            reason="fails a test of teacher or student, or beyond the budget",
            details={
                "taught": int(taught.sum()),
                "asked": int(asked.sum()),
                "passing": int(passing.sum()),
                "unknown": missing,
                "warnings": warnings,
            },
        )


def _thresholds(values: Floats, known: Bools, by: Groups) -> Floats:
    """(classes,) the mean of all, times the class's mean, over the largest class mean."""
    mean = by.sums(np.where(known, values, 0.0)) / np.maximum(by.sums(known), 1)
    return np.asarray(values[known].mean() * mean / max(mean.max(), 1e-300))
