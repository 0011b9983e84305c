"""Draw records up to a budget: at random, by score, or anything in between (Gumbel-top-k)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core.errors import DataError
from tilth.core.goal import Goal
from tilth.core.plan import Plan, groups
from tilth.core.policy import Policy
from tilth.core.pool import Pool
from tilth.core.run import Run
from tilth.policies.select._ranked import Unknown, fill, numbers, one_group, proportional

__all__ = ["Sample"]

Floats = npt.NDArray[np.float64]


class Sample(Policy):
    """Keeps as many records as a budget allows, preferring high scores as strongly as `temperature` says.

    Each record's key is its standardised score divided by the temperature, plus Gumbel noise drawn from the record's
    id; the largest keys are kept. That is exactly drawing records one after the other without replacement with
    probability proportional to exp(score / temperature). Temperature 0 is plain top-k, a large one is uniform.
    Pure top-k tends to give much of the same; a temperature of 1 or 2 keeps the preference and the variety.

    With `stratify` each group keeps its share of the plan; with `within` scores are compared with those of their own
    group only, so that a source, a language or a length is not preferred for scoring high throughout. QuRating (Wettig
    et al. 2024, arXiv 2402.09739) draws at temperature 2 with both set to the domain.

    Cost: one sort. Trap: scores are standardised over the records still in the plan, so an outlier of 1000 squeezes
    all others together; cut it off with `keep` first, or score by rank.
    Source: Kool et al. 2019, Stochastic beams and where to find them (arXiv 1903.06059).

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> pool = TablePool(pa.table({"text": list("abcdef"), "score": [1.0, 5.0, 2.0, 4.0, None, 3.0]}))
    >>> budget = Budget(3, "records")
    >>> plan = Sample(by="score").revise(Plan.everything(pool, budget), pool, Goal(pool, pool, budget), Run())
    >>> plan.kept.tolist()
    [False, True, False, True, False, True]
    >>> plan.decisions[0].note
    'the 3 records highest in score; 1 without score dropped'
    """

    paper: ClassVar[str] = "qurating"

    by: str = Field("", description="column with the score (a number, or true and false); empty draws uniformly")
    fraction: float | None = Field(None, gt=0, le=1, description="share of the plan to keep; empty fills the budget")
    temperature: float = Field(0.0, ge=0, description="0 takes the top scores; larger is closer to uniform")
    high: bool = Field(True, description="whether high scores are preferred; false prefers low ones")
    stratify: str = Field("", description="column whose groups each keep their share of the plan")
    within: str = Field("", description="column in whose groups scores are standardised; empty: in the whole plan")
    unknown: Unknown = Field("drop", description="what to do with records without a score")

    @property
    def needs(self) -> Sequence[str]:
        """The score and the columns of groups."""
        return tuple(column for column in (self.by, self.stratify, self.within) if column)

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "sample")
        u = run.uniform(plan.ids, "sample")
        score, known = self._scores(plan, pool)
        missing = int((plan.kept & ~known).sum())
        if missing and self.unknown == "error":
            raise DataError(
                f"sample: {missing:,} of {int(plan.kept.sum()):,} records have no {self.by}, and unknown is 'error'. "
                f"Score the column for all records, or choose unknown: keep or drop."
            )
        gumbel = -np.log(-np.log(u))
        keys = gumbel if not self.by else score if self.temperature == 0 else score / self.temperature + gumbel
        # Stored cuts are float32; deciding on the same numbers makes the threshold exact.
        keys = np.where(known, keys, np.nan)
        cuts: npt.NDArray[np.float32] = keys.astype(np.float32)
        eligible = plan.kept & (known | (self.unknown == "keep"))
        by = groups(pool, self.stratify) if self.stratify else one_group(plan)
        total = plan.amount * self.fraction if self.fraction is not None else float(plan.budget.amount)
        # Records without a score come first where they are kept at all; ties are broken by lot.
        keep, threshold = fill(plan, eligible, cuts, u, by, proportional(plan, eligible, by, total))
        return plan.revised(
            self.describe(),
            self._note(int(keep.sum()), missing),
            keep=keep,
            threshold=threshold,
            values={"key": cuts},
            reason="below the cut of its group" if self.stratify else "below the cut",
            details={"unknown": missing},
        )

    def _scores(self, plan: Plan, pool: Pool) -> tuple[Floats, npt.NDArray[np.bool_]]:
        """Each record's standardised score, the preferred end up, and whether it has one."""
        if not self.by:
            return np.zeros(len(plan)), np.ones(len(plan), bool)
        raw = numbers(pool, self.by, "sample")
        known = np.isfinite(raw)
        seen = known & plan.kept
        within = groups(pool, self.within) if self.within else one_group(plan)
        count = np.maximum(within.sums(seen), 1)
        mean = within.sums(np.where(seen, raw, 0.0)) / count
        away = raw - mean[within.index]
        spread = np.sqrt(within.sums(np.where(seen, away, 0.0) ** 2) / count)
        z = away / np.where(spread > 0, spread, 1.0)[within.index]
        return (z if self.high else -z), known

    def _note(self, kept: int, missing: int) -> str:
        end = "highest" if self.high else "lowest"
        how = f"{end} in {self.by}" if self.by and self.temperature == 0 else "drawn at random"
        if self.by and self.temperature:
            how = f"drawn towards the {end} {self.by} (temperature {self.temperature:g})"
        each = f", each {self.stratify} in proportion" if self.stratify else ""
        word = "kept" if self.unknown == "keep" else "dropped"
        lost = f"; {missing:,} without {self.by} {word}" if missing else ""
        return f"the {kept:,} records {how}{each}{lost}"

    def worst(self) -> Self:
        """The other end of the score; a uniform draw has no opposite."""
        return self.model_copy(update={"high": not self.high}) if self.by else self
