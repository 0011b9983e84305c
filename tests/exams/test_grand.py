"""grand: the length of the last layer's gradient, bias included, and high on wrong labels."""

from __future__ import annotations

import numpy as np
import pytest
from tests.worlds import table_of

from tilth.core import Run
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.el2n import El2n
from tilth.signals.difficulty.grand import Grand

PROBE = LabelNoise(flip=0.1, words=12)
WORLD = PROBE.build(300, Run())


def column(signal: Grand | El2n) -> np.ndarray:
    name = f"{signal.name()}.score"
    return np.asarray(score_in_memory(signal, table_of(WORLD)).column(name).to_numpy())


def test_finds_wrong_labels() -> None:
    assert PROBE.grade(WORLD, column(Grand())) > 0.95


def test_of_the_linear_learner_it_is_el2n_times_a_constant() -> None:
    assert column(Grand()) == pytest.approx(np.sqrt(2) * column(El2n()), rel=1e-5)


def test_of_an_encoder_it_is_the_length_of_the_gradient() -> None:
    """Which tests/models/test_learner.py compares with autograd's."""
    pytest.importorskip("torch")
    learner = Learner(model="encoder", seeds=1, passes=2, depth=1, vocab=300, context=16)
    lengths = learner.gradients(1, WORLD.pool, Run()).lengths
    whole = np.hypot(lengths, learner.record(WORLD.pool, Run()).error[0, 1])  # with the bias's, which is the error
    assert column(Grand(learner=learner, after=2)) == pytest.approx(whole, rel=3e-3)
    assert np.corrcoef(lengths, column(El2n(learner=learner, after=2)))[0, 1] < 0.9999  # more than el2n
