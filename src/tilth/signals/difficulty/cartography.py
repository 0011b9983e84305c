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
    count = seen.gold.shape[-1]
    sums = np.zeros((5, count))
    ever = np.zeros(count, np.bool_)
    for gold_, right in zip(seen.gold[:, skip:], seen.right[:, skip:], strict=True):  # of a large pool one at a time
        gold, known = gold_.astype(np.float64), right > 0.5
        mean = gold.mean(0)
        falls = (known[:-1] & ~known[1:]).sum(0)
        sums += np.stack([mean, gold.std(0), known.mean(0), falls, mean * (1 - mean)])
        ever |= known.any(0)
    confidence, variability, correctness, falls, closeness = sums / len(seen.gold)
    ranks = np.stack([_ranks(confidence), _ranks(variability), _ranks(-confidence)])
    return {
        "confidence": confidence,
        "variability": variability,
        "correctness": correctness,
        "forgetting": np.where(ever, falls, np.nan),
        "threshold_closeness": closeness,
        "region": REGIONS[ranks.argmax(0)],
    }


def dynamics(seen: Recording, regions: npt.NDArray[np.generic]) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """Training pass by pass, (seeds, passes), of all records and of each region: the share whose label is the
    likeliest (``right``), the mean probability of the label (``gold``), and the share that was right after the pass
    before and is no longer (``forgotten``; unknown for the first pass)."""
    groups = {"all": np.ones(len(regions), np.bool_), **{name: regions == name for name in REGIONS.tolist()}}
    groups = {name: group for name, group in groups.items() if group.any()}
    shape = seen.gold.shape[:2]
    found = {what: {name: np.full(shape, np.nan) for name in groups} for what in ("right", "gold", "forgotten")}
    for seed, number in np.ndindex(*shape):
        known = seen.right[seed, number] > 0.5
        lost = seen.right[seed, number - 1] > 0.5 if number else known
        for name, group in groups.items():
            found["right"][name][seed, number] = known[group].mean()
            found["gold"][name][seed, number] = seen.gold[seed, number, group].mean(dtype=np.float64)
            if number:
                found["forgotten"][name][seed, number] = (lost & ~known)[group].mean()
    return found


def _ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    from scipy.stats import rankdata

    return np.asarray(rankdata(values))
