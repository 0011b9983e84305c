"""WeightedPool: use the records of all collections, weighted to look like one of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, groups
from tilth.core.errors import DataError, UsageError
from tilth.models.propensity import Kind, cross_fitted, separation
from tilth.models.tilting import scaled
from tilth.policies.select._ranked import numbers
from tilth.policies.select._weighted import bounds, drawn

__all__ = ["WeightedPool"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
VALUES = 50  # most values of a column of words that become features
FEW = 0.1  # effective share of the pool below which a few records stand for all


class WeightedPool(Policy):
    """Reads pooled records as often as they would stand in one collection: importance weights by propensity.

    Logs of two arms of an experiment are pooled for training, and each arm's model should still learn from its own
    distribution. The weight of a record is ``e / pi``, with e the probability, given everything the loss depends on,
    that it came from the arm wanted, and pi that arm's share. So records of the other arm that could as well have come
    from this one count too, which gives less variance than throwing them away (Si 2023, arXiv 2310.17496). The same
    weights make any collection look like another. Repeats are drawn in proportion, at most `cap` each.

    Probabilities are cross-fitted over `folds` and clipped. `details` has the mean weight (1 if all is well), the
    effective share and the separation.

    Cost: one classifier per fold. Trap: what `features` leave out stays shifted: the outcome must be among them. A
    column that gives the arm away makes one arm's records weigh nothing; a separation near 1 is warned about.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> rng = np.random.Generator(np.random.PCG64(0))
    >>> x = np.concatenate([rng.normal(0, 1, 300), rng.normal(1, 1, 900)])
    >>> pool = TablePool(pa.table({"text": ["t"] * 1200, "source": ["old"] * 300 + ["new"] * 900, "x": x}))
    >>> goal = Goal(pool, pool, Budget(600, "records"))
    >>> policy = WeightedPool(toward="old", features=("x",))
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> bool(abs(plan.repeats @ x / plan.amount) < 0.15), bool((plan.repeats[300:] > 0).sum() > 200)
    (True, True)
    """

    paper: ClassVar[str] = "tackling_interference_induced_by_data_training"

    toward: str = Field(description="the value of `arm` whose distribution is wanted", examples=["a"])
    arm: str = Field("source", description="column that says which collection a record is from")
    features: tuple[str, ...] = Field(
        min_length=1,
        description="columns that the loss depends on, the outcome included; words become one column a value",
        examples=[("quality.word_count",)],
    )
    model: Kind = Field("logistic", description="logistic regression with squares, or boosted trees")
    folds: int = Field(5, ge=2, le=50, description="parts for cross-fitting")
    clip: float = Field(0.05, gt=0, lt=0.5, description="probabilities are kept this far from 0 and 1")
    cap: float = Field(4.0, ge=1, description="most times a record is read")
    seek: Literal["toward", "away"] = Field("toward", description="away weights for all other collections instead")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys((self.arm, *self.features)))

    def worst(self) -> Self:
        """Weighted to look like the other collections."""
        return self.model_copy(update={"seek": "away" if self.seek == "toward" else "toward"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "weighted_pool")
        if self.arm in self.features:
            raise UsageError(f"weighted_pool: {self.arm!r} is the arm itself and cannot be among the features.")
        by = groups(pool, self.arm)
        if self.toward not in by.names:
            raise UsageError(f"weighted_pool: no record has {self.toward!r} in {self.arm}; it has {_some(by.names)}.")
        first = by.index == by.names.index(self.toward)
        raw = np.hstack([_columns(pool, name) for name in self.features])
        known = plan.kept & np.asarray(np.isfinite(raw).all(1))
        amount, most = bounds(plan, self.cap, known)
        use = most > 0
        fold = (run.uniform(plan.ids, "fold") * self.folds).astype(np.int64)
        self._check(first[use], fold[use])
        sizes = plan.sizes.astype(np.float64)
        e = cross_fitted(raw[use], first[use], fold[use], sizes[use], self.model)
        clipped = np.clip(e, self.clip, 1 - self.clip)
        share = float(sizes[use] @ first[use] / sizes[use].sum())
        weights = clipped / share if self.seek == "toward" else (1 - clipped) / (1 - share)
        base = sizes[use] / sizes[use].sum()
        mean = float(base @ weights)
        effective = float((base @ weights) ** 2 / (base @ weights**2))
        wanted, all_weights = np.zeros(len(plan)), np.full(len(plan), np.nan)
        wanted[use], all_weights[use] = scaled(base * weights / mean, most[use]), weights
        repeats = drawn(plan, wanted, amount, np.nan_to_num(all_weights), run)
        apart = separation(e, first[use])
        name = self.toward if self.seek == "toward" else f"all but {self.toward}"
        missing = int((plan.kept & ~known).sum())
        return plan.revised(
            self.describe(),
            f"pooled records weighted to look like {self.arm} {name} (effective share {effective:.0%}, mean weight "
            f"{mean:.2f})" + (f"; {missing:,} without features dropped" if missing else ""),
            repeats=repeats,
            values={"weight": all_weights},
            reason="not drawn: its weight was small, or chance",
            details={
                "share": share,
                "mean_weight": mean,
                "effective_share": effective,
                "separation": apart,
                "clipped": float((e != clipped).mean()),
                "unknown": missing,
                "warnings": _warnings(mean, effective, apart),
            },
        )

    def _check(self, first: Bools, fold: npt.NDArray[np.int64]) -> None:
        for f in range(self.folds):
            rest = first[fold != f]
            if rest.all() or not rest.any():
                raise DataError(
                    f"weighted_pool needs records of {self.toward!r} and of others in {self.arm}, more than fit into "
                    f"one of {self.folds} folds. The plan has {int(first.sum()):,} and {int((~first).sum()):,}."
                )


def _warnings(mean: float, effective: float, apart: float) -> list[str]:
    told = []
    if abs(mean - 1) > 0.02:
        told.append(f"the mean weight is {mean:.3f}, not 1: probabilities are off or clipped; try model: trees")
    if effective < FEW:
        told.append(f"effective share {effective:.1%}: a few records are read for all the others")
    if apart > 0.98:
        told.append(f"separation {apart:.3f}: the features all but say which collection a record is from")
    return told


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", ..." if len(names) > 8 else "")


def _columns(pool: Pool, name: str) -> Floats:
    """A column of numbers as it is, one of words as a column per frequent value."""
    kind = pool.table([name]).schema.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind)):
        return numbers(pool, name, "weighted_pool")[:, None]
    by = groups(pool, name)
    order = np.argsort(-by.sums(np.ones(len(by.index))), kind="stable")[:VALUES]
    return np.column_stack([by.index == place for place in order]).astype(np.float64)
