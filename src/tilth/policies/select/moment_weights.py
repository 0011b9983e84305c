"""MomentWeights: read records as often as gives the wanted means, and change nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field, field_validator

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.core.errors import DataError, UsageError
from tilth.models.tilting import Tilt, scaled, tilt
from tilth.policies.select._ranked import numbers
from tilth.policies.select._weighted import bounds, drawn

__all__ = ["MomentWeights"]

Floats = npt.NDArray[np.float64]
FEW = 0.1  # effective share of the plan below which a few records stand for all


class _Moment(NamedTuple):
    """A column, or one value of it, and its wanted mean; None where the target says it."""

    column: str
    value: str
    mean: float | None

    @property
    def name(self) -> str:
        return f"{self.column}:{self.value}" if self.value else self.column


class MomentWeights(Policy):
    """Weights records so that columns have the means you state, as near to the pool as can be, and draws by them.

    A moment is ``column = number``, ``column:value = share`` or ``column = target`` (the target's own mean; it must
    have the column). ``moments: ["source:web = 0.5", "quality.word_count = 120", "el2n.score = target"]`` asks for
    three at once, which mixing by one column cannot. Of all weights with these means those of least KL divergence are
    taken, ``w ~ exp(beta . f)``: records alike in the columns named stay in the proportions they had. Means count
    sizes: of what is read, in the budget's unit.

    Records are read `cap` times at most; weights with that bound are found exactly. What cannot be had is an error that
    says how near it comes; `slack` takes the compromise instead. `details` has the coefficients, the divergence, the
    effective sample size and the means before and after.

    Cost: a few seconds for a million records of ten columns. Trap: a mean is a promise about a column, not about the
    world: a classifier that errs makes its error's mean right. Source: arXiv 2209.06970 (moment constraints for
    generators); the bound, the slack and the systematic draw are ours.

    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> kinds = ["ham", "spam", "spam", "spam", "spam"] * 100
    >>> pool = TablePool(pa.table({"text": ["x"] * 500, "kind": kinds, "long": [0, 0, 1, 1, 1] * 100}))
    >>> goal = Goal(pool, pool, Budget(200, "records"))
    >>> policy = MomentWeights(moments=("kind:ham = 0.5", "long = 0.4"))
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.decisions[0].details["means"]["kind:ham"]
    {'asked': 0.5, 'before': 0.2, 'after': 0.5}
    """

    paper: ClassVar[str] = "generative_visual_prompt"

    moments: tuple[str, ...] = Field(
        min_length=1,
        description="what is to hold: 'column = number', 'column:value = share' or 'column = target'",
        examples=[("source:a = 0.6",)],
    )
    cap: float = Field(4.0, ge=1, description="most times a record is read")
    slack: float = Field(0.0, ge=0, description="standard deviations of a miss that are worth one nat; 0 allows none")
    unknown: Literal["drop", "error"] = Field("drop", description="what to do with records that lack a column's value")
    seek: Literal["toward", "away"] = Field("toward", description="away tilts the other way, as a negative control")

    @field_validator("moments")
    @classmethod
    def _readable(cls, moments: tuple[str, ...]) -> tuple[str, ...]:
        names = [_read(moment).name for moment in moments]
        if len(set(names)) < len(names):
            raise ValueError(f"each column (or value of it) has one mean; {', '.join(names)} has one twice")
        return moments

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(_read(moment).column for moment in self.moments))

    def worst(self) -> Self:
        """Tilted the other way, away from what is wanted."""
        return self.model_copy(update={"seek": "away" if self.seek == "toward" else "toward"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "moment_weights")
        wanted = [_read(moment) for moment in self.moments]
        raw = np.column_stack([_feature(pool, moment) for moment in wanted])
        means = np.array([m.mean if m.mean is not None else _targets(goal, m) for m in wanted])
        base = (plan.sizes * plan.repeats).astype(np.float64)
        known = np.asarray(np.isfinite(raw).all(1))
        missing = int((plan.kept & ~known).sum())
        if missing and self.unknown == "error":
            raise DataError(
                f"moment_weights: {missing:,} records lack a value of {', '.join(self.needs)}, and unknown is 'error'. "
                f"Score the columns for all records, or choose unknown: drop."
            )
        amount, most = bounds(plan, self.cap, known)
        use = most > 0
        self._check(wanted, raw[use])
        found = tilt(raw[use], means, base[use], most[use] * (1 + 1e-9), self.slack)
        if not found.reached and self.slack == 0:
            raise UsageError(self._unreachable(wanted, means, raw[use], found))
        along = raw[use] @ found.beta
        weights = found.weights
        if self.seek == "away":
            tilted = base[use] * np.exp(np.clip(along.mean() - along, -300, 300))
            weights = scaled(tilted, most[use])
        shares, line = np.zeros(len(plan)), np.zeros(len(plan))
        shares[use], line[use] = weights, along
        repeats = drawn(plan, shares, amount, line, run)
        details = self._details(
            wanted, means, raw[use], base[use], (plan.sizes * repeats)[use].astype(np.float64), found
        )
        if missing:
            details["unknown"] = missing
        said = "; ".join(f"{name} {v['after']:.3g}" for name, v in details["means"].items())
        how = "as asked" if self.seek == "toward" else "tilted away from what was asked"
        return plan.revised(
            self.describe(),
            f"read so that means are {how}: {said} (effective share {found.effective:.0%})",
            repeats=repeats,
            values={"share": shares * amount / np.maximum(plan.sizes, 1)},
            reason="not drawn: its weight was small, or chance",
            details=details,
        )

    @staticmethod
    def _check(wanted: Sequence[_Moment], raw: Floats) -> None:
        if not len(raw):
            names = ", ".join(m.name for m in wanted)
            raise DataError(f"moment_weights: no record of the plan has all of {names}. Score the columns first.")
        for moment, column in zip(wanted, raw.T, strict=True):
            if np.ptp(column) == 0:
                raise DataError(
                    f"moment_weights cannot move the mean of {moment.name}: it is {column[0]:g} for every record of "
                    f"the plan. Leave it out, or check the column."
                )

    def _unreachable(self, wanted: Sequence[_Moment], means: Floats, raw: Floats, found: Tilt) -> str:
        came = found.weights @ raw / found.weights.sum()
        near = "; ".join(f"{m.name} {a:.4g} (asked {w:.4g})" for m, a, w in zip(wanted, came, means, strict=True))
        return (
            f"moment_weights: no reading of these records, each {self.cap:g} times at most, has the means asked. The "
            f"nearest found has {near}. Ask for less, raise cap, lower the budget, or state slack: 0.01."
        )

    @staticmethod
    def _details(
        wanted: Sequence[_Moment], means: Floats, raw: Floats, base: Floats, read: Floats, found: Tilt
    ) -> dict[str, Any]:
        before, after = (weights @ raw / max(weights.sum(), 1) for weights in (base, read))
        spread = np.sqrt(base @ (raw - before) ** 2 / base.sum())
        rows = zip(wanted, means, before, after, found.beta, spread, strict=True)
        told = {m.name: {"asked": float(w), "before": float(b), "after": float(a)} for m, w, b, a, _, _ in rows}
        warnings = []
        if found.effective < FEW:
            warnings.append(f"effective share {found.effective:.1%}: a few records are read for all the others")
        return {
            "means": told,
            "beta": {m.name: float(b) for m, b in zip(wanted, found.beta, strict=True)},
            "kl": found.kl,
            "effective_share": found.effective,
            "reached": found.reached,
            "warnings": warnings,
        }


def _read(moment: str) -> _Moment:
    """Parse 'column = number', 'column:value = share' or 'column = target'."""
    found = re.fullmatch(r"\s*([^:=]+?)\s*(?::\s*([^=]+?)\s*)?=\s*(target|[-+.\deE]+)\s*", moment)
    try:
        if found:
            column, value, mean = found.groups()
            return _Moment(column, value or "", None if mean == "target" else float(mean))
    except ValueError:
        pass
    raise ValueError(f"a moment reads 'column = number', 'column:value = share' or 'column = target', not {moment!r}")


def _feature(pool: Pool, moment: _Moment) -> Floats:
    """The column as numbers, or 1 where it has the value."""
    if not moment.value:
        return numbers(pool, moment.column, "moment_weights")
    column = pc.cast(pool.column(moment.column), pa.string())
    holds: Floats = pc.cast(pc.equal(column, moment.value), pa.float64()).to_numpy().astype(np.float64)
    if not (holds == 1).any():
        raise UsageError(f"moment_weights: no record has {moment.value!r} in {moment.column}. Check its spelling.")
    return holds


def _targets(goal: Goal, moment: _Moment) -> float:
    """The mean over the target's items, by their weights."""
    if moment.column not in goal.target.column_names():
        raise UsageError(
            f"moment_weights is to take the mean of {moment.name} from the target, which has no column "
            f"{moment.column}. State a number, or give the target's items that column."
        )
    values, weights = _feature(goal.target, moment), goal.weights(goal.target).to_numpy()
    known = np.isfinite(values)
    if not known.any():
        raise DataError(f"moment_weights: no item of the target has a value of {moment.column}. State a number.")
    return float(weights[known] @ values[known] / weights[known].sum())
