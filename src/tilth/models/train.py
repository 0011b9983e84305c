"""Training loops as plain functions: weights in, losses out.

`descend` is the one loop; `train_lm` feeds it a language model, `train_examples` anything
whose examples have losses of their own. The trainers of answers, pairs, labels, soft labels and passages in
`tune` stand on them. A run that was cut resumes from its `Checkpoint` and ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from tilth.core import Curve, Weights
from tilth.models.batches import Windows
from tilth.models.checkpoint import Checkpoint, Stateful
from tilth.models.feeds import Batch, Feed, Seen
from tilth.models.optim import Options, optimizer, schedule
from tilth.models.transformer import Decoder

__all__ = [
    "Examples",
    "Trained",
    "bits_per_byte",
    "descend",
    "generator",
    "record_losses",
    "rising",
    "threads",
    "train_examples",
    "train_lm",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Trained:
    """What a training run leaves behind besides the weights.

    Attributes:
        losses: (steps,) mean training loss of each step, in nats per learned token (or per example).
        tokens: (steps,) tokens (or examples) learned from up to the end of each step.
        curve: the holdout's losses on the way, where they were measured.
        left_out: which records of the order were not read, because they fit no window and may not be cut.
    """

    losses: Floats
    tokens: npt.NDArray[np.int64]
    curve: Curve | None = None
    left_out: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))


def descend(
    model: nn.Module,
    loss_of: Callable[[int], Tensor],
    steps: int,
    options: Options,
    *,
    after: Callable[[int], None] | None = None,
    save: Checkpoint | None = None,
    carried: Sequence[Stateful] = (),
    opened: Callable[[torch.optim.Optimizer], None] | None = None,
    stepped: Callable[[torch.optim.Optimizer], None] | None = None,
) -> Floats:
    """Take `steps` steps down `loss_of(step)`; returns the loss of each.

    Args:
        loss_of: the loss of a step, a function of the weights, the step and what is `carried`.
        after: called when the weights have moved.
        save: where the run is saved and resumed from; removed at the end.
        carried: whatever else changes on the way and must be saved with the weights.
        opened: given the optimizer before the first step, for who wants to read its moments on the way.
        stepped: given the optimizer after each of its steps, for who moves the weights further at its learning rates;
            see `continual.Anchor`.
    """
    moved, losses, first = optimizer(model, options), np.zeros(steps), 0
    if save is not None and (found := save.read()) is not None:
        model.load_state_dict(found["model"])
        moved.load_state_dict(found["optimizer"])
        first = found["step"]
        losses[:first] = found["losses"]
        for thing, state in zip(carried, found["carried"], strict=True):
            thing.load(state)
    if opened is not None:
        opened(moved)
    weights = [p for p in model.parameters() if p.requires_grad]
    model.train()
    for step in range(first, steps):
        for group in moved.param_groups:
            group["lr"] = schedule(step, steps, options) * group["scale"]
        moved.zero_grad(set_to_none=True)
        with torch.autocast(weights[0].device.type, torch.bfloat16, enabled=options.precision == "bfloat16"):
            loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(weights, options.clip)
        moved.step()
        if stepped is not None:
            stepped(moved)
        losses[step] = loss.item()
        if after is not None:
            after(step)
        if save is not None and (step + 1) % save.every == 0 and step + 1 < steps:
            save.write(
                {
                    "model": model.state_dict(),
                    "optimizer": moved.state_dict(),
                    "step": step + 1,
                    "losses": losses[: step + 1],
                    "carried": [thing.state() for thing in carried],
                }
            )
    if save is not None:
        save.clear()
    return losses


def train_lm(
    model: Decoder,
    feed: Feed,
    options: Options,
    *,
    apart: bool = True,
    measure: Callable[[Decoder], Floats] | None = None,
    points: int = 4,
    reference: Decoder | None = None,
    weigh: Callable[[Seen], Tensor] | None = None,
    beside: Callable[[Batch, Tensor], Tensor] | None = None,
    watch: Callable[[Seen], None] | None = None,
    save: Checkpoint | None = None,
    opened: Callable[[torch.optim.Optimizer], None] | None = None,
    stepped: Callable[[torch.optim.Optimizer], None] | None = None,
) -> Trained:
    """Train a language model on what the feed gives, every token counting alike within a step.

    Args:
        apart: documents in one window do not attend to one another.
        measure: losses of the holdout's items, taken at `points` places equally far apart, the last at the end.
        reference: a second, frozen model whose losses on the same batches `weigh`, `watch` and online policies see.
        weigh: weights of the tokens, (B, T), from what was just measured; the loss is their weighted mean.
        beside: a number that is added to the step's loss, from the batch and the hidden states (B, T, D); see
            `continual.SwappedTeacher` and `replay.MarginReplay`.
        watch: called after each step; what it gathers is saved with the run if it is `Stateful`.
        save: pass one keyed by data, weights and options (`Checkpoint.keyed`).
        opened, stepped: see `descend`.
    """
    path = _Path(feed.steps, points if measure is not None else 0)
    seen: list[Seen] = []
    if reference is not None:
        reference.eval().requires_grad_(False)

    def loss_of(step: int) -> Tensor:
        batch = feed.batch(step)
        documents = batch.documents if apart else None
        hidden = model(batch.inputs, documents)
        losses = model.losses_from(hidden, batch.targets)
        other = None
        if reference is not None:
            with torch.no_grad():
                other = reference.losses(batch.inputs, batch.targets, documents)
        told = Seen(step, batch, losses.detach(), other)
        seen[:] = [told]
        path.tokens[step] = path.tokens[step - 1] * (step > 0) + int((batch.targets >= 0).sum())
        further = 0.0 if beside is None else beside(batch, hidden)
        if weigh is None:
            return losses.sum() / (batch.targets >= 0).sum().clamp(min=1) + further
        weights = weigh(told)
        return (losses * weights).sum() / weights.sum().clamp(min=1e-9) + further

    def after(step: int) -> None:
        feed.learn(seen[0])
        if watch is not None:
            watch(seen[0])
        path.means[step] = float(seen[0].losses.sum()) / max(1, int((seen[0].batch.targets >= 0).sum()))
        if measure is not None and step + 1 in path.stops:
            model.eval()
            path.found.append(measure(model))
            model.train()

    carried: list[Stateful] = [path]
    carried += [feed] if isinstance(feed, Stateful) else []
    carried += [watch] if isinstance(watch, Stateful) else []
    losses = descend(
        model, loss_of, feed.steps, options, after=after, save=save, carried=carried, opened=opened, stepped=stepped
    )
    if measure is not None and not feed.steps:  # nothing was read: what is measured is the untrained model
        return Trained(losses, path.tokens, Curve(np.zeros(1, np.int64), measure(model)[None], np.full(1, np.nan)))
    return Trained(losses, path.tokens, path.curve() if measure is not None else None)


class _Path:
    """What `train_lm` gathers on its way."""

    def __init__(self, steps: int, points: int) -> None:
        self.tokens = np.zeros(steps, np.int64)
        self.means = np.zeros(steps)
        places = {max(1, round(steps * (k + 1) / points)) for k in range(points)} if points else set()
        self.stops = sorted(places if steps else ())
        self.found: list[Floats] = []

    def state(self) -> Any:
        return self.tokens.copy(), self.means.copy(), list(self.found)

    def load(self, state: Any) -> None:
        self.tokens, self.means, self.found = state

    def curve(self) -> Curve:
        starts = [0, *self.stops[:-1]]
        training = [self.means[a:b].mean() for a, b in zip(starts, self.stops, strict=True)]
        read = self.tokens[np.asarray(self.stops) - 1]
        return Curve(read, np.stack(self.found), np.array(training))


@dataclass(frozen=True)
class Examples:
    """What was measured at one step of `train_examples`.

    Attributes:
        records: (B,) which examples.
        losses: (B,) their losses; detached.
        extra: whatever else the trainer measured: a classifier's scores, a preference's reward margins.
    """

    step: int
    records: npt.NDArray[np.int64]
    losses: Tensor
    extra: Tensor | None = None


def train_examples(
    model: nn.Module,
    losses_of: Callable[[npt.NDArray[np.int64]], tuple[Tensor, Tensor | None]],
    order: npt.NDArray[np.int64],
    options: Options,
    *,
    measure: Callable[[], Floats] | None = None,
    points: int = 4,
    weigh: Callable[[Examples], Tensor] | None = None,
    over: Literal["weights", "examples"] = "weights",
    watch: Callable[[Examples], None] | None = None,
    save: Checkpoint | None = None,
    opened: Callable[[torch.optim.Optimizer], None] | None = None,
    stepped: Callable[[torch.optim.Optimizer], None] | None = None,
) -> Trained:
    """Train on examples in the order given, `options.batch` a step; the loss is their mean, or weighted mean.

    Args:
        losses_of: the losses (B,) of some examples, and what else `watch` is to see.
        order: which example is read at each place; see `batches.reading_order`.
        measure: losses of the holdout's items, taken at `points` places, the last at the end.
        weigh: weights (B,) from what was just measured; see `rising`.
        over: what the weighted sum is divided by: the weights' sum, or the number of examples, so that a batch of small
            weights makes a small step.
        watch: called after each step; what it gathers is saved with the run if it is `Stateful`.
        opened, stepped: see `descend`.
    """
    steps = -(-len(order) // options.batch)
    path = _Path(steps, points if measure is not None else 0)
    seen: list[Examples] = []

    def loss_of(step: int) -> Tensor:
        rows = order[step * options.batch : (step + 1) * options.batch]
        losses, extra = losses_of(rows)
        seen[:] = [Examples(step, rows, losses.detach(), None if extra is None else extra.detach())]
        path.tokens[step] = min((step + 1) * options.batch, len(order))
        path.means[step] = float(seen[0].losses.mean())
        if weigh is None:
            return losses.mean()
        weights = weigh(seen[0])
        return (losses * weights).sum() / (weights.sum().clamp(min=1e-9) if over == "weights" else weights.numel())

    def after(step: int) -> None:
        if watch is not None:
            watch(seen[0])
        if measure is not None and step + 1 in path.stops:
            model.eval()
            path.found.append(measure())
            model.train()

    carried: list[Stateful] = [path]
    carried += [watch] if isinstance(watch, Stateful) else []
    losses = descend(
        model, loss_of, steps, options, after=after, save=save, carried=carried, opened=opened, stepped=stepped
    )
    return Trained(losses, path.tokens, path.curve() if measure is not None and steps else None)


def rising(weights: Weights, rows: npt.NDArray[np.int64], batch: int) -> Callable[[Examples], Tensor]:
    """The `weigh` of `train_examples` that counts losses by a plan's weights, which change from epoch to epoch.

    Say ``over="examples"`` with it: the loss is then the mean of weight times loss, as in arXiv 2004.14269.

    Args:
        rows: the plan's row of each example; an epoch is as many readings as there are examples.
        batch: examples of a step, `Options.batch`.
    """

    def weigh(seen: Examples) -> Tensor:
        now = weights.at(seen.step * batch // len(rows))[rows[seen.records]]
        return torch.from_numpy(now).to(seen.losses.device, torch.float32)

    return weigh


@torch.no_grad()
def record_losses(
    model: Decoder, data: Windows, batch: int = 32, device: str = "cpu"
) -> tuple[Floats, npt.NDArray[np.int64]]:
    """Nats of each record's learned tokens, summed, and how many there are; see `batches.windows_to_score`."""
    count = int(data.order.max(initial=-1)) + 1
    nats, tokens = np.zeros(count), np.zeros(count, np.int64)
    for start in range(0, len(data), batch):
        part = Batch.of(data.take(np.arange(start, min(start + batch, len(data)))), device)
        losses = model.losses(part.inputs, part.targets, part.documents).cpu().numpy().astype(np.float64)
        counted = part.targets.cpu().numpy() >= 0
        nats += np.bincount(part.records[counted], losses[counted], count)
        tokens += np.bincount(part.records[counted], minlength=count)
    return nats, tokens


def bits_per_byte(model: Decoder, data: Windows, size: npt.NDArray[np.int64], device: str = "cpu") -> Floats:
    """Bits per byte of each record, from the bytes its counted tokens stand for; 0 of an empty one."""
    nats, _ = record_losses(model, data, device=device)
    return np.asarray(nats / math.log(2) / np.maximum(size, 1))


def generator(rng: np.random.Generator) -> torch.Generator:
    """A torch generator seeded from one of `Run.rng`; weights are drawn on the CPU wherever they go."""
    return torch.Generator().manual_seed(int(rng.integers(2**63)))


@contextmanager
def threads(count: int) -> Iterator[None]:
    """Let torch use this many threads. Sums depend on their number, so results do; what must repeat states it."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
