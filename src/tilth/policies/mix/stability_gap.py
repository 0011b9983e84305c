"""StabilityGap: several epochs of the best of a new domain, with the base model's own mixture beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run, groups, take_budget
from tilth.core.errors import DataError, UsageError
from tilth.policies.mix._phases import parted
from tilth.policies.select._ranked import numbers

__all__ = ["StabilityGap"]

Floats = npt.NDArray[np.float64]


class StabilityGap(Policy):
    """Continued pre-training that loses less at first: a subset of `domain` several times, and the rest as it was.

    Three rules (arXiv 2406.14833). Rather than all of a domain once, a subset is read for `epochs`; it is the best by
    the column `quality`, in the paper the least perplexing to an n-gram model of trusted domain text; and the sources
    that the base model was trained on keep their proportions, `domain` taking the place of its web pages alone: `share`
    of the budget is domain (0.82, the web's part in the paper), the rest is what `mixture` says of the other sources,
    in its proportions, or natural ones if it is empty. Copies of a record lie in as many equal stretches of the
    reading, so each stretch is an epoch, with general text beside it that is read only once if there is enough.

    The paper's subset is a tenth of its domain and four epochs are its best; a smaller one overfits and a larger one
    brings the early loss of general skill back. Whether there is such a loss at all say `continual.gap` and
    `continual.layer_updates`, from measurements every few steps.

    Cost: none but the column's. In our trial (claim `guo2024_stability_gap`, invented languages) it lost a third of
    what one epoch over a noisy domain lost, and ended better on the domain with two fifths of the tokens. Trap: low
    perplexity is boilerplate, too, so drop duplicates before; a learning rate that rises again causes a dip of its own,
    so compare at one schedule; and a base model's mixture is often unknown, and then a guess.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> source = ["law"] * 3000 + ["web"] * 1000
    >>> pool = TablePool(pa.table({"text": ["x"] * 4000, "source": source, "good": [i / 4000 for i in range(4000)]}))
    >>> goal = Goal(pool, pool, Budget(1000, "records"))
    >>> policy = StabilityGap(domain=("law",), quality="good", prefer="high", share=0.8)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.mixture()["law"], int(plan.kept[:3000].sum()), int(np.flatnonzero(plan.kept)[0])
    (0.8, 200, 2800)
    """

    paper: ClassVar[str] = "efficient_continual_pretraining_by_mitigating_the"

    domain: tuple[str, ...] = Field(min_length=1, description="the new domain's sources", examples=[("a",)])
    quality: str = Field(
        description="column by which the subset is the best (a number)", examples=["perplexity.bits_per_byte"]
    )
    prefer: Literal["low", "high"] = Field("low", description="which of its values are good")
    epochs: int = Field(4, ge=1, description="how often the subset is read")
    share: float = Field(0.82, gt=0, lt=1, description="the domain's part of the budget")
    mixture: tuple[tuple[str, float], ...] = Field((), description="other sources and their weights; empty: natural")
    by: str = Field("source", description="the column whose values are mixed")
    cap: float = Field(4.0, ge=1, description="most epochs of the other sources")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by, self.quality)

    def worst(self) -> Self:
        """The worst of the domain instead of the best."""
        return self.model_copy(update={"prefer": "low" if self.prefer == "high" else "high"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        ours, others, _ = parted(plan, by, self.domain, "stability_gap")
        score = numbers(pool, self.quality, "stability_gap")
        mine = plan.kept & (ours > 0)[by.index]
        known = mine & np.isfinite(score)
        if not known.any():
            raise DataError(f"stability_gap: no record of the domain has a number in {self.quality}. Score it first.")
        wanted = self.share * plan.budget.amount / self.epochs
        lots = run.uniform(plan.ids, "key")
        rows = np.flatnonzero(known)
        rows = rows[np.lexsort((lots[rows], score[rows] if self.prefer == "low" else -score[rows]))]
        taken = max(1, take_budget(plan.sizes[rows], wanted))
        subset = np.zeros(len(plan), bool)
        subset[rows[:taken]] = True
        cut = float(score[rows[taken - 1]])
        out = mine & ~subset
        has = max(1, int(plan.sizes[subset].sum()))
        repeats = np.where(subset, 1, np.where(out, 0, plan.repeats)).astype(np.int32)
        shares = self.share * by.sums(plan.sizes * subset) / has + (1 - self.share) * self._others(by, others)
        made = replace(plan, repeats=repeats).mixed(
            self.describe(),
            f"the {taken:,} best of {int(mine.sum()):,} records of {', '.join(self.domain)} by {self.quality}, "
            f"{self.epochs} times, as {self.share:.0%} of the budget",
            dict(zip(by.names, shares.tolist(), strict=True)),
            by,
            lots,
            max(float(self.epochs), self.cap),
            details={"subset": {"records": taken, "amount": has, "of": int(plan.sizes[mine].sum()), "cut": cut}},
            values={"quality": np.where(mine, score, np.nan)},
        )
        last = made.decisions[-1]  # it was made from the subset, and is told of the plan that came in
        last = replace(last, records=(int(plan.kept.sum()), last.records[1]), amount=(plan.amount, last.amount[1]))
        made = replace(
            made,
            dropped_by=np.where(out, len(plan.decisions), made.dropped_by).astype(np.int16),
            decisions=(*plan.decisions, last),
        )
        read = float((made.sizes * made.repeats)[subset].sum())
        if has < 0.9 * wanted:
            made = made.warned(
                f"all {int(known.sum()):,} scored records of the domain are less than a subset of {wanted:,.0f}; they "
                f"are read {read / has:.1f} times. With so little, raise `epochs` knowingly or lower `share`"
            )
        if (over := max(made.epochs(by)[name] for name, part in zip(by.names, others, strict=True) if part)) > 1.01:
            made = made.warned(
                f"a general source is read {over:.1f} times: the replayed text should be new to each epoch. Give more"
            )
        return made

    def _others(self, by: Groups, natural: Floats) -> Floats:
        """Shares of the sources beside the domain, summing to 1."""
        if not self.mixture:
            return natural
        weights = np.zeros(len(by.names))
        for name, weight in self.mixture:
            if name not in by.names or natural[by.names.index(name)] <= 0 or weight <= 0:
                raise UsageError(
                    f"stability_gap: {name!r} of `mixture` must be a source beside the domain that the plan has, with "
                    f"a weight above 0. The others are "
                    f"{', '.join(n for n, part in zip(by.names, natural, strict=True) if part > 0)}."
                )
            weights[by.names.index(name)] += weight
        return np.asarray(weights / weights.sum())
