"""PerplexityPruning: keep one slice of the pool by perplexity, and say what variety that cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run, groups
from tilth.core.errors import DataError
from tilth.policies.select._ranked import Unknown, fill, numbers, one_group

__all__ = ["PerplexityPruning"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Part = Literal["low", "middle", "high", "ends"]
OPPOSITE: dict[Part, Part] = {"low": "high", "high": "low", "middle": "ends", "ends": "middle"}
READ = 2000  # records of which words are counted
FELL = 0.1  # a loss of variety, as a share of what there was, that is worth a warning


class PerplexityPruning(Policy):
    """Keeps the records of lowest, middle or highest perplexity, as many as the budget or `keep` allows.

    Ranks count sizes, so a slice of 20 % is 20 % of the tokens. ``low`` keeps fluent text like the model's own and
    drops noise; where the pool is clean already, ``middle`` is often better, as the lowest is boilerplate: `trim`
    leaves out that share at both ends whatever is kept. Short records have extreme values, so with `length` ranks are
    taken among records of like length, and with `balance` within a source or a language; each group keeps its share.

    A slice is narrower than the pool: `details` tells distinct words per word and the entropy of `balance` (sources
    otherwise), before and after, and a fall of more than a tenth is a warning.

    Cost: one sort, and the text of 2,000 records. Trap: perplexity measures likeness to the scoring model's text, not
    worth; scored by a model trained on the pool, the most frequent kind of text wins. Sources: POINTS (Liu et al.
    2024, arXiv 2409.04828), which kept the lowest fifth; Marion et al. 2023 (arXiv 2309.04564), who found the middle
    best. Trimming, strata and the measures of variety are ours.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Plan, Run, TablePool
    >>> bits = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    >>> pool = TablePool(pa.table({"text": ["some words"] * 6, "bits": bits}))
    >>> goal = Goal(pool, pool, Budget(2, "records"))
    >>> for part in ("low", "middle", "high"):
    ...     policy = PerplexityPruning(by="bits", part=part, trim=0)
    ...     print(part, policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run()).kept.astype(int).tolist())
    low [1, 1, 0, 0, 0, 0]
    middle [0, 0, 1, 1, 0, 0]
    high [0, 0, 0, 0, 1, 1]
    """

    paper: ClassVar[str] = "points"

    by: str = Field("perplexity.bits_per_byte", description="column with the perplexity, or its logarithm")
    part: Part = Field("low", description="which slice is kept; ends is both tails, the opposite of the middle")
    keep: float | None = Field(None, gt=0, le=1, description="share of the plan to keep; empty fills the budget")
    trim: float = Field(0.01, ge=0, lt=0.5, description="share left out at each end, whatever is kept")
    length: str = Field("", description="column with a record's length: ranks are taken among records of like length")
    buckets: int = Field(5, ge=2, le=100, description="lengths told apart, equally many records in each")
    balance: str = Field("", description="column whose groups are ranked apart and keep their shares")
    unknown: Unknown = Field("drop", description="what to do with records without a value")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(c for c in (self.by, self.length, self.balance, "text") if c))

    def worst(self) -> Self:
        """The opposite slice."""
        return self.model_copy(update={"part": OPPOSITE[self.part]})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, "perplexity_pruning")
        value = numbers(pool, self.by, "perplexity_pruning")
        known = np.isfinite(value)
        missing = int((plan.kept & ~known).sum())
        if missing and (self.unknown == "error" or missing == plan.kept.sum()):
            raise DataError(
                f"perplexity_pruning: {missing:,} of {int(plan.kept.sum()):,} records have no {self.by}. Score the "
                f"column for all records, or choose unknown: keep or drop."
            )
        ties = run.uniform(plan.ids, "ties")
        by = self._strata(plan, pool)
        rank = _ranks(plan, plan.kept & known, value, ties, by)
        inside = known & (rank >= self.trim) & (rank <= 1 - self.trim)
        eligible = plan.kept & (inside | (~known & (self.unknown == "keep")))
        middle = np.abs(rank - 0.5)
        keys = {"low": -rank, "high": rank, "middle": -middle, "ends": middle}[self.part].astype(np.float32)
        sizes = plan.sizes * plan.repeats
        has, room = by.sums(sizes * plan.kept), by.sums(sizes * eligible)
        total = plan.amount * self.keep if self.keep is not None else float(plan.budget.amount)
        keep, threshold = fill(plan, eligible, keys, ties, by, np.minimum(room, total * has / max(has.sum(), 1.0)))
        cut = value[keep & known]
        if cut.size:
            threshold |= {"least": float(cut.min()), "most": float(cut.max())}
        lost = f"; {missing:,} without it {'kept' if self.unknown == 'keep' else 'dropped'}" if missing else ""
        return plan.revised(
            self.describe(),
            f"the {int(keep.sum()):,} records of {_named(self.part)} {self.by}{lost}",
            keep=keep,
            threshold=threshold,
            values={"key": keys, "value": value},
            reason=f"not in the slice of {_named(self.part)} {self.by}",
            details={"unknown": missing, **self._variety(plan, keep, pool, run)},
        )

    def _strata(self, plan: Plan, pool: Pool) -> Groups:
        """The groups in which ranks are taken: values of `balance`, lengths, or both crossed."""
        by = groups(pool, self.balance) if self.balance else None
        if not self.length:
            return by or one_group(plan)
        size = numbers(pool, self.length, "perplexity_pruning")
        known = size[plan.kept & np.isfinite(size)]
        edges = np.quantile(known, np.arange(1, self.buckets) / self.buckets) if known.size else np.zeros(0)
        names = tuple(f"length {i + 1}" for i in range(edges.size + 1))
        lengths = Groups(self.length, names, np.searchsorted(edges, np.nan_to_num(size), side="right").astype(np.int32))
        return lengths if by is None else by.crossed(lengths)[0]

    def _variety(self, plan: Plan, keep: Bools, pool: Pool, run: Run) -> dict[str, Any]:
        """Distinct words per word and the entropy of groups, before and after; warnings where they fall."""
        by = groups(pool, self.balance) if self.balance else plan.sources
        words = [_words(pool, mask, run) for mask in (plan.kept, keep)]
        few = min(len(w) for w in words)
        kinds = [len(set(w[:few])) / max(few, 1) for w in words]
        spread = [_entropy(by.sums(plan.sizes * plan.repeats * mask)) for mask in (plan.kept, keep)]
        told = {"distinct words per word": kinds, f"entropy of {by.by} (nats)": spread}
        return {
            "variety": {name: {"before": before, "after": after} for name, (before, after) in told.items()},
            "warnings": [
                f"{name} fell from {before:.3f} to {after:.3f}: the slice is narrower than the pool"
                for name, (before, after) in told.items()
                if after < (1 - FELL) * before
            ],
        }


def _named(part: Part) -> str:
    return {"low": "lowest", "high": "highest", "middle": "middle", "ends": "lowest and highest"}[part]


def _ranks(plan: Plan, known: Bools, value: Floats, ties: Floats, by: Groups) -> Floats:
    """Each known record's place in its group, from 0 to 1, sizes counted: the middle of its part of the whole."""
    rank = np.full(len(plan), np.nan)
    order = np.lexsort((ties, value, by.index))
    order = order[known[order]]
    size = np.maximum(plan.sizes * plan.repeats, 1e-9)[order].astype(np.float64)
    whole = np.bincount(by.index[order], size, len(by.names))
    before = np.concatenate([[0.0], np.cumsum(whole)[:-1]])  # of the groups ahead
    rank[order] = (np.cumsum(size) - size / 2 - before[by.index[order]]) / np.maximum(whole, 1e-9)[by.index[order]]
    return rank


def _words(pool: Pool, mask: Bools, run: Run) -> list[str]:
    """The words of at most `READ` of the records, in an order drawn by lot."""
    rows = np.flatnonzero(mask)
    rows = run.rng("variety").permutation(rows)[:READ]
    texts = pc.fill_null(pool.take(np.sort(rows), ["text"]).column(0), "").to_pylist()
    texts = [texts[i] for i in run.rng("order").permutation(len(texts))]
    return [word for text in texts for word in text.lower().split()]


def _entropy(amounts: Floats) -> float:
    share = amounts[amounts > 0] / max(amounts.sum(), 1e-300)
    return float(-(share * np.log(share)).sum()) + 0.0
