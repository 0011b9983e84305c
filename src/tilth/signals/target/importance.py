"""Importance: how much likelier is a record under the target than under the pool?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Fragment, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.kernels.bags import bag_counts, bag_sums

__all__ = ["Importance"]

Floats = npt.NDArray[np.float64]


class Importance(Signal[Floats]):
    """Log importance weight of each record: log p(record | target) - log p(record | pool), in nats.

    Both distributions are bags of hashed words and word pairs (lower-cased, punctuation apart), every bucket counted
    once more than it occurs (`smoothing`). Drawing records by the weight (`sample` with a temperature) makes the
    selection look like the target: on average, so mix it with other text if variety matters. `weight` grows with the
    length of a record; `per_token`, the weight per n-gram, compares records of different lengths.

    Cost: one reading of the pool to count it and one to score, each above 100 MB/s a core. Trap: very short records
    get extreme values per token by luck; drop those of few `ngrams` (the paper's code drops records below 100 words).
    With a target of a few hundred words only the order of records means something, the sign does not.
    Source: DSIR, Xie et al. 2023 (arXiv 2302.03169); its code adds 1e-8 to probabilities instead, so that on small
    targets one unseen n-gram outweighs everything else.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> pool = TablePool(pa.table({"text": ["rain feeds the soil", "the engine burns fuel"] * 10}))
    >>> target = TablePool(pa.table({"text": ["soil holds the rain", "rain soaks the soil"]}))
    >>> scored = score_in_memory(Importance(), pool, Goal(target, target, Budget(1)))
    >>> about_rain, about_fuel = scored.column("importance.weight").to_pylist()[:2]
    >>> about_rain > about_fuel
    True
    """

    paper: ClassVar[str] = ""
    version: ClassVar[int] = 2  # 2: words are hashed another way
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    ngram: int = Field(2, ge=1, le=4, description="n-grams of one up to this many tokens are counted")
    # Counts of every fragment are held until they are added up: 2 MB each at the upper end.
    buckets: int = Field(10_000, ge=2, le=1 << 18, description="buckets n-grams are hashed into")
    smoothing: float = Field(1.0, gt=0, description="added to every bucket's count, in the target and in the pool")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"weight": pa.float32(), "per_token": pa.float32(), "ngrams": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Floats:
        if goal is None:
            raise UsageError("importance compares records with the goal's target; state a goal.")
        counted = run.map(partial(_count, self.ngram, self.buckets), pool.fragments(), "count")
        source = np.sum(counted, axis=0) if counted else np.zeros(self.buckets)
        weights = goal.weights(goal.target).to_numpy(zero_copy_only=False)
        mean = weights.mean() if weights.size and weights.sum() > 0 else 1.0
        target = bag_counts(goal.target.column("text"), self.ngram, self.buckets, weights / mean)
        return np.asarray(self._log_shares(target) - self._log_shares(source))

    def _log_shares(self, counts: Floats) -> Floats:
        smoothed = counts + self.smoothing
        return np.asarray(np.log(smoothed / smoothed.sum()))

    def score(self, batch: pa.RecordBatch, state: Floats, run: Run) -> Columns:
        sums, ngrams = bag_sums(batch.column("text"), self.ngram, state)
        return {
            "weight": sums.astype(np.float32),
            "per_token": (sums / np.maximum(ngrams, 1)).astype(np.float32),
            "ngrams": ngrams,
        }


def _count(ngram: int, buckets: int, fragment: Fragment) -> Floats:
    counts = np.zeros(buckets)
    for batch in fragment.batches(["text"]):
        counts += bag_counts(batch.column("text"), ngram, buckets)
    return counts
