"""SmallToLarge: what a small model learns late, of each cluster in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run
from tilth.core.errors import DataError
from tilth.models.kmeans import fit
from tilth.policies import _vectors
from tilth.policies.select._ranked import fill, proportional

__all__ = ["SmallToLarge"]


class SmallToLarge(Policy):
    """Fills the budget with the records of each cluster that a small model learns latest (Mekala et al. 2024, arXiv
    2402.10430).

    The column is the share of a record's drop in perplexity that the first pass brings (`learning_percentage`): low is
    learnt late. Records are clustered by their embeddings, and each cluster gives the same share of its size, the
    lowest first, so that hardness does not cost variety. Small clusters round to whole records and may give none.
    Records without a score, which were never learnt, and without an embedding are dropped.

    Cost: clustering; the signal is a training of its own. Measured by `benchmarks/selection_scale.py` on one core:
    5 s of processor for 50,000 records of 384 numbers and 9.5 s for 200,000 (5 % kept), less than in proportion; 0.8 GB
    for the 200,000. Trap: wrong answers that are learnt by heart are the latest of all, so filter them first: the exam
    plants some, and this policy takes more of them than a random draw. And hard is not good: prove it against random.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> where, score = [[1.0, 0.0], [0.0, 1.0]] * 4, [0.9, 0.2, 0.1, 0.3, 0.8, 0.4, 0.2, None]
    >>> pool = TablePool(pa.table({"text": list("abcdefgh"), "embedding": where, "learnt": score}))
    >>> goal = Goal(pool, pool, Budget(3, "records"))
    >>> policy = SmallToLarge(by="learnt", clusters=2)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.kept.tolist()  # the lowest two of four here, and the lowest of three there
    [False, True, True, False, False, False, True, False]
    >>> plan.decisions[0].note
    'the 3 records lowest in learnt of 2 clusters; 1 without learnt dropped'
    """

    paper: ClassVar[str] = "smaller_language_models_are_capable_of"

    by: str = Field("learning_percentage.score", description="column with the share learnt early; low is learnt late")
    clusters: int = Field(1000, ge=1, le=20_000, description="clusters, at most a tenth of the records")
    vectors: str = Field("auto", description=_vectors.VECTORS)
    late: bool = Field(True, description="whether what is learnt late is taken; false takes what is learnt early")

    @property
    def needs(self) -> Sequence[str]:
        return (*_vectors.needed(self.vectors), self.by)

    def worst(self) -> Self:
        return self.model_copy(update={"late": not self.late})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require([self.by], "small_to_large")
        score = pc.cast(pool.column(self.by), pa.float64()).to_numpy().astype(np.float64)
        known = np.isfinite(score)
        if not (known & plan.kept).any():
            raise DataError(f"small_to_large: no record of the plan has a {self.by}. Score the column first.")
        found = _vectors.read(self.vectors, plan, pool, run, "small_to_large")
        clusters = max(1, min(self.clusters, found.rows.size // 10 if self.clusters > 10 else self.clusters))
        model = fit(found.values, clusters, run.rng("clusters"))
        names = tuple(f"{i:05d}" for i in range(len(model.centres)))
        index = np.zeros(len(plan), np.int32)
        index[found.rows] = model.assign(found.values)[0]
        eligible = np.zeros(len(plan), bool)
        eligible[found.rows] = known[found.rows]
        keys = (-score if self.late else score).astype(np.float32)
        by = Groups("cluster", names, index)
        amounts = proportional(plan, eligible, by, float(plan.budget.amount))
        keep, threshold = fill(plan, eligible, keys, run.uniform(plan.ids, "ties"), by, amounts)
        unknown = int((plan.kept & ~known).sum())
        lost = f"; {unknown:,} without {self.by} dropped" if unknown else ""
        label = np.full(len(plan), np.nan)
        label[found.rows] = index[found.rows]
        taken = np.unique(index[keep]).size
        return plan.revised(
            self.describe(),
            f"the {int(keep.sum()):,} records {'lowest' if self.late else 'highest'} in {self.by} of {taken:,} "
            f"clusters{lost}{found.lost}",
            keep=keep,
            threshold=threshold,
            values={"key": keys, "cluster": label},
            reason="learnt earlier than those taken of its cluster" if self.late else "learnt later than those taken",
            details={
                "clusters": len(names),
                "with_picks": taken,
                "unknown": unknown,
                "vectors": found.told,
            },
        )
