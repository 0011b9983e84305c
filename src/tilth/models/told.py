"""What a language model says of each record's tokens: their probability, the error, and the last layer's gradient.

For every predicted token t with hidden state h, probabilities p and true id y: ``gold`` is p[y], ``right`` whether y is
the likeliest, ``error`` the length of ``p - onehot(y)``, ``size`` that of h, ``loss`` minus the logarithm of p[y]. A
record's number is the mean over its tokens. Its gradient in the output matrix is the mean of ``(p - onehot(y)) h'``;
`Sketch` shortens both factors by random signs before they are multiplied, so no array of vocabulary times width is ever
made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.core import Run
from tilth.models.batches import Windows
from tilth.models.feeds import Batch
from tilth.models.transformer import Decoder

__all__ = ["Reading", "Sketch", "reading", "tell"]

Reals = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Sketch:
    """Random signs for errors (vocabulary, k) and for hidden states (width, m): a gradient becomes k x m numbers."""

    errors: Tensor
    hidden: Tensor

    @classmethod
    def drawn(cls, vocab: int, width: int, run: Run, k: int = 64, m: int = 32) -> Sketch:
        """Signs scaled so that inner products keep their size."""

        def signs(rows: int, columns: int, name: str) -> Tensor:
            drawn = run.rng("sketch", name).integers(0, 2, (rows, columns)) * 2 - 1
            return torch.from_numpy(drawn / np.sqrt(columns)).to(torch.float32)

        return cls(signs(vocab, k, "errors"), signs(width, m, "hidden"))

    def divided(self, second: Reals) -> Sketch:
        """Of gradients divided by the roots of their second moments, (vocab, width), which are taken to be of rank one.

        As in Adafactor (Shazeer and Stern 2018, arXiv 1804.04235): the product of row and column means over the mean of
        all. Only so do the factors stay apart; signs stay the same, so inner products with undivided sketches count.
        """
        v = torch.from_numpy(second).clamp(min=1e-30)
        rows, columns = v.mean(1, keepdim=True), v.mean(0).unsqueeze(1) / v.mean()
        return Sketch(self.errors * rows.rsqrt(), self.hidden * columns.rsqrt())


@torch.no_grad()
def tell(
    model: Decoder, data: Windows, *, sketch: Sketch | None = None, batch: int = 16, device: str = "cpu"
) -> tuple[Reals, Reals, Reals, Reals, Reals, npt.NDArray[np.float16] | None]:
    """gold, right, error, size and loss of each record, (n,), and the sketched gradients, (n, k m); see the module.

    NaN and zeros where a record has no token that counts.
    """
    count = int(data.order.max(initial=-1)) + 1
    sums = np.zeros((5, count))
    tokens = np.zeros(count)
    made: Any = None
    if sketch is not None:
        made = np.zeros((count, sketch.errors.shape[1] * sketch.hidden.shape[1]), np.float32)
        sketch = Sketch(sketch.errors.to(device), sketch.hidden.to(device))
    for start in range(0, len(data), batch):
        part = Batch.of(data.take(np.arange(start, min(start + batch, len(data)))), device)
        counted = part.targets >= 0
        if not bool(counted.any()):
            continue
        hidden, wanted = model(part.inputs, part.documents)[counted], part.targets[counted]
        owner = part.records[counted.cpu().numpy()]
        scores = model.logits(hidden).log_softmax(-1)
        loss = -scores.gather(1, wanted.unsqueeze(1)).squeeze(1)
        p, gold = scores.exp(), (-loss).exp()
        error = ((p * p).sum(1) - 2 * gold + 1).clamp(min=0).sqrt()
        told = (gold, (p.argmax(1) == wanted).float(), error, hidden.norm(dim=1), loss)
        for row, values in zip(sums, told, strict=True):
            row += np.bincount(owner, values.cpu().numpy().astype(np.float64), count)
        tokens += np.bincount(owner, minlength=count)
        if sketch is not None:
            short = (p @ sketch.errors - sketch.errors[wanted]).unsqueeze(2) * (hidden @ sketch.hidden).unsqueeze(1)
            records, place = np.unique(owner, return_inverse=True)
            total = torch.zeros(records.size, short[0].numel(), device=short.device)
            total.index_add_(0, torch.from_numpy(place).to(short.device), short.flatten(1))
            made[records] += total.cpu().numpy()
    with np.errstate(invalid="ignore"):
        gold_, right, error_, size, loss_ = (sums / np.where(tokens > 0, tokens, np.nan)).astype(np.float32)
    if made is not None:
        made = (made / np.maximum(tokens, 1)[:, None]).astype(np.float16)
    return gold_, right, error_, size, loss_, made


@dataclass(frozen=True)
class Reading:
    """What a model makes of each record's text, (n,) each; NaN where a record has no token that counts.

    Attributes:
        nats: what its tokens cost together.
        sure: mean over its tokens of the likeliest token's probability.
        hard: median cost, in nats, of those of its tokens that are among the `top` likeliest; NaN where none is.
        guessable: the share of these.
    """

    nats: npt.NDArray[np.float64]
    sure: npt.NDArray[np.float64]
    hard: npt.NDArray[np.float64]
    guessable: npt.NDArray[np.float64]


@torch.no_grad()
def reading(model: Decoder, data: Windows, top: int, *, batch: int = 16, device: str = "cpu") -> Reading:
    """Costs, certainty and the median cost of the tokens that were guessable; the last after SALT (arXiv 2410.18779).

    A token outside the `top` likeliest is taken for one that cannot be learnt: noise is mostly made of these.
    """
    count = int(data.order.max(initial=-1)) + 1
    owners, costs, certain, guessed = ([np.zeros(0)] for _ in range(4))
    for start in range(0, len(data), batch):
        part = Batch.of(data.take(np.arange(start, min(start + batch, len(data)))), device)
        counted = part.targets >= 0
        if not bool(counted.any()):
            continue
        log = model.logits(model(part.inputs, part.documents)[counted]).float().log_softmax(-1)
        gold = log.gather(1, part.targets[counted].unsqueeze(1).long())
        owners.append(part.records[counted.cpu().numpy()])
        costs.append(-gold.squeeze(1).cpu().numpy().astype(np.float64))
        certain.append(log.amax(-1).exp().cpu().numpy().astype(np.float64))
        guessed.append(((log > gold).sum(1) < top).cpu().numpy())
    owner, cost = np.concatenate(owners).astype(np.int64), np.concatenate(costs)
    tokens = np.bincount(owner, minlength=count)
    known: npt.NDArray[np.float64] = np.where(tokens > 0, 1.0, np.nan)
    kept = np.concatenate(guessed).astype(bool)

    def mean(values: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
        return np.asarray(np.bincount(owner, values, count) / np.maximum(tokens, 1) * known)

    nats = np.asarray(np.bincount(owner, cost, count) * known)
    return Reading(nats, mean(np.concatenate(certain)), _medians(owner[kept], cost[kept], count), mean(kept))


def _medians(owner: npt.NDArray[np.int64], values: npt.NDArray[np.float64], count: int) -> npt.NDArray[np.float64]:
    """The median of each owner's values; NaN for those who have none."""
    ordered = values[np.lexsort((values, owner))]
    sizes = np.bincount(owner, minlength=count)
    start = np.cumsum(sizes) - sizes
    some = np.flatnonzero(sizes)
    out = np.full(count, np.nan)
    low, high = (ordered[start[some] + at] for at in ((sizes[some] - 1) // 2, sizes[some] // 2))
    out[some] = (low + high) / 2
    return out
