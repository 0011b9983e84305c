from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from tilth.models.batches import windows_to_score
from tilth.models.sliding import sliding_windows
from tilth.models.train import record_losses
from tilth.models.transformer import Config, Decoder, build


@pytest.fixture(scope="module")
def model() -> Decoder:
    made = build(Config.of_depth(1, vocab=30, context=12), torch.Generator().manual_seed(1))
    with torch.no_grad():
        for p in made.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(2)) * 0.2)
    return made.eval()


def records(*sizes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), rng.integers(1, 30, sum(sizes)).astype(np.uint32)


def direct(model: Decoder, text: np.ndarray, context: int, stride: int) -> float:
    """The definition, one window at a time."""
    stream = [0, *text.tolist()]
    nats, done = 0.0, 0
    while done < len(text):
        stop = min(done + (stride if done else context), len(text))
        start = max(0, stop - context) if done else 0
        window = torch.tensor([stream[start : stop + 1]])
        with torch.no_grad():
            losses = model.losses(window[:, :-1], window[:, 1:])[0]
        nats += float(losses[done - start :].sum())
        done = stop
    return nats


@pytest.mark.parametrize("stride", [1, 5, 12])
def test_every_token_is_scored_once_with_the_past_it_should_have(model: Decoder, stride: int) -> None:
    offsets, ids = records(40, 3, 0, 12, 13, 1)
    nats, tokens = record_losses(model, sliding_windows(offsets, ids, 12, stride, 0))
    assert tokens.tolist() == np.diff(offsets).tolist()
    expected = [direct(model, ids[a:b], 12, stride) for a, b in pairwise(offsets)]
    assert nats == pytest.approx(expected, abs=1e-4)


def test_short_records_have_the_loss_of_their_whole_context(model: Decoder) -> None:
    offsets, ids = records(12, 5, 1)
    whole = record_losses(model, windows_to_score(offsets, ids, 12, 0))[0]
    for stride in (1, 4):
        assert record_losses(model, sliding_windows(offsets, ids, 12, stride, 0))[0] == pytest.approx(whole, abs=1e-5)


def test_nothing_and_a_stride_that_skips() -> None:
    assert len(sliding_windows(np.zeros(3, np.int64), np.zeros(0, np.uint32), 8, 4, 0)) == 0
    with pytest.raises(ValueError, match="stride"):
        sliding_windows(np.zeros(1, np.int64), np.zeros(0, np.uint32), 8, 9, 0)
