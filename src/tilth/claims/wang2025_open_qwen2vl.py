"""Open-Qwen2VL (Wang et al. 2025, arXiv 2504.00595): samples packed by first fit decreasing waste next to nothing.

Lengths are lognormal (median 245 tokens, sigma 1, at most a window of 2,048), as those of text and image patches are
long-tailed; `first_fit_decreasing` packs 50,000 of them. A decoder of two layers is then trained for a moment on packed
sequences of a Markov chain and gives the loss of each sequence in its window and alone. Controls: documents that see
one another, and windows in the order in which they were filled. Three seeds draw lengths, sequences and weights.

The paper packs images and captions for a model of two billion weights. Not run: images, and its union of filters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.kernels.packing import Fill, first_fit_decreasing, next_fit, shuffled, starts
from tilth.models.batches import Windows, windows_of_documents
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.train import record_losses, threads, train_lm

__all__ = ["PAPER", "run"]

PAPER = "openqwen2vl"
SEEDS = 3
END = 0
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Lengths and training.

    Attributes:
        lengths: how many are packed.
        batch: sequences that a trainer without packing pads to the longest of them.
        texts, context: sequences that the decoder reads, and its window.
    """

    lengths: int = 50_000
    capacity: int = 2048
    batch: int = 8
    texts: int = 600
    context: int = 512
    vocab: int = 64


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper says, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    with threads(1):
        return statements([marks(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    return [
        lab.row("windows filled by first fit decreasing", "at least 0.98", of["fill"], of["fill"].min() >= 0.98),
        lab.row("filled if each sample is padded to a window", "below 0.75", of["padded"], of["padded"].max() < 0.75),
        lab.row("samples that are not whole in one window, of all", "none", of["parted"], of["parted"].max() == 0),
        lab.row("packed twice: samples in another window", "none", of["moved"], of["moved"].max() == 0),
        lab.row("loss of a sample packed less alone, largest, millionths of a nat", "0 (here: at most 10)",
                1e6 * of["gap"], of["gap"].max() <= 1e-5),
        lab.row("control: the same in nats where samples see one another", "above 0.001", of["leak"],
                of["leak"].min() > 1e-3),
        lab.row("windows shuffled: correlation of place and longest sample", "0 (here: within 0.05)", of["shuffled"],
                bool((abs(of["shuffled"]) <= 0.05).all())),
        lab.row("control: windows as filled, the same", "below -0.5", of["sorted"], of["sorted"].max() < -0.5),
        lab.row("filled where samples are padded to the longest of 8", "", of["batched"], None),
        lab.row("filled by next fit, in the order given", "", of["next"], None),
    ]  # fmt: skip


def marks(run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed."""
    lengths = drawn(scale.lengths, 245, scale.capacity, run.rng("lengths"))
    bins = first_fit_decreasing(lengths, scale.capacity)
    fill = Fill.of(lengths, bins, scale.capacity)
    begin = starts(lengths, bins)
    whole = lengths.size // scale.batch * scale.batch
    batches = lengths[:whole].reshape(-1, scale.batch)
    return {
        "fill": 1 - fill.padding,
        "padded": float(lengths.mean() / scale.capacity),
        "batched": float(batches.sum() / (batches.max(1).sum() * scale.batch)),
        "next": 1 - Fill.of(lengths, next_fit(lengths, scale.capacity), scale.capacity).padding,
        "parted": float(np.mean((begin + lengths > scale.capacity) | _overlapping(lengths, bins, begin))),
        "moved": float(np.mean(first_fit_decreasing(lengths, scale.capacity) != bins)),
        "sorted": _bias(lengths, bins),
        "shuffled": _bias(lengths, shuffled(bins, run.rng("shuffled"))),
        **losses(run, scale),
    }


def drawn(count: int, median: float, longest: int, rng: np.random.Generator) -> Ints:
    """Lognormal lengths of sigma 1, from 1 to `longest`."""
    return np.clip(rng.lognormal(np.log(median), 1.0, count), 1, longest).astype(np.int64)


def losses(run: Run, scale: Scale) -> dict[str, float]:
    """How far the loss of a sequence in its window is from that of the sequence alone; and if sequences saw others."""
    rng = run.rng("texts")
    lengths = drawn(scale.texts, 60, scale.context - 1, rng)
    follows = rng.dirichlet(np.full(scale.vocab - 1, 0.05), scale.vocab - 1).cumsum(1)
    ids = np.zeros(int(lengths.sum()), np.uint32)
    for k, u in enumerate(rng.random(ids.size)):
        ids[k] = 1 + min(int(np.searchsorted(follows[ids[k - 1] - 1 if k else 0], u)), scale.vocab - 2)
    offsets, order = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64), np.arange(scale.texts)
    packed = windows_of_documents(
        offsets, ids, order, scale.context, END, packing="first_fit", rng=run.rng("windows")
    )  # fmt: skip
    model = lab.decoder(2, scale.vocab, scale.context, run)
    train_lm(model, Fixed(packed, 4), Options(rate=model.config.rate, batch=4))
    model.eval()
    alone = np.zeros(scale.texts)
    for i in order:
        one = windows_of_documents(offsets, ids, order[i : i + 1], scale.context, END, packing="next_fit")
        used = int(lengths[i]) + 1
        part = Windows(one.inputs[:, :used], one.targets[:, :used], one.documents[:, :used], np.zeros(1, np.int64))
        nats, tokens = record_losses(model, part)
        alone[i] = nats[0] / tokens[0]
    together, tokens = record_losses(model, packed)
    merged = np.where(packed.documents >= 0, 0, -1).astype(np.int32)
    leaking = _each(model, packed, merged)
    return {
        "gap": float(np.abs(together / tokens - alone).max()),
        "leak": float(np.abs(leaking - alone).max()),
    }


def _each(model: Any, data: Windows, documents: npt.NDArray[np.int32]) -> npt.NDArray[np.float64]:
    """Mean nats a token of each record when positions of one number in `documents` see one another."""
    import torch

    nats, tokens = np.zeros(data.order.size), np.zeros(data.order.size)
    with torch.no_grad():
        for row in range(len(data)):
            arrays = (
                torch.from_numpy(a[row : row + 1].astype(np.int64)) for a in (data.inputs, data.targets, documents)
            )
            found = model.losses(*arrays)[0].double().numpy()
            real = data.documents[row] >= 0
            np.add.at(nats, data.records[row][real], found[real])
            np.add.at(tokens, data.records[row][real], 1)
    return np.asarray(nats / tokens)


def _overlapping(lengths: Ints, bins: Ints, begin: Ints) -> npt.NDArray[np.bool_]:
    """Which sequences begin before the one before them in their bin ends."""
    order = np.lexsort((begin, bins))
    same = bins[order][1:] == bins[order][:-1]
    out = np.zeros(lengths.size, np.bool_)
    out[order[1:]] = same & (begin[order][1:] < (begin + lengths)[order][:-1])
    return out


def _bias(lengths: Ints, bins: Ints) -> float:
    """Correlation of the number of a bin with the longest sequence in it."""
    longest = np.zeros(int(bins.max()) + 1)
    np.maximum.at(longest, bins, lengths)
    return float(np.corrcoef(np.arange(longest.size), longest)[0, 1])
