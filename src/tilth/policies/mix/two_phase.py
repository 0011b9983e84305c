"""TwoPhase: one mixture first, another one after, with a rest of the first kept against forgetting."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups
from tilth.policies.mix._phases import parted, phased

__all__ = ["TwoPhase"]


class TwoPhase(Policy):
    """Reads little of some sources in a first phase and much of them in a second, the others the other way round.

    `late` sources have the share `before` until `turn` of the budget has been read, and `after` from there; inside
    either kind shares are natural. Crystal (arXiv 2411.04156) reads language with some code, then mostly code with
    language to remember by; its token counts give the default `turn`. With ``before: 0`` and a scarce source as `late`
    it is pretraining on the plentiful first, then both jointly (arXiv 2312.06134): a scarce source is repeated only
    where it matters most. For skills that are fine-tuned first and kept by a small
    reminder there is `dmt`.

    One learning-rate schedule runs over both phases. The shares `before` and `after` are ours, as the sources do not
    tell them.

    Cost: none. Trap: `cap` holds for the whole plan, so a small late source fills less of the second phase than asked;
    `details` tells what each phase got, and a miss is warned about. What comes late is read at a low learning rate: in
    tiny runs a scarce source was learned better from a static mixture (`tilth claim choi2023_order`), and an even one
    of two large sources was as good (`tilth claim tao2024_crystal`). Without any of the early sources in the second
    phase (``after: 1``) they are forgotten.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 1000, "source": ["code", "prose"] * 500}))
    >>> goal = Goal(pool, pool, Budget(400, "records"))
    >>> policy = TwoPhase(late=("code",), before=0.1, after=0.6, turn=0.5)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> [round(phase["code"], 2) for phase in plan.decisions[0].details["phases"]]
    [0.1, 0.6]
    """

    paper: ClassVar[str] = "crystal"

    late: tuple[str, ...] = Field(min_length=1, description="sources that lead in the second phase", examples=[("a",)])
    before: float = Field(0.1, ge=0, le=1, description="their share of the first phase")
    after: float = Field(0.6, ge=0, le=1, description="their share of the second phase")
    turn: float = Field(0.27, gt=0, lt=1, description="part of the budget after which the second phase begins")
    by: str = Field("source", description="the column whose values are mixed")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")
    reverse: bool = Field(False, description="the second phase first, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The same records, the second phase first."""
        return self.model_copy(update={"reverse": not self.reverse})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        ours, others, _ = parted(plan, by, self.late, "two_phase")
        shares = np.array([part * ours + (1 - part) * others for part in (self.before, self.after)])
        lengths = np.array([self.turn, 1 - self.turn])
        order = slice(None, None, -1) if self.reverse else slice(None)
        names = ", ".join(self.late)
        note = f"{names} {self.before:.0%} of the first {self.turn:.0%} of the budget, {self.after:.0%} of the rest"
        if self.reverse:
            note += ", the rest read first"
        return phased(plan, self.describe(), note, shares[order], lengths[order], by, self.cap, run)
