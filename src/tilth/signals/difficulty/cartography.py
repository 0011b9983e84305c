"""Cartography: how a model's belief in each record's label moves while it learns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.models.learner import Learner, Recording
from tilth.signals._by_id import ById

__all__ = ["Cartography"]

REGIONS = np.array(["easy", "ambiguous", "hard"])


class Cartography(Signal[ById]):
    """The data map: mean and spread, over passes, of the probability that a learning model gives a record's own label.

    ``confidence`` is the mean, ``variability`` the standard deviation over passes, ``correctness`` the share of passes
    in which the label was the likeliest, ``forgetting`` how often it was lost again (null where it was never right),
    ``threshold_closeness`` confidence x (1 - confidence). Each is computed per training and averaged over the seeds.
    ``region`` is where the record ranks highest in the pool: by confidence (easy), by variability (ambiguous) or from
    below by confidence (hard). Low confidence finds wrong labels; training on ambiguous records is said to generalise
    better out of distribution, on easy ones to make training possible at all.

    With ``learner: {model: lm}`` it maps text without labels: of each token the probability is that of the true one,
    and a record's is the mean of its tokens'; right is who predicts more than half of them. Records without a label
    (or text) get nulls. What each region did pass by pass is kept, for the report and ``tilth plot``. Cost: that of
    training the learner, shared with `el2n` and the others; seconds for 20,000 sentences. Trap: after many passes even
    wrong labels are learnt and everything looks easy, so look early, and at a pass at which the model generalises;
    rare classes look hard. Source: Swayamdipta et al. 2020, arXiv 2009.10795; forgetting after Toneva et al. 2019,
    arXiv 1812.05159.

    >>> from tilth.core import Run
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world = probe.build(600, Run())
    >>> scored = score_in_memory(Cartography(), world.pool)
    >>> confidence = scored.column("cartography.confidence").to_numpy()
    >>> probe.grade(world, -confidence) > 0.95  # wrong labels are the least believed
    True
    """

    paper: ClassVar[str] = "dataset_cartography"
    version: ClassVar[int] = 2  # 2: keeps curves over passes

    learner: Learner = Field(default_factory=Learner, description="the model that is watched")
    skip: int = Field(0, ge=0, description="first passes that are left out")

    @property
    def needs(self) -> Sequence[str]:
        return self.learner.needs

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {
            "confidence": pa.float32(),
            "variability": pa.float32(),
            "correctness": pa.float32(),
            "forgetting": pa.float32(),
            "threshold_closeness": pa.float32(),
            "region": pa.string(),
        }

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        seen = self.learner.record(pool, run)
        found = maps(seen, min(self.skip, self.learner.passes - 1))
        return replace(ById.of(pool, seen.rows, found), curves=dynamics(seen, found["region"]))

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))


def maps(seen: Recording, skip: int = 0) -> dict[str, npt.NDArray[np.generic]]:
    """The data map's columns, (n,) each, from what was recorded after the first `skip` passes."""
    gold, right = seen.gold[:, skip:].astype(np.float64), seen.right[:, skip:]
    known = right > 0.5
    confidence, variability = gold.mean((0, 1)), gold.std(1).mean(0)
    falls = (known[:, :-1] & ~known[:, 1:]).sum(1).mean(0)
    ranks = np.stack([_ranks(confidence), _ranks(variability), _ranks(-confidence)])
    return {
        "confidence": confidence,
        "variability": variability,
        "correctness": known.mean((0, 1)),
        "forgetting": np.where(known.any((0, 1)), falls, np.nan),
        "threshold_closeness": (gold.mean(1) * (1 - gold.mean(1))).mean(0),
        "region": REGIONS[ranks.argmax(0)],
    }


def dynamics(seen: Recording, regions: npt.NDArray[np.generic]) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """Training pass by pass, (seeds, passes), of all records and of each region: the share whose label is the
    likeliest (``right``), the mean probability of the label (``gold``), and the share that was right after the pass
    before and is no longer (``forgotten``; unknown for the first pass)."""
    known = seen.right > 0.5
    lost = np.full(known.shape, np.nan)
    lost[:, 1:] = known[:, :-1] & ~known[:, 1:]
    groups = {"all": np.ones(len(regions), np.bool_), **{name: regions == name for name in REGIONS.tolist()}}
    return {
        what: {name: values[..., group].astype(np.float64).mean(-1) for name, group in groups.items() if group.any()}
        for what, values in (("right", known), ("gold", seen.gold), ("forgotten", lost))
    }


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))
