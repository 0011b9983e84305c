"""Preselect: is this a text whose loss tells which models are good at the target?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.kernels.hashing import half
from tilth.models.family import Family
from tilth.models.linear import Linear, Rows, solve
from tilth.signals._by_id import ById
from tilth.signals.influence._target import target_of

__all__ = ["Preselect", "extremes", "strengths"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scorer:
    """What was learnt: the strengths of the sampled records and the classifier, None where there is nothing to tell."""

    known: ById
    classifier: Linear | None


class Preselect(Signal[Scorer]):
    """How much a record looks like texts whose losses rank models the way the target does: the data that predicts.

    A family of tiny models is trained on the pool, each twice, on either half. On a sample of records, each judged by
    models that have not read it, ``strength`` is the share of pairs of models in which the one that is better at the
    goal's target also needs fewer bits for the record; null outside the sample. Records on which all pairs agree
    (strength 1; where these are fewer than `least`, the next strongest, too) against equally many of the least strength
    train a linear classifier on hashed n-grams, and ``score`` is its probability of the former, for every record. To
    select, keep the highest.

    With the default family models differ in size and reading, so strong records are those that scale makes easier, and
    weak ones noise and oddities. With ``family: {vary: source}`` every model reads sources in shares of its own, and
    strong records are those of the sources that make models good at the target; where sources differ, this is what
    finds the target's. Records without text have no strength; all scores are null where all records are equally strong
    or the target is empty.

    Cost: training the family (shared with `loss_by_size`), a pass over the sample per model, and a linear pass over the
    pool. Trap: few models differ by accident in more than one thing: with six diets, planted sources were told apart
    with an area under the curve of 0.83 to 1.0, by the draw of the shares, so look at `strength` of records you know
    before you trust the score, or try another seed; and the target's items must not stand in the pool. Losses are of
    tiny models trained here, the paper's of six public ones of billions of parameters. Source: PreSelect, Shum et al.
    2025, arXiv 2503.00808.

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture(words=60, length=30).build(300, Run())
    >>> family = Family(depths=(1,), tokens=(3000,) * 6, vocab=320, context=32, vary="source")
    >>> scored = score_in_memory(Preselect(family=family), world.pool, world.goal)
    >>> score = scored.column("preselect.score").to_numpy()
    >>> wanted = np.isin(scored.column("source").to_pylist(), ["a", "b"])  # nine tenths of the target
    >>> bool(score[wanted].mean() > 0.5 > score[~wanted].mean())
    True
    """

    paper: ClassVar[str] = "predictive_data_selection"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    family: Family = Field(default_factory=Family, description="the models; three or more differing in ability")
    sample: int = Field(2000, ge=2, description="records whose strength is measured, drawn at random")
    least: float = Field(
        0.1, ge=0, le=0.5, description="share of the sample that counts as strong even below strength 1"
    )
    ngrams: int = Field(2, ge=1, le=5, description="longest n-gram of the classifier")
    buckets: int = Field(1 << 18, ge=16, le=1 << 26, description="columns that n-grams are hashed into")
    l2: float = Field(1e-4, gt=0, le=1, description="strength of the classifier's penalty on squared weights")

    @property
    def needs(self) -> Sequence[str]:
        return self.family.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"score": pa.float32(), "strength": pa.float32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Scorer:
        if goal is None:
            raise UsageError("preselect ranks models by the goal's target; state a goal.")
        if len(self.family.members) < 3:
            raise UsageError(
                f"preselect ranks three or more models. Got {len(self.family.members)}; state more depths or tokens."
            )
        texts = pc.fill_null(pool.column("text"), "")
        items, _, weights = target_of(goal, (), self.family.longest)
        size = pc.binary_length(items).to_numpy()
        rows = np.flatnonzero(pc.binary_length(texts).to_numpy() > 0)
        rows = np.sort(run.rng("sample").permutation(rows)[: self.sample])
        if not rows.size or not weights[size > 0].sum():
            return Scorer(ById.of(pool, rows[:0], {"strength": np.zeros(0)}), None)
        kin = self.family.grow(pool, run)
        some = texts.take(pa.array(rows))
        bits, found = kin.bits(some), np.full(rows.size, np.nan)
        side = half(self.family.shortened(some))
        for which in (0, 1):
            mine = side == which
            theirs = kin.bits(items, 0 if which == 0 else 1)[:, size > 0]
            found[mine] = strengths(bits[:, mine], theirs @ weights[size > 0])
        return Scorer(ById.of(pool, rows, {"strength": found}), self._classifier(some, found, run))

    def _classifier(self, texts: pa.ChunkedArray, found: Floats, run: Run) -> Linear | None:
        strong, weak = extremes(found, run.rng("extremes"), self.least)
        if not strong.size:
            return None
        taught = Rows.of(texts.take(pa.array(np.concatenate([weak, strong]))), self.ngrams, self.buckets)
        return solve(taught, np.repeat([0, 1], strong.size), 2, l2=self.l2)

    def score(self, batch: pa.RecordBatch, state: Scorer, run: Run) -> Columns:
        texts = pc.fill_null(batch.column("text"), "")
        value = np.full(len(texts), np.nan)
        if state.classifier is not None:
            value = state.classifier.probabilities(Rows.of(texts, self.ngrams, self.buckets))[:, 1]
        empty = pc.binary_length(texts).to_numpy(zero_copy_only=False) == 0
        score = pa.array(value.astype(np.float32), mask=np.isnan(value) | empty)
        return {"score": score, **state.known.columns(batch.column("id"))}


def strengths(losses: Floats, target: Floats) -> Floats:
    """The share of pairs of models that a text's losses order as the target's do, (texts,); NaN where losses are.

    Args:
        losses: (models, texts), of which lower is better.
        target: (models,) losses on the target; two that are equal there make no pair.

    >>> strengths(np.array([[1.0, 3.0, 2.0], [2.0, 2.0, 2.0], [3.0, 1.0, 3.0]]), np.array([0.5, 0.6, 0.7])).round(2)
    array([1.  , 0.  , 0.67])
    """
    better, worse = np.nonzero(target[:, None] < target[None, :])
    if not better.size:
        return np.full(losses.shape[1], np.nan)
    share = (losses[better] < losses[worse]).mean(0)
    return np.asarray(np.where(np.isnan(losses).any(0), np.nan, share))


def extremes(strength: Floats, rng: np.random.Generator, least: float = 0.0) -> tuple[Ints, Ints]:
    """Places of strong texts, those of strength 1, and of equally many of the weakest.

    Where fewer are weaker, as many strong ones are drawn; equal strengths are taken in random order.

    Args:
        least: share of the texts that are strong at least, the next strongest added.

    >>> found = np.array([0.2, 1.0, 0.9, 0.1, 1.0, np.nan])
    >>> [v.tolist() for v in extremes(found, Run().rng("any"))]
    [[1, 4], [0, 3]]
    """
    order = rng.permutation(np.flatnonzero(~np.isnan(strength)))
    order = order[np.argsort(-strength[order], kind="stable")]
    strong = order[: max(int((strength == 1).sum()), round(least * order.size))]
    if not strong.size:
        return strong, strong
    weak = order[::-1][: np.count_nonzero(strength[order] < strength[strong].min())]
    count = min(strong.size, weak.size)
    return np.sort(rng.permutation(strong)[:count]), np.sort(weak[:count])
