"""el2n: high on wrong labels early, blind after memorisation, and steady over seeds."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.worlds import table_of

from tilth.core import Run
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.models.linear import Linear, Rows
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.el2n import El2n

PROBE = LabelNoise(flip=0.1, words=12)
WORLD = PROBE.build(800, Run())


def scores(signal: El2n, seed: int = 0) -> np.ndarray:
    return np.asarray(score_in_memory(signal, table_of(WORLD), run=Run(seed=seed)).column("el2n.score").to_numpy())


def test_wrong_labels_are_found_early_and_less_well_once_memorised() -> None:
    early, late = scores(El2n()), scores(El2n(after=100, learner=Learner(passes=100)))
    assert PROBE.grade(WORLD, early) > 0.97
    assert PROBE.grade(WORLD, late) < PROBE.grade(WORLD, early) - 0.02
    assert late.mean() < 0.2 * early.mean()


def test_is_the_mean_of_lengths_and_not_the_length_of_a_mean() -> None:
    """Three classes by hand: p = (.7, .2, .1) with label 0 has error (-.3, .2, .1)."""
    place = np.array([0], np.int32)
    model = Linear(place, np.zeros((1, 3), np.float32), np.log(np.array([0.7, 0.2, 0.1], np.float32)))
    empty = Rows(np.array([0, 0]), np.zeros(0, np.int32), np.zeros(0, np.float32), 1)
    assert np.linalg.norm(model.errors(empty, [0])) == pytest.approx(np.sqrt(0.14), rel=1e-5)
    learner = Learner(seeds=4, passes=2)
    seen = learner.record(WORLD.pool, Run())
    found = scores(El2n(learner=learner, after=2))
    assert found == pytest.approx(seen.error[:, 1].mean(0), rel=1e-6)
    assert np.abs(found - seen.error[:, 0].mean(0)).max() > 0.01


def test_two_groups_of_five_seeds_rank_alike_and_single_seeds_less() -> None:
    fives = [scores(El2n(after=1), seed) for seed in (1, 2)]
    ones = [scores(El2n(after=1, learner=Learner(seeds=1)), seed) for seed in (1, 2)]
    together, alone = spearmanr(*fives).statistic, spearmanr(*ones).statistic
    assert together > 0.95
    assert together > alone
