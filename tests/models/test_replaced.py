"""Random replacement of what is read: how much, where, and that nothing predicted changes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

import torch

from tilth.core import Run
from tilth.models.batches import windows_of_documents
from tilth.models.checkpoint import Checkpoint, content
from tilth.models.feeds import Fixed, Mixed, Replaced
from tilth.models.optim import Options
from tilth.models.train import generator, train_lm
from tilth.models.transformer import Config, Decoder, build

VOCAB = 50


def windows(seed: int = 0, records: int = 60) -> Any:
    rng = np.random.default_rng(seed)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(5, 14, records))]).astype(np.int64)
    ids = rng.integers(1, VOCAB, offsets[-1]).astype(np.uint32)
    order = np.concatenate([np.arange(records), rng.permutation(records)]).astype(np.int64)
    return windows_of_documents(offsets, ids, order, 16, 0, packing="next_fit")


def batches(feed: Any) -> list[Any]:
    return [feed.batch(step) for step in range(feed.steps)]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.5, 1.0])
def test_the_share_of_words_read_is_replaced_and_no_target_is(share: float) -> None:
    plain = batches(Fixed(windows(), 8))
    noisy = batches(Replaced(Fixed(windows(), 8), share, VOCAB, Run(seed=2)))
    changed, words, drawn = 0, 0, []
    for a, b in zip(plain, noisy, strict=True):
        for name in ("targets", "documents"):
            assert torch.equal(getattr(a, name), getattr(b, name))
        assert (a.records == b.records).all()
        assert (a.readings == b.readings).all()
        word = (a.inputs != 0) & (a.documents >= 0)
        other = a.inputs != b.inputs
        assert not bool((other & ~word).any()), "ends of documents and filling stay"
        assert bool((b.inputs[word] != 0).all()), "no end is drawn"
        changed += int(other.sum())
        words += int(word.sum())
        drawn += b.inputs[other].tolist()
    wanted = share * (1 - 1 / (VOCAB - 1))  # a token may be drawn for itself
    assert changed / words == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / words) ** 0.5 + 1e-9)
    assert len(set(drawn)) > 0.75 * (VOCAB - 1), "any token may come"


def test_only_the_records_named_are_replaced() -> None:
    which = np.arange(60) % 2 == 0
    plain = batches(Fixed(windows(), 8))
    noisy = batches(Replaced(Fixed(windows(), 8), 1.0, VOCAB, Run(), which=which))
    touched: set[int] = set()
    for a, b in zip(plain, noisy, strict=True):
        touched |= set(a.records[(a.inputs != b.inputs).numpy()].tolist())
    assert touched == set(np.flatnonzero(which).tolist())


def test_noise_depends_on_seed_and_step_alone() -> None:
    def inputs(seed: int, steps: list[int]) -> list[Any]:
        feed = Replaced(Fixed(windows(), 8), 0.4, VOCAB, Run(seed=seed))
        return [feed.batch(step).inputs for step in steps]

    first = inputs(1, [0, 1, 2])
    assert all(torch.equal(a, b) for a, b in zip(first, inputs(1, [2, 1, 0])[::-1], strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, inputs(2, [0, 1, 2]), strict=True))


def test_a_record_read_twice_is_read_with_two_noises() -> None:
    batch = Replaced(Fixed(windows(records=8), 99), 0.4, VOCAB, Run()).batch(0)
    inputs = batch.inputs.numpy()
    pairs = [[inputs[(batch.records == record) & (batch.readings == reading)]
              for reading in np.unique(batch.readings[batch.records == record])]
             for record in range(8)]  # fmt: skip
    assert all(len(pair) == 2 and pair[0].size == pair[1].size for pair in pairs)
    assert sum(not np.array_equal(*pair) for pair in pairs) >= 7


def test_nothing_replaced_is_the_feed_itself() -> None:
    for a, b in zip(batches(Fixed(windows(), 8)), batches(Replaced(Fixed(windows(), 8), 0.0, VOCAB, Run())),
                    strict=True):  # fmt: skip
        assert torch.equal(a.inputs, b.inputs)


class Cut(BaseException):
    """The plug is pulled."""


def test_a_run_that_was_cut_ends_with_the_same_bits(tmp_path: Path) -> None:
    def train(stop: int | None, save: Checkpoint | None) -> Decoder:
        config = Config(vocab=VOCAB, context=16, layers=1, width=32, heads=1, hidden=32)
        model = build(config, generator(Run().rng("init")))
        groups = {"a": windows(1), "b": windows(2)}
        feed = Replaced(Mixed(groups, {"a": 0.3, "b": 0.7}, 4, 12, Run()), 0.3, VOCAB, Run())

        def watch(seen: Any) -> None:
            if seen.step == stop:
                raise Cut

        train_lm(model, feed, Options(batch=4), watch=watch, save=save)
        return model

    whole = train(None, None)
    save = Checkpoint(tmp_path, every=4, key="replaced")
    with pytest.raises(Cut):
        train(9, save)
    assert save.read() is not None
    assert content([train(None, save)]) == content([whole])


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"from 0 to 1; got 1\.5"):
        Replaced(Fixed(windows(), 8), 1.5, VOCAB, Run())
    with pytest.raises(ValueError, match="vocabulary of 1"):
        Replaced(Fixed(windows(), 8), 0.5, 1, Run())
