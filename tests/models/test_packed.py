"""Packed documents have the logits, losses and gradients they have alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.models import transformer
from tilth.models.batches import Packing, Windows, windows, windows_of_documents, windows_of_rounds, windows_to_score
from tilth.models.transformer import Config, Decoder, build

VOCAB, CONTEXT = 50, 48


def trained_like(seed: int = 0) -> Decoder:
    """A model whose every part does something: fresh weights with outward matrices that are not zero."""
    model = build(Config.of_depth(2, vocab=VOCAB, context=CONTEXT), torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, p in model.named_parameters():
            scale = (
                0.1 if name.startswith("embedding") else (2.0 if "attention.in" in name else 0.5) * p.shape[1] ** -0.5
            )
            p.normal_(0.0, scale, generator=torch.Generator().manual_seed(seed + p.numel()))
    return model.eval()


MODEL = trained_like()


def texts(lengths: list[int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return offsets, np.random.default_rng(seed).integers(1, VOCAB, offsets[-1]).astype(np.uint32)


def gap(made: Windows, model: Decoder = MODEL, apart: bool = True) -> float:
    """The largest difference of a document's logits in its window and alone."""
    inputs, documents = (torch.from_numpy(a.astype(np.int64)) for a in (made.inputs, made.documents))
    worst = 0.0
    with torch.no_grad():
        packed = model.logits(model(inputs, documents if apart else None))
        for row in range(len(made)):
            for number in np.unique(made.documents[row][made.documents[row] >= 0]):
                place = torch.from_numpy(np.flatnonzero(made.documents[row] == number))
                alone = model.logits(model(inputs[row, place][None]))[0]
                worst = max(worst, float((packed[row, place] - alone).abs().max()))
    return worst


@given(st.lists(st.integers(1, 100), min_size=1, max_size=10), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_packed_documents_have_the_logits_they_have_alone(lengths: list[int], seed: int) -> None:
    offsets, ids = texts(lengths, seed)
    order, rng = np.arange(len(lengths)), np.random.default_rng(seed)
    packings: tuple[Packing, ...] = ("best_fit", "first_fit", "next_fit")
    for packing in packings:
        assert gap(windows_of_documents(offsets, ids, order, CONTEXT, 0, packing=packing, rng=rng)) <= 1e-5
    assert gap(windows(offsets, ids, order, CONTEXT, 0)) <= 1e-5
    assert gap(windows_to_score(offsets, ids, CONTEXT, 0)) <= 1e-5


@given(st.lists(st.lists(st.integers(1, 20), min_size=1, max_size=5), min_size=1, max_size=8), st.integers(0, 3))
@settings(max_examples=15, deadline=None)
def test_packed_dialogues_have_the_logits_they_have_alone(talks: list[list[int]], seed: int) -> None:
    offsets, ids = texts([2 * sum(rounds) for rounds in talks], seed)
    learned = np.concatenate([np.repeat([False, True], n) for rounds in talks for n in rounds])
    order, rng = np.arange(len(talks)), np.random.default_rng(seed)
    made, left_out = windows_of_rounds(offsets, ids, learned, order, CONTEXT, 0, packing="best_fit", rng=rng)
    assert left_out.size == 0
    assert gap(made) <= 1e-5


def test_a_far_place_in_a_long_window_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    offsets, ids = texts([1950, 30, 40], 1)
    made = windows_of_documents(offsets, ids, np.arange(3), 2048, 0, packing="next_fit")
    assert len(made) == 1
    assert gap(made) <= 1e-5
    assert gap(made, apart=False) > 1e-2
    monkeypatch.setattr(transformer, "positions", lambda documents: torch.arange(documents.shape[1]))
    assert gap(made) > 2e-5, "positions that go on through the window are rounded too coarsely"


def test_packed_loss_and_gradient_are_those_of_the_documents_alone() -> None:
    offsets, ids = texts([30, 12, 47, 5, 21, 1, 33, 16], 2)
    rng = np.random.default_rng(0)
    packed = windows_of_documents(offsets, ids, np.arange(8), CONTEXT, 0, packing="first_fit", rng=rng)
    alone = [windows_of_documents(offsets, ids, np.array([i]), CONTEXT, 0, packing="next_fit") for i in range(8)]
    assert len(packed) < 8

    def loss_and_gradient(parts: list[Windows]) -> tuple[float, torch.Tensor]:
        MODEL.zero_grad()
        total = torch.zeros(())
        for part in parts:
            arrays = (torch.from_numpy(a.astype(np.int64)) for a in (part.inputs, part.targets, part.documents))
            total = total + MODEL.losses(*arrays).sum()
        total = total / sum(int(part.tokens.sum()) for part in parts)
        total.backward()  # type: ignore[no-untyped-call]
        return float(total.detach()), torch.cat([p.grad.flatten() for p in MODEL.parameters() if p.grad is not None])

    (loss, slope), (other, wanted) = loss_and_gradient([packed]), loss_and_gradient(alone)
    assert loss == pytest.approx(other, abs=1e-5)
    assert torch.allclose(slope, wanted, atol=1e-5)
