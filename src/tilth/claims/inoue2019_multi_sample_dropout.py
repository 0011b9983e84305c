"""Multi-sample dropout (Inoue 2019, arXiv 1905.09788): several masks on one pooled feature train faster.

An encoder of 2 layers and a head of two matrices learn which of 77 things a customer asks a bank, with dropout on the
feature between them. With 8 samples the encoder runs once, the head under 8 masks, and the 8 losses are averaged; with
1 sample it is plain dropout. Both go on from the same weights, through the same records in the same order, at a rate
that is held. Five seeds draw records, weights, order and masks. The paper trains networks on images.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.core.errors import UsageError
from tilth.io.streams import blocks, lines
from tilth.models.batches import by_length, padded
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator, threads, train_examples
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts

__all__ = ["PAPER", "DroppedClassifier", "run", "sampled_losses"]

PAPER = "multisample_dropout_for_accelerated_training_and"
FILE = Path("C_labeled") / "banking77.jsonl.zst"
SEEDS = 5
SAMPLES = 8
DRAWS = 2000
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The records, the model and its training.

    Attributes:
        train, valid, test: records of each part.
        drop: share of the feature that a mask sets to 0.
        points: how often the loss on the validation part is measured, at equal distances.
    """

    train: int = 3000
    valid: int = 1000
    test: int = 2000
    vocab: int = 1024
    depth: int = 2
    hidden: int = 128
    drop: float = 0.5
    rate: float = 1e-3
    steps: int = 800
    batch: int = 32
    points: int = 40


@dataclass(frozen=True)
class Found:
    """What a run leaves: losses on the validation part on the way, the error on the test part, and seconds a step."""

    losses: Floats
    error: float
    seconds: float


class DroppedClassifier(nn.Module):
    """An encoder, several dropout masks on its pooled output, and one head for all of them.

    Inoue 2019 (arXiv 1905.09788). Outside training there is no dropout.

    Args:
        samples: masks of a record in a step; 1 is plain dropout.
        rng: draws the masks.
    """

    def __init__(self, encoder: Decoder, head: nn.Module, drop: float, samples: int, rng: torch.Generator) -> None:
        super().__init__()
        self.encoder, self.head, self.drop, self.samples, self.rng = encoder, head, drop, samples, rng

    def losses(self, tokens: Tensor, real: Tensor, labels: Tensor) -> Tensor:
        """Cross entropy of each record, (B,), averaged over the masks; the encoder runs once whatever their number."""
        pooled = self.encoder.pooled(tokens, real)
        if not self.training:
            return F.cross_entropy(self.head(pooled), labels, reduction="none")
        return sampled_losses(self.head, pooled, labels, self.drop, self.samples, self.rng)


def sampled_losses(
    head: nn.Module, pooled: Tensor, labels: Tensor, drop: float, samples: int, rng: torch.Generator
) -> Tensor:
    """Cross entropy of each record, (B,), from its feature (B, D), averaged over so many dropout masks of it.

    The losses are averaged, not the scores: the head sees one batch of ``samples * B`` masked features.
    """
    many = pooled.repeat(samples, 1)
    kept = torch.rand(many.shape, generator=rng) >= drop
    each = F.cross_entropy(head(many * kept / (1 - drop)), labels.repeat(samples), reduction="none")
    return each.view(samples, -1).mean(0)


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when the questions are missing.
    """
    if data is None or not (data / FILE).exists():
        raise UsageError(
            f"This claim needs labelled questions: give --data FOLDER (or set TILTH_DATA) with {FILE} in it, each line "
            "with a text and a label."
        )
    rows, scale = [*_rows(data / FILE)], Scale()
    found = {
        samples: [trained(rows, Run(seed=seed), scale, samples) for seed in range(SEEDS)] for samples in (1, SAMPLES)
    }
    return statements(found, [noise(Run(seed=seed), SAMPLES) for seed in range(SEEDS)], scale)


def statements(found: Mapping[int, Sequence[Found]], variance: Sequence[float], scale: Scale) -> list[dict[str, Any]]:
    """The paper's statements, judged on the runs by seed and on the variance `noise` found."""
    every = scale.steps // scale.points
    pairs = [*zip(found[1], found[SAMPLES], strict=True)]
    ahead = np.array([faster(one.losses, many.losses) for one, many in pairs])
    lower = np.array([many.losses.min() - one.losses.min() for one, many in pairs])
    wrong = np.array([many.error - one.error for one, many in pairs])
    dear = np.array([many.seconds / one.seconds for one, many in pairs])
    noisy = np.array(variance)
    return [
        lab.row(f"updates to the lowest validation loss of 1 sample, {SAMPLES} samples over 1", "at most 0.75", ahead,
                ahead.mean() <= 0.75),
        lab.row(f"lowest validation loss, {SAMPLES} samples less 1", "below 0", lower, lab.mean(lower)[2] < 0),
        lab.row(f"test error after {scale.steps} updates, {SAMPLES} samples less 1", "at most 0", wrong,
                wrong.mean() <= 0),
        lab.row(f"variance of the head's gradient at fixed features, {SAMPLES} samples over 1",
                f"{1 / SAMPLES:.3f} +- 20 %", noisy, abs(noisy.mean() * SAMPLES - 1) <= 0.2),
        lab.row(f"processor seconds of an update, {SAMPLES} samples over 1", "at most 1.1", dear, dear.mean() <= 1.1),
        *(lab.row(f"lowest validation loss, {_told(samples)}", "", [f.losses.min() for f in some], None)
          for samples, some in found.items()),
        *(lab.row(f"updates to it, {_told(samples)}", "", [every * (1 + f.losses.argmin()) for f in some], None)
          for samples, some in found.items()),
        *(lab.row(f"test error, {_told(samples)}", "", [f.error for f in some], None)
          for samples, some in found.items()),
    ]  # fmt: skip


