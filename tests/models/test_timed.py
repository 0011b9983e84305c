"""Timed training: measuring costs no time of training, and what is trained is what `train_lm` trains."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest

pytest.importorskip("torch")
import torch

from tilth.models.batches import windows
from tilth.models.buckets import cut, schedule
from tilth.models.feeds import Bucketed, Fixed
from tilth.models.optim import Options
from tilth.models.timed import at_equal_time, timed
from tilth.models.train import train_lm
from tilth.models.transformer import Config, Decoder, build

RNG = np.random.default_rng(0)
LENGTHS = RNG.integers(3, 90, 60)
OFFSETS = np.concatenate([[0], np.cumsum(LENGTHS)]).astype(np.int64)
IDS = RNG.integers(1, 50, OFFSETS[-1]).astype(np.uint32)


def model() -> Decoder:
    return build(Config.of_depth(1, 50, 32), torch.Generator().manual_seed(0))


def test_measuring_is_not_counted_and_changes_nothing() -> None:
    feed = Fixed(windows(OFFSETS, IDS, np.arange(60), 32, 0), 4)
    looked: list[int] = []

    def measure(some: Decoder) -> npt.NDArray[np.float64]:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            looked.append(1)
        return np.array([1.0, 3.0])

    began = time.process_time()
    one, other = model(), model()
    curve = timed(one, feed, Options(batch=4), measure, points=3)
    spent = time.process_time() - began
    assert curve.shape == (3, 2)
    assert (np.diff(curve[:, 0]) > 0).all()
    assert curve[:, 1].tolist() == [2.0] * 3
    assert curve[-1, 0] < spent - 0.5
    train_lm(other, feed, Options(batch=4))
    assert all(torch.equal(p, q) for p, q in zip(one.parameters(), other.parameters(), strict=True))


def test_equal_time_by_hand() -> None:
    slow, quick = np.array([[2.0, 4.0], [4.0, 2.0]]), np.array([[1.0, 3.5], [3.0, 2.5]])
    assert at_equal_time(quick, slow) == pytest.approx(3.0 - 2.5)
    assert at_equal_time(slow, quick) == pytest.approx(-0.5)
    assert at_equal_time(slow, slow) == 0.0


def test_sequences_of_a_step_are_as_long_and_of_one_document_each() -> None:
    sequences = cut(LENGTHS, 2, 5)
    feed = Bucketed(OFFSETS, IDS, sequences, schedule(sequences, 64, RNG, cycles=2))
    read = np.zeros(IDS.size, int)
    assert feed.steps > 5
    for step in range(feed.steps):
        batch = feed.batch(step)
        assert (batch.targets >= 0).all()
        assert batch.targets.numel() == 64
        assert torch.equal(batch.inputs[:, 1:], batch.targets[:, :-1])
        for row in range(len(batch.inputs)):
            sequence = int(batch.readings[row, 0])
            assert (batch.records[row] == sequences.document[sequence]).all()
            start = OFFSETS[sequences.document[sequence]] + sequences.start[sequence]
            assert batch.inputs[row].tolist() == IDS[start : start + batch.inputs.shape[1]].tolist()
            assert int(batch.targets[row, -1]) == IDS[start + batch.inputs.shape[1]]
            read[start : start + batch.inputs.shape[1] + 1] += 1
        assert len({int(n) for n in batch.documents[:, 0]}) == len(batch.inputs)
    assert read.max() == 1
    losses = train_lm(model(), feed, Options(batch=2), apart=False).losses
    assert np.isfinite(losses).all()
