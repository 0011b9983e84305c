"""ConstraintCurriculum: records with few constraints first, then those with many, among them a rest of the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field, field_validator

from tilth.core import Goal, Plan, Policy, Pool, Run, take_budget
from tilth.core.errors import DataError, UsageError
from tilth.policies.order._ranks import over, phases
from tilth.policies.select._ranked import numbers

__all__ = ["ConstraintCurriculum"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
STAGES = 1000  # most in a plan, over all its phases
OFF = 0.05  # a share of replay that misses what was asked by more is worth a warning


class ConstraintCurriculum(Policy):
    """Reads a plan in stages by a count, such as an instruction's constraints, each with a rest of the stages before.

    Stage s holds the records whose count lies above the s-th of `cuts` and not above the next; all of a stage is read
    before the next begins. With the default there are two, up to three constraints and more, as in step-by-step
    preference training on soft constraints (arXiv 2501.04945; where it cuts exactly is not sure). `replay` is the share
    of every later stage that is taken from the stages before it, by lot: a plan has one place for a record, so these
    are read later **instead of** earlier (ours), and the amount stays what it was.

    The same policy makes a warm-up by the number of tools or turns, or stages by length. Phases that the plan has are
    kept, with stages inside each. Order inside a stage is not changed. Records without a count are in the first stage.

    Cost: none. Trap: a stage is not a training of its own; the learning rate goes on. And records with many constraints
    tend to have long answers, so compare with the same records in random order.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> pool = TablePool(pa.table({"text": ["x"] * 200, "constraints": [1, 2, 3, 4, 5] * 40}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> policy = ConstraintCurriculum(by="constraints", replay=0.2)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.decisions[0].note
    'by constraints: 100 records up to 3, then 100 records above 3 (20% of these from before)'
    """

    paper: ClassVar[str] = "stepbystep_mastery"

    by: str = Field(description="column with the count (a number)", examples=["tokens.count"])
    cuts: tuple[float, ...] = Field(
        (3.0,), min_length=1, max_length=20, description="the most of each stage but the last"
    )
    replay: float = Field(0.1, ge=0, le=0.9, description="share of a later stage that is from the stages before it")
    reverse: bool = Field(False, description="the last stage first, as a negative control")

    @field_validator("cuts")
    @classmethod
    def _rising(cls, cuts: tuple[float, ...]) -> tuple[float, ...]:
        if any(b <= a for a, b in pairwise(cuts)):
            raise ValueError(f"each must be above the one before; got {', '.join(f'{c:g}' for c in cuts)}")
        return cuts

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """The stages from last to first, replay included."""
        return self.model_copy(update={"reverse": not self.reverse})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        raw = numbers(pool, self.by, "constraint_curriculum")
        kept, count = plan.kept, len(self.cuts) + 1
        if not np.isfinite(raw[kept]).any():
            raise DataError(f"constraint_curriculum: no record kept has a number in {self.by}. Score the column first.")
        old = np.unique(plan.phase[kept])
        if old.size * count > STAGES:
            raise UsageError(f"constraint_curriculum: {count} stages in each of {old.size} phases exceed {STAGES}.")
        # NaN is below every cut: the first stage, also where the stages are read from last to first.
        own = np.searchsorted(np.asarray(self.cuts), np.nan_to_num(raw, nan=-np.inf), side="left").astype(np.int64)
        own = np.where(np.isfinite(raw), len(self.cuts) - own if self.reverse else own, 0)
        amounts, lots = plan.sizes * plan.repeats, run.uniform(plan.ids, "replay")
        stage = own.copy()
        for rows in phases(plan):
            for later in range(1, count):
                stage[self._again(rows, later, own, stage, amounts, lots)] = later
        phase = np.where(kept, np.searchsorted(old, plan.phase) * count + stage, 0)
        told = [_sizes(own, stage, amounts * kept, number) for number in range(count)]
        missing = int((kept & ~np.isfinite(raw)).sum())
        made = plan.revised(
            self.describe(),
            self._note(np.bincount(stage[kept], minlength=count), told, missing),
            phase=phase,
            values={"count": raw},
            details={"stages": told, "unknown": missing},
        )
        return self._judged(made, np.bincount(own[kept], minlength=count), told)

    def _again(self, rows: Ints, later: int, own: Ints, stage: Ints, amounts: Ints, lots: Floats) -> Ints:
        """The records of earlier stages that a stage reads: by lot, at most half of those not moved before."""
        mine = float(amounts[rows[own[rows] == later]].sum())
        before = rows[(own[rows] < later) & (stage[rows] == own[rows])]
        before = before[np.argsort(lots[before], kind="stable")]
        want = min(mine * self.replay / (1 - self.replay), float(amounts[before].sum()) / 2)
        moved: Ints = before[: take_budget(amounts[before], want)]
        return moved

    def _note(self, counts: Ints, told: Sequence[Mapping[str, float]], missing: int) -> str:
        names = [f"up to {self.cuts[0]:g}"]
        names += [f"above {a:g} up to {b:g}" for a, b in pairwise(self.cuts)]
        names += [f"above {self.cuts[-1]:g}"]
        parts = [
            f"{number:,} records {name}" + (f" ({one['replay']:.0%} of these from before)" if one["replay"] else "")
            for number, name, one in zip(counts.tolist(), names[:: -1 if self.reverse else 1], told, strict=True)
        ]
        lost = f"; {missing:,} without {self.by} in the first stage" if missing else ""
        return f"by {self.by}: {', then '.join(parts)}{lost}"

    def _judged(self, made: Plan, sizes: Ints, told: Sequence[Mapping[str, float]]) -> Plan:
        if not sizes.all():
            made = made.warned(
                f"{int((sizes == 0).sum())} of {sizes.size} stages have no record of their own: move `cuts`"
            )
        short = [one["replay"] for one in told[1:] if one["amount"] and abs(one["replay"] - self.replay) > OFF]
        if short:
            made = made.warned(
                f"a stage has {short[0]:.0%} of earlier records, {self.replay:.0%} were asked: too few are there"
            )
        if over(made):
            made = made.warned("the plan holds more than its budget, so the last stages are not read: select before")
        return made


def _sizes(own: Ints, stage: Ints, amounts: Ints, number: int) -> dict[str, float]:
    """What a stage reads, and the share of it that is from earlier ones."""
    all_of = float(amounts[stage == number].sum())
    again = float(amounts[(stage == number) & (own < number)].sum())
    return {"amount": all_of, "replay": again / max(all_of, 1.0)}