def _told(samples: int) -> str:
    return "1 sample" if samples == 1 else f"{samples} samples"


def faster(one: Floats, many: Floats) -> float:
    """The updates after which `many` is as low as `one` ever gets, over those after which `one` is.

    A run that never gets there counts as if it had at its end, which favours it.

    >>> faster(np.array([3.0, 2.0, 1.0, 1.5]), np.array([2.0, 0.9, 0.8, 0.7])), faster(np.array([1.0, 2.0]), np.ones(2))
    (0.6666666666666666, 1.0)
    """
    low = np.flatnonzero(many <= one.min())
    return float((low[0] + 1 if low.size else many.size) / (one.argmin() + 1))


def trained(rows: Sequence[tuple[str, str]], run: Run, scale: Scale, samples: int) -> Found:
    """Train one classifier; records, weights and order are those of the run's seed for any number of samples."""
    order = run.rng("records").permutation(len(rows))
    parts = np.split(order, np.cumsum([scale.train, scale.valid, scale.test]))[:3]
    tokenizer = Tokenizer.train([rows[i][0] for i in parts[0]], scale.vocab)
    names = sorted({label for _, label in rows})
    texts = [tokenizer.encode_batch([rows[i][0] for i in part]) for part in parts]
    labels = [torch.tensor([names.index(rows[i][1]) for i in part]) for part in parts]
    options = Options(rate=scale.rate, batch=scale.batch, decay="constant")
    with threads(1):
        encoder = lab.decoder(scale.depth, scale.vocab, 64, run, causal=False)
        head = _head(encoder.config.width, scale.hidden, len(names), generator(run.rng("head")))
        model = DroppedClassifier(encoder, head, scale.drop, samples, generator(run.rng("masks")))
        spent = [0.0]

        def losses_of(some: Ints) -> tuple[Tensor, None]:
            return model.losses(*_padded(texts[0], some), labels[0][some]), None

        def measure() -> Floats:
            start = time.process_time()
            found = _judged(model, texts[1], labels[1])[0]
            spent[0] += time.process_time() - start
            return found

        start = time.process_time()
        places = lab.order(len(parts[0]), scale.steps * scale.batch, run)
        done = train_examples(model, losses_of, places, options, measure=measure, points=scale.points)
        seconds = (time.process_time() - start - spent[0]) / scale.steps
        model.eval()
        wrong = _judged(model, texts[2], labels[2])[1]
    assert done.curve is not None
    return Found(done.curve.losses.mean(1), float(wrong.mean()), seconds)


def noise(run: Run, samples: int, records: int = 16, width: int = 32, classes: int = 5) -> float:
    """Variance of the gradient of a linear head with so many samples over that with one, features being fixed."""
    rng = generator(run.rng("noise"))
    pooled, labels = torch.randn(records, width, generator=rng), torch.randint(classes, (records,), generator=rng)
    head = nn.Linear(width, classes, bias=False)
    with torch.no_grad():
        head.weight.normal_(0, width**-0.5, generator=rng)
    found = []
    for count in (samples, 1):
        grads = []
        for _ in range(DRAWS):
            (grad,) = torch.autograd.grad(sampled_losses(head, pooled, labels, 0.5, count, rng).mean(), head.weight)
            grads.append(grad.flatten())
        found.append(float(torch.stack(grads).var(0).sum()))
    return found[0] / found[1]


def _head(width: int, hidden: int, classes: int, rng: torch.Generator) -> nn.Module:
    last = nn.Linear(hidden, classes)
    head = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)
    with torch.no_grad():
        for p in head.parameters():
            p.normal_(0, p.shape[1] ** -0.5, generator=rng) if p.ndim == 2 else p.zero_()
        last.weight.zero_()  # every class is equally likely before training
    return head


@torch.no_grad()
def _judged(model: DroppedClassifier, texts: Texts, labels: Tensor) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """The loss of each text and whether the likeliest class is wrong."""
    losses, wrong = np.zeros(len(labels)), np.zeros(len(labels), np.bool_)
    for some in by_length(np.diff(texts[0]), 128):
        scores = model.head(model.encoder.pooled(*_padded(texts, some)))
        losses[some] = F.cross_entropy(scores, labels[some], reduction="none").numpy()
        wrong[some] = (scores.argmax(1) != labels[some]).numpy()
    return losses, wrong


def _padded(texts: Texts, some: Ints) -> tuple[Tensor, Tensor]:
    ids, real = padded(*texts, some, 64)
    return torch.from_numpy(ids), torch.from_numpy(real)


def _rows(file: Path) -> Iterator[tuple[str, str]]:
    for _, line, _ in lines(blocks(file)):
        row = orjson.loads(line)
        yield row["text"], str(row["label"])
