"""RankCurriculum: the losses of easy pairs count fully from the start, those of hard ones more and more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run, Weights
from tilth.core.errors import DataError
from tilth.policies.select._ranked import numbers

__all__ = ["RankCurriculum"]

ALIKE = 0.01  # a standard deviation of easiness below which nothing is told apart


class RankCurriculum(Policy):
    """Weights each record's loss by how easy it is, D, and lets all weights rise to 1 at epoch `end`.

    At epoch i the loss of a record counts ``D + (i / end) (1 - D)``, from `end` on exactly 1 (MacAvaney et al. 2020,
    arXiv 2004.14269). D lies in [0, 1]: the signal `rank_easiness` makes it of retrieval pairs, and any column will do
    that says how easy a record is, such as ``cartography.confidence``. Records without a value have D = 0. Nothing is
    dropped and no order changes; what is written is `Plan.weights`. A classifier proved by ``classify`` with ``model:
    transformer`` counts by them, row exports have them as `weight`, your own trainer gets them from
    ``tilth.models.train.rising``; whatever would count all records alike refuses the plan.

    Ours: the mean is of weight times loss for each record; the released code multiplies the means of a batch.

    Cost: none. Trap: an `end` beyond the epochs that are trained never lets the hard ones count fully (20 is the
    setting of the released code; the paper tunes it). With a learning rate that warms up, hard records are damped
    twice. Adam divides a gradient by its size, so weights that are small for a whole batch hardly matter there. In our
    own trial (claim `macavaney2020_rank_curriculum`), where hard pairs were hard but never wrong, nothing was gained.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> easy = pa.StructArray.from_arrays([pa.array([1.0, 0.2, None])], ["easiness"])
    >>> pool = TablePool(pa.table({"text": list("abc"), "rank_easiness": easy}))
    >>> goal = Goal(pool, pool, Budget(3, "records"))
    >>> plan = RankCurriculum(end=4).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> [plan.weights.at(epoch).round(2).tolist() for epoch in (0, 2, 4)]
    [[1.0, 0.2, 0.0], [1.0, 0.6, 0.5], [1.0, 1.0, 1.0]]
    """

    paper: ClassVar[str] = "training_curricula_for_open_domain_answer"

    by: str = Field("rank_easiness.easiness", description="column with the easiness, from 0 to 1")
    end: float = Field(20.0, gt=0, description="the epoch from which all records count alike")
    anti: bool = Field(False, description="by 1 - D: hard records first, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by)

    def worst(self) -> Self:
        """Hard records count fully from the start, and easy ones more and more."""
        return self.model_copy(update={"anti": not self.anti})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        raw = numbers(pool, self.by, "rank_curriculum")
        known = plan.kept & np.isfinite(raw)
        if not known.any():
            raise DataError(
                f"rank_curriculum: none of the records kept has a number in {self.by}. Score the column first."
            )
        if raw[known].min() < 0 or raw[known].max() > 1:
            raise DataError(
                f"rank_curriculum: easiness lies between 0 and 1, and {self.by} between {raw[known].min():g} and "
                f"{raw[known].max():g}. Name another column."
            )
        easiness = np.where(np.isfinite(raw), np.clip(raw, 0, 1), 0.0)
        first = 1 - easiness if self.anti else easiness
        missing = int((plan.kept & ~known).sum())
        read = plan.sizes * plan.repeats
        lost = f"; {missing:,} without {self.by} held to be the hardest" if missing else ""
        made = plan.revised(
            self.describe(),
            f"losses count by {'1 less ' if self.anti else ''}{self.by} at first ({read @ first / read.sum():.2f} on "
            f"average), all alike from epoch {self.end:g}{lost}",
            values={"easiness": raw},
            details={"mean_weight": float(read @ first / read.sum()), "unknown": missing},
        ).weighted(Weights(first, self.end))
        if easiness[plan.kept].std() < ALIKE:
            made = made.warned(f"all records are about as easy in {self.by}: this is a curriculum in name only")
        return made
