"""Does a memory find the right document among others, whatever their order, and leave the language model alone?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tilth.core import Run
from tilth.models.batches import windows_of_documents
from tilth.models.checkpoint import Checkpoint, content
from tilth.models.dialogues import Dialogues
from tilth.models.feeds import Fixed
from tilth.models.mac import Mac, _remembered, answer_losses, answers, remember, train_mac
from tilth.models.optim import Options
from tilth.models.train import Examples, generator, threads, train_lm
from tilth.models.transformer import Config, Decoder, build
from tilth.models.tune import Texts, padded_to

NAMES, VALUES, TELLS, ASKS, VOCAB = 24, 8, 1, 2, 40
"""Ids: names from 3 on, then values; a fact is ``name TELLS value``, its question ``ASKS name``."""


def texts(rows: np.ndarray) -> Texts:
    return np.arange(len(rows) + 1) * rows.shape[1], rows.ravel().astype(np.uint32)


def facts(count: int, seed: int, together: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Names and values, (count,) ids each; no name twice in a row of `together`."""
    rng = np.random.default_rng(seed)
    names = np.concatenate([rng.permutation(NAMES)[:together] for _ in range(count // together)])
    return names + 3, rng.integers(0, VALUES, count) + 3 + NAMES


def documents(names: np.ndarray, values: np.ndarray) -> Texts:
    return texts(np.stack([names, np.full_like(names, TELLS), values], 1))


def questions(names: np.ndarray) -> Texts:
    return texts(np.stack([np.full_like(names, ASKS), names], 1))


def talks(names: np.ndarray, values: np.ndarray) -> Dialogues:
    rows = np.stack([np.full_like(names, ASKS), names, values, np.zeros_like(names)], 1)
    offsets, ids = texts(rows)
    learned = np.tile([False, False, True, True], len(names))
    return Dialogues(offsets, ids, learned, np.ones(len(names), np.int64))


def reads(seed: int = 0) -> Decoder:
    """A language model that answers a question from the one fact before it."""
    names, values = facts(16_000, 100 + seed)
    told = np.stack([names, np.full_like(names, TELLS), values, np.full_like(names, ASKS), names, values], 1)
    lm = build(Config.of_depth(1, VOCAB, 24), generator(Run(seed=seed).rng("lm")))
    data = windows_of_documents(*texts(told), np.arange(len(told)), 24, 0, packing="next_fit")
    train_lm(lm, Fixed(data, 16), Options(rate=3e-3, batch=16))
    return lm


def memory(lm: Decoder, seed: int = 0) -> Mac:
    shape = Config.of_depth(2, VOCAB, 24, causal=False)
    return Mac(lm, shape, generator(Run(seed=seed).rng("memory")), slots=2)


def moved(model: torch.nn.Module) -> None:
    """Fresh blocks add nothing to what they read; these do."""
    rng = generator(Run().rng("moved"))
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=rng))


def right(model: Mac, lm: Decoder, together: int, seed: int) -> float:
    """Share of right answers, asked of memories of so many documents."""
    marks = []
    for k in range(15):
        names, values = facts(together, 1000 * seed + k, together)
        bank, asked = remember(model, documents(names, values)), questions(names)
        said = answers(model, lm, bank, asked, asked, 3)
        marks += [row.tolist() == [value] for row, value in zip(said, values.tolist(), strict=True)]
    return float(np.mean(marks))


def test_answers_come_from_the_right_document_and_need_training_among_others() -> None:
    with threads(1):
        lm = reads()
        before = content([lm])
        found = {}
        for bank, steps in ((4, 400), (1, 150)):
            names, values = facts(32 * steps, 1)
            given = documents(names, values), questions(names), talks(names, values), np.arange(names.size)
            model = memory(lm)
            train_mac(model, lm, *given, Options(rate=3e-3, batch=32), run=Run(), bank=bank)
            found[bank] = right(model.eval(), lm, 4, seed=7), right(model, lm, 1, seed=8)
        assert content([lm]) == before, "the language model is frozen"
    assert found[4][0] > 0.8, "trained among four documents it finds the right one of four"
    assert found[1][1] > 0.9, "trained with one document it answers from one"
    assert found[1][0] < 0.6, "but not from four"


def test_the_order_of_a_memory_and_what_fills_a_document_up_change_nothing() -> None:
    lm = build(Config.of_depth(1, VOCAB, 24), generator(Run(seed=2).rng("lm")))
    model = memory(lm).eval()
    moved(model)
    names, values = facts(12, 3, 12)
    bank = remember(model, documents(names, values))
    tokens, real = padded_to(model.reader, questions(names), np.arange(12))
    turned = torch.from_numpy(np.random.default_rng(0).permutation(12))
    with torch.no_grad():
        prefix = model.recall(tokens, real, bank)
        assert torch.allclose(prefix, model.recall(tokens, real, bank[turned]), atol=1e-5)
        assert not torch.allclose(prefix, model.recall(tokens, real, bank[:6]), atol=1e-2)
        dealt = model.recall(tokens, real, torch.stack([bank, bank]))
        assert torch.allclose(prefix, dealt, atol=1e-5)
        halves = model.recall(tokens, real, torch.stack([bank[:6], bank[6:]]))
        expected = [model.recall(tokens[:6], real[:6], bank[:6]), model.recall(tokens[6:], real[6:], bank[6:])]
        assert torch.allclose(halves, torch.cat(expected), atol=1e-5), "each half is asked of its own memory"
        uneven = np.array([0, 1, 4]), np.array([5, 7, 1, 30], np.uint32)
        alone = [model.remember(*padded_to(model.reader, uneven, np.array([i])))[0] for i in (0, 1)]
        assert torch.allclose(remember(model, uneven), torch.stack(alone), atol=1e-5)
    assert remember(model, (np.zeros(1, np.int64), np.zeros(0, np.uint32))).shape == (0, 2, 64)


def test_gradients_flow_through_the_kept_documents_alone() -> None:
    model = memory(build(Config.of_depth(1, VOCAB, 24), generator(Run().rng("lm"))))
    moved(model)
    tokens, real = padded_to(model.reader, documents(*facts(8, 4, 8)), np.arange(8))
    made = _remembered(model, tokens, real, np.array([6, 1, 3]))
    whole = model.remember(tokens, real)
    assert torch.allclose(made, whole, atol=1e-5), "in the order given"
    assert not torch.allclose(made, whole[torch.arange(7, -1, -1)], atol=1e-2)
    some = torch.randn(made.shape[1:], generator=generator(Run().rng("some")))
    felt = []
    for row in made:
        (grad,) = torch.autograd.grad((row * some).sum() + 0 * made.sum(), model.starts, retain_graph=True)
        felt.append(float(grad.abs().max()))
    assert [i for i, size in enumerate(felt) if size > 1e-3] == [1, 3, 6]
    assert not any(size for i, size in enumerate(felt) if i not in (1, 3, 6))


def test_a_run_with_few_documents_kept_resumes_to_the_same_bits(tmp_path: Path) -> None:
    class Cut(BaseException):
        pass

    def cut(seen: Examples) -> None:
        if seen.step == 5:
            raise Cut

    lm = build(Config.of_depth(1, VOCAB, 24), generator(Run().rng("lm")))
    moved(lm)
    names, values = facts(64, 9)
    given = documents(names, values), questions(names), talks(names, values), np.arange(64)

    def train(kept: int | None = 2, **hooks: Any) -> Mac:
        model = memory(lm)
        train_mac(model, lm, *given, Options(rate=1e-2, batch=8), run=Run(), bank=4, kept=kept, **hooks)
        return model

    whole, save = train(), Checkpoint(tmp_path, every=4, key="mac")
    with pytest.raises(Cut):
        train(save=save, watch=cut)
    assert content([train(save=save)]) == content([whole])
    assert content([train(None)]) != content([whole])


def test_a_prefix_stands_before_the_question() -> None:
    lm = build(Config.of_depth(1, VOCAB, 24), generator(Run(seed=5).rng("lm")))
    moved(lm)
    names, values = facts(4, 6)
    given, rows = talks(names, values), np.arange(4)
    words = torch.tensor([[9, 12], [9, 13], [20, 9], [7, 8]])
    found = answer_losses(lm, lm.embedding(words), given, rows)
    ids = torch.from_numpy(given.ids.astype(np.int64).reshape(4, 4))
    read = torch.cat([words, torch.zeros(4, 1, dtype=torch.int64), ids[:, :-1]], 1)
    targets = torch.full_like(read, -1)
    targets[:, -2:] = ids[:, -2:]
    expected = lm.losses(read, targets).sum(1) / 2
    assert torch.allclose(found, expected, atol=1e-5), "vectors of words are read as these words"


def test_what_cannot_be_is_refused() -> None:
    lm = build(Config.of_depth(1, VOCAB, 24), generator(Run().rng("lm")))
    with pytest.raises(ValueError, match="must be an encoder"):
        Mac(lm, Config.of_depth(1, VOCAB), generator(Run().rng("memory")))
    with pytest.raises(ValueError, match="of the language model's 40 ids"):
        Mac(lm, Config.of_depth(1, 41, causal=False), generator(Run().rng("memory")))
    model, (names, values) = memory(lm), facts(8, 0)
    given = documents(names, values), questions(names), talks(names, values), np.arange(8)
    with pytest.raises(ValueError, match="memories of 3 documents do not divide"):
        train_mac(model, lm, *given, Options(batch=4), run=Run(), bank=3)
    with pytest.raises(ValueError, match="at least one document"):
        train_mac(model, lm, *given, Options(batch=4), run=Run(), bank=2, kept=0)
    with pytest.raises(ValueError, match="must be a decoder"):
        Mac(build(Config.of_depth(1, VOCAB, 24, causal=False), generator(Run().rng("lm"))), model.reader.config,
            generator(Run().rng("memory")))  # fmt: skip
    with pytest.raises(ValueError, match="1 memories of 0"):
        model.recall(*padded_to(model.reader, questions(names), np.arange(2)), torch.zeros(0, 2, 64))
