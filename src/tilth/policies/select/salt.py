"""Salt: first what a small model finds hard though guessable, then everything else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.core.errors import DataError
from tilth.policies.select._ranked import fill, numbers, one_group

__all__ = ["Salt"]


class Salt(Policy):
    """Puts the texts that are worth a small teacher's help into a first phase, and fills a second from the rest.

    A small language model has read every text (arXiv 2410.18779): `hardness` is the median cost of those tokens that
    are among its likeliest few, `guessable` the share of such tokens. What is hard and still guessable is learnable and
    not yet learnt. Noise is not guessable, and repeats are not hard. `share` of the budget goes to the first phase, by
    descending hardness among records that are guessable enough; the second phase is drawn by lot from all others.
    With ``rest: drop`` the first phase is the whole budget.

    The other half of the paper, a loss that follows the small model's predictions in the first phase only, belongs to
    a trainer, not to a plan. The test on `guessable` is ours: a median over a handful of lucky tokens says nothing.

    The columns are made by ``{use: teacher_student_gap, teacher: {model: lm}, student: {model: lm}}`` among the
    recipe's signals; with that signal's own defaults, classifiers, they are null.

    Cost: none beyond the columns (a pass of a small model). Trap: without the test gibberish comes first; with `least`
    at 0 it is switched off.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> columns = {"hard": [0.2, 1.5, 2.5, 0.1], "guess": [0.9, 0.8, 0.1, 0.9]}  # the third is noise
    >>> pool = TablePool(pa.table({"text": ["x"] * 4, **columns}))
    >>> goal = Goal(pool, pool, Budget(4, "records"))
    >>> policy = Salt(hardness="hard", guessable="guess", least=0.5, share=0.25)
    >>> policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run()).phase.tolist()
    [1, 0, 1, 1]
    """

    paper: ClassVar[str] = "a_little_help_goes_a_long"

    hardness: str = Field("teacher_student_gap.hardness", description="column: median cost of guessable tokens")
    guessable: str = Field("teacher_student_gap.guessable", description="column: share of tokens that are guessable")
    least: float | None = Field(None, ge=0, le=1, description="share that must be guessable; empty: the plan's median")
    share: float = Field(0.17, gt=0, le=1, description="share of the budget that is read first")
    rest: Literal["later", "drop"] = Field("later", description="whether other records are read in a second phase")
    prefer: Literal["hard", "easy"] = Field("hard", description="easy puts what is least hard first, as a control")

    @property
    def needs(self) -> Sequence[str]:
        return (self.hardness, self.guessable)

    def worst(self) -> Self:
        """The easiest first."""
        return self.model_copy(update={"prefer": "easy" if self.prefer == "hard" else "hard"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        hard, guess = numbers(pool, self.hardness, "salt"), numbers(pool, self.guessable, "salt")
        known = plan.kept & np.isfinite(hard) & np.isfinite(guess)
        if not known.any():
            raise DataError(
                f"salt: no record of the plan has both {self.hardness} and {self.guessable}. Score them with language "
                "models as teacher and student: `signals: [{use: teacher_student_gap, teacher: {model: lm}, student: "
                "{model: lm}}]`."
            )
        least = float(np.median(guess[known])) if self.least is None else self.least
        able = known & (guess >= least)
        if not able.any():
            raise DataError(f"salt: no record is guessable to {least:g}; the most is {guess[known].max():.2g}.")
        keys = np.where(able, hard if self.prefer == "hard" else -hard, np.nan).astype(np.float32)
        lot = run.uniform(plan.ids, "lot")
        one, budget = one_group(plan), float(plan.budget.amount)
        wanted = budget if self.rest == "drop" else min(budget, plan.amount) * self.share
        first, threshold = fill(plan, able, keys, lot, one, np.array([wanted]))
        keep = first
        if self.rest == "later":
            left = budget - float((plan.sizes * plan.repeats * first).sum())
            draw = np.where(plan.kept, lot, np.nan).astype(np.float32)
            keep = first | fill(plan, plan.kept & ~first, draw, lot, one, np.array([left]))[0]
        threshold["guessable"] = least
        told = "hardest" if self.prefer == "hard" else "easiest"
        return plan.revised(
            self.describe(),
            f"first the {int(first.sum()):,} {told} of {int(able.sum()):,} guessable records, then "
            f"{int((keep & ~first).sum()):,} others by lot",
            keep=keep,
            phase=np.where(first, 0, 1) if self.rest == "later" else None,
            threshold=threshold,
            values={"key": keys, "guessable": guess},
            reason="neither among the first nor drawn from the others",
            details={"able": int(able.sum()), "first": int(first.sum()), "unknown": int((plan.kept & ~known).sum())},
        )
