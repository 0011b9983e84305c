"""What the claims share: nothing lost in a vocabulary, only replies learned, every record read about equally often."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.models.optim import Options

TEXTS = ["12+39=", "a b, c's d.", "t3 t17 t4", "line\nline"]


@pytest.mark.parametrize("pattern", [lab.CHARACTERS, lab.WORDS])
def test_a_vocabulary_loses_nothing(pattern: str) -> None:
    vocab = lab.Vocab.of(TEXTS, pattern)
    offsets, ids = vocab.encode_batch(TEXTS)
    assert [vocab.decode(ids[a:b]) for a, b in pairwise(offsets)] == TEXTS
    assert ids.min() >= 1  # 0 ends a text
    with pytest.raises(KeyError):
        vocab.encode_batch(["unseen"])


def test_only_the_reply_and_its_end_are_learned() -> None:
    vocab = lab.Vocab.of(["12+3=15"], lab.CHARACTERS)
    data = lab.talks(vocab, ["1+2=", "12+3="], ["3", "15"])
    assert [vocab.decode(data.ids[a:b]) for a, b in zip(data.offsets[:-1], data.offsets[1:], strict=True)] == [
        "1+2=3",
        "12+3=15",
    ]
    assert vocab.decode(data.ids[data.learned]) == "315"
    assert int((data.ids[data.learned] == lab.END).sum()) == 2


def test_a_model_learns_the_answers_it_is_shown_and_says_them() -> None:
    prompts, replies = ["a=", "b=", "c="], ["x", "yz", "y"]
    vocab = lab.Vocab.of(prompts + replies, lab.CHARACTERS)
    model = lab.decoder(1, len(vocab), 16, Run())
    done = lab.tune(model, lab.talks(vocab, prompts, replies), 150, Run(), Options(rate=1e-2, batch=3))
    assert done.losses.size == 150
    assert lab.answers(model, vocab, prompts, 4) == replies


def test_reading_lowers_the_loss_of_what_was_read_only() -> None:
    texts = ["a b c d e f", "f a e b d c"]
    vocab = lab.Vocab.of([f" {t}" for t in texts], lab.WORDS)
    model = lab.decoder(1, len(vocab), 16, Run())
    read, other = (vocab.encode_batch([f" {t}"]) for t in texts)
    before = lab.losses(model, read)
    done = lab.read(model, read, 350, Run(), Options(rate=1e-2, batch=1, decay="constant"))
    assert int(done.tokens[-1]) == 350
    assert lab.losses(model, read) < 0.2 * before
    assert lab.losses(model, other) > before


def test_the_interval_is_students() -> None:
    middle, low, high = lab.mean([1.0, 2.0, 3.0, 4.0, 5.0])
    assert middle == 3.0
    assert high - middle == pytest.approx(2.776 * np.std([1, 2, 3, 4, 5], ddof=1) / np.sqrt(5), abs=1e-3)
    assert middle - low == pytest.approx(high - middle)
    assert lab.row("s", "p", [1.0, 1.0], None) == {
        "statement": "s",
        "paper": "p",
        "here": "1.000 (1.000 to 1.000)",
        "holds": "-",
    }
    assert lab.spread([0.25]) == "0.250"  # one seed has no interval


def test_a_reader_learns_and_never_looks_ahead() -> None:
    rng = np.random.default_rng(0)

    def batches() -> Iterator[tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]]:
        while True:
            x = rng.normal(size=(16, 5, 3)).astype(np.float32)
            yield x, (x.cumsum(1)[:, :, 0] > 0).astype(np.int64)  # asks for all places so far

    reader = lab.Reader(1, 3, 2, 5, Run())
    before = next(batches())
    found = lab.learn(reader, batches(), 100, Options(rate=3e-3, batch=16))
    assert found.shape == (100,)
    assert found[-20:].mean() < found[:5].mean() / 1.5
    x, y = before
    said = lab.labels(reader, x, batch=3)
    assert said.shape == y.shape
    assert (said == y).mean() >= 0.8
    other = x.copy()
    other[:, 3:] = 9
    assert np.array_equal(lab.labels(reader, other)[:, :3], said[:, :3])
