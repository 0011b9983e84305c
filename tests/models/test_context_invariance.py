"""Corpus-invariant tuning: the penalty by hand, what it pulls on, and what it does to a model that learns by heart."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from tilth.models.batches import reading_order, windows_of_rounds
from tilth.models.context_invariance import ContextInvariance, likelihoods, memorisation_gap
from tilth.models.dialogues import Dialogues
from tilth.models.feeds import Batch, Fixed
from tilth.models.optim import Options
from tilth.models.transformer import Config, Decoder, build
from tilth.models.tune import Texts, train_sft

CONFIG = Config(vocab=30, context=16, layers=1, width=32, heads=1, hidden=64)
RECORDS, GIVEN = 24, 2


def reader(seed: int = 0) -> Decoder:
    model = build(CONFIG, torch.Generator().manual_seed(seed))
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("outward.weight"):
                p.normal_(0, 0.1, generator=torch.Generator().manual_seed(seed + 1))
    return model


def contexts(seed: int = 0, count: int = RECORDS) -> Texts:
    rng = np.random.default_rng(seed)
    lengths = rng.integers(3, 6, count)
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), rng.integers(1, 30, lengths.sum()).astype(
        np.uint32
    )


def asked(texts: Texts) -> tuple[Dialogues, list[list[int]]]:
    """Each record: two contexts, then the first of them again; all of it is learned."""
    parts = [ids.tolist() for ids in np.split(texts[1], texts[0][1:-1])]
    rows, learned, read = [], [], []
    for i, own in enumerate(parts):
        other = (i + 5) % len(parts)
        row = [*own, *parts[other], *own]
        rows.append(row)
        learned.append([True] * len(row))
        read.append([i, other])
    offsets = np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)
    ids = np.array([i for row in rows for i in row], np.uint32)
    flags = np.array([flag for row in learned for flag in row], np.bool_)
    return Dialogues(offsets, ids, flags, np.ones(len(rows), np.int64)), read


def train(model: Decoder, strength: float | None, epochs: int = 12) -> None:
    texts = contexts()
    talks, read = asked(texts)
    order = reading_order(np.full(RECORDS, epochs), np.random.default_rng(0))
    beside = None if strength is None else ContextInvariance(model, texts, read, strength)
    train_sft(model, talks, order, Options(rate=3e-3, batch=8), beside=beside)


def test_likelihoods_are_those_of_each_text_alone() -> None:
    model, texts = reader(), contexts()
    rows = np.array([3, 0, 7])
    found = likelihoods(model, texts, rows)
    for row, value in zip(rows, found, strict=True):
        ids = torch.from_numpy(texts[1][texts[0][row] : texts[0][row + 1]].astype(np.int64))
        log = model.logits(model(torch.cat([torch.zeros(1, dtype=torch.int64), ids[:-1]])[None]))[0].log_softmax(-1)
        assert value.item() == pytest.approx(log[torch.arange(len(ids)), ids].mean().item(), abs=1e-5)
    with pytest.raises(ValueError, match="empty text"):
        likelihoods(model, (np.array([0, 2, 2]), texts[1][:2]), np.array([0, 1]))


def test_the_penalty_is_the_mean_rise_of_the_contexts_of_the_step() -> None:
    model, texts = reader(), contexts()
    talks, read = asked(texts)
    beside = ContextInvariance(model, texts, read, 3.0)
    first = likelihoods(model, texts, np.arange(RECORDS)).detach()
    assert torch.allclose(beside.first, first, atol=1e-5), "what it was is kept before the weights move"
    beside.first[9] = first[9] = 5.0  # a context that has become less likely
    order = np.array([4, 9, 4])  # a record read twice counts once
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(9)) * 0.05)
    data, out = windows_of_rounds(talks.offsets, talks.ids, talks.learned, order, CONFIG.context, 0)
    assert not out.size
    batch = Fixed(data, len(data)).batch(0)
    now = likelihoods(model, texts, np.arange(RECORDS)).detach()
    rows = [4, 9, 14]  # 4 and 9 read 4, 9 and 9, 14
    wanted = 3.0 * (now - first).clamp(min=0)[rows].mean()
    assert 0 < int((now > first)[rows].sum()) < len(rows), "both sides of the hinge are there"
    hidden = model(batch.inputs, batch.documents)
    assert beside(batch, hidden).item() == pytest.approx(wanted.item(), rel=1e-5)


def test_at_the_start_it_is_0_and_what_fell_pulls_nowhere() -> None:
    model, texts = reader(), contexts()
    _, read = asked(texts)
    beside = ContextInvariance(model, texts, read, 1.0)
    batch = Batch(*(torch.zeros(1, 1, dtype=torch.int64),) * 3, np.array([[2]]), np.array([[0]]))
    hidden = model(batch.inputs)
    assert beside(batch, hidden).item() < 1e-5
    beside.first += 10.0  # as if the contexts had become less likely
    loss = beside(batch, hidden)
    loss.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == 0.0
    assert all(p.grad is None or not p.grad.any() for p in model.parameters())
    beside.first -= 20.0
    beside(batch, hidden).backward()  # type: ignore[no-untyped-call]
    assert any(p.grad is not None and bool(p.grad.any()) for p in model.parameters())
    nothing = Batch(*(torch.zeros(1, 1, dtype=torch.int64),) * 3, np.array([[-1]]), np.array([[0]]))
    assert beside(nothing, hidden).item() == 0.0


def test_strength_0_is_the_baseline_to_the_bit_and_more_keeps_contexts_from_being_learned() -> None:
    start, texts = reader(), contexts()
    models = {strength: copy.deepcopy(start) for strength in (None, 0.0, 30.0)}
    for strength, model in models.items():
        train(model, strength)
    plain, off, held = (models[s].state_dict() for s in (None, 0.0, 30.0))
    assert all(torch.equal(plain[name], off[name]) for name in plain)
    assert any(not torch.equal(plain[name], held[name]) for name in plain)
    was, free, kept = (likelihoods(m, texts, np.arange(RECORDS)).detach() for m in (start, models[None], models[30.0]))
    rises = [float((now - was).clamp(min=0).mean()) for now in (free, kept)]
    assert rises[0] > 0.05, "without it the contexts are learned"
    assert rises[1] < 0.5 * rises[0]


def test_the_gap_is_what_was_learned_of_these_texts_and_not_of_their_kind() -> None:
    model, trained, fresh = reader(), contexts(0), contexts(1)
    before = memorisation_gap(model, trained, fresh)
    means = [likelihoods(model, texts, np.arange(RECORDS)).mean().item() for texts in (trained, fresh)]
    assert before == pytest.approx(means[0] - means[1], abs=1e-5)
    train(model, None)
    assert memorisation_gap(model, trained, fresh) > before + 0.05
    assert memorisation_gap(model, trained, trained) == 0.0


def test_what_cannot_be_is_refused() -> None:
    model, texts = reader(), contexts()
    for wrong in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="strength"):
            ContextInvariance(model, texts, [[0]], wrong)
    for row in (-1, RECORDS):
        with pytest.raises(ValueError, match="not among"):
            ContextInvariance(model, texts, [[0, row]])
