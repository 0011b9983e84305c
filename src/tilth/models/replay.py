"""General texts read again among a task's, with the last layer's states held on the side where they were (GeRe).

`States` are what a model says of some windows before training, three values per coordinate; `Slots` puts those windows
among a task's, some in every batch; `MarginReplay` is the loss that keeps them. Source: Zhang et al. 2025, "GeRe"
(arXiv 2508.04676).
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
from tilth.models.feeds import Batch, Seen
from tilth.models.losses import threshold_margins
from tilth.models.transformer import Decoder

__all__ = ["MarginReplay", "Slots", "States"]


@dataclass(frozen=True)
class States:
    """On which side of two thresholds each coordinate of the last layer is, of every token of some windows.

    Attributes:
        labels: (windows, context, D): 1 at least `high`, -1 at most `low`, 0 between; 0 where nothing is learned.
        low, high: (D,) mean less and plus `width` standard deviations over the learned tokens, filling left out.
    """

    labels: npt.NDArray[np.int8]
    low: Tensor
    high: Tensor

    @classmethod
    @torch.no_grad()
    def of(cls, model: Decoder, data: Windows, width: float = 1.0, *, apart: bool = True, batch: int = 16) -> States:
        """Those of a model as it is now: take them before training. One byte a coordinate is stored.

        Raises:
            ValueError: when there is not a token.
        """
        device = str(model.embedding.weight.device)
        training = model.training
        model.eval()
        states, learned = [], []
        for start in range(0, len(data), batch):
            part = Batch.of(data.take(np.arange(start, min(start + batch, len(data)))), device)
            states.append(model(part.inputs, part.documents if apart else None))
            learned.append(part.targets >= 0)
        model.train(training)
        if not data or not any(bool(some.any()) for some in learned):
            raise ValueError("no token is learned in these windows, so there is no state to keep")
        every, real = torch.cat(states), torch.cat(learned)
        middle, spread = every[real].mean(0), every[real].std(0, correction=0)
        low, high = middle - width * spread, middle + width * spread
        labels = (every >= high).to(torch.int8) - (every <= low).to(torch.int8)
        return cls((labels * real.unsqueeze(-1)).cpu().numpy(), low, high)


class Slots:
    """A task's windows with `slots` windows of replay in every batch, at random places; a `Feed`.

    Each batch has ``size - slots`` windows of the task, so all of them are read once; replay goes through its windows
    in random orders, a new one when they are used up. Which row of a batch is which window of replay, or -1, is in
    `rows`.

    Raises:
        ValueError: when a batch would have no room for the task, or there is nothing to replay.
    """

    def __init__(self, task: Windows, replay: Windows, slots: int, size: int, run: Run) -> None:
        if not 0 <= slots < size:
            raise ValueError(f"{slots} slots leave no room in a batch of {size}")
        if slots and not len(replay):
            raise ValueError("there is nothing to replay; give at least one window or no slots")
        if len(replay) and task.inputs.shape[1] != replay.inputs.shape[1]:
            raise ValueError("windows of the task and of replay have different lengths; cut both to one context")
        self.task, self.replay, self.slots, self.size, self.run = task, replay, slots, size, run
        self.steps = -(-len(task) // (size - slots))
        self.rows: npt.NDArray[np.int64] = np.zeros(0, np.int64)

    def batch(self, step: int) -> Batch:
        """A function of the step alone."""
        room = self.size - self.slots
        mine = np.arange(step * room, min((step + 1) * room, len(self.task)))
        drawn = np.array([self._drawn(step * self.slots + i) for i in range(self.slots)], np.int64)
        place = self.run.rng("slots", step).permutation(mine.size + drawn.size)
        rows = np.concatenate([np.full(mine.size, -1), drawn])
        self.rows = rows[place]
        parts = [Batch.of(self.task.take(mine), self.run.device), Batch.of(self.replay.take(drawn), self.run.device)]
        order = torch.from_numpy(place).to(parts[0].inputs.device)

        def joined(name: str) -> Any:
            both = [getattr(part, name) for part in parts]
            if isinstance(both[0], Tensor):
                return torch.cat(both)[order]
            return np.concatenate(both)[place]

        fields = {name: joined(name) for name in ("inputs", "targets", "documents", "records", "readings")}
        fields["records"][self.rows >= 0] = -1  # no record of the task
        return Batch(**fields)

    def learn(self, seen: Seen) -> None:
        """Nothing to learn."""

    def _drawn(self, n: int) -> int:
        turn, place = divmod(n, len(self.replay))
        return int(self.run.rng("again", turn).permutation(len(self.replay))[place])


class MarginReplay:
    """Threshold-margin loss on the replayed rows of a `Slots` feed: `beside` and `weigh` of `train.train_lm`.

    With ``beside=margin, weigh=margin.weigh`` the step's loss is GeRe's: half the mean over the task's tokens, half the
    mean over the replayed ones, plus ``strength`` times the sum of margins over the number of those that are not 0. At
    the first step, with the weights that `states` were taken from, it is 0 but for rounding.

    Trap: that number keeps the loss's scale as violations vanish, so the few that are left pull as hard as the many
    did; watch the gradient's clipping. Labels are of the model before training, never of the present one.

    Args:
        states: of the feed's replay, from `States.of`.
        strength: 100 or 1 in the release, which says both work. In our own trial (claim `zhang2025_gere`) 100 kept a
            small model from learning the tasks, and KL to what it said before was better than margins.
    """

    def __init__(self, feed: Slots, states: States, strength: float = 1.0) -> None:
        if len(states.labels) != len(feed.replay):
            raise ValueError(f"states of {len(states.labels)} windows, but {len(feed.replay)} are replayed")
        self.feed, self.states, self.strength = feed, states, strength

    def __call__(self, batch: Batch, hidden: Tensor) -> Tensor:
        """What is added to the loss of a step."""
        mine = np.flatnonzero(self.feed.rows >= 0)
        if not mine.size:
            return hidden.sum() * 0.0
        at = torch.from_numpy(mine).to(hidden.device)
        labels = torch.from_numpy(self.states.labels[self.feed.rows[mine]]).to(hidden.device)
        learned = batch.targets[at] >= 0
        found = threshold_margins(hidden[at][learned], labels[learned], self.states.low, self.states.high)
        return self.strength * found.sum() / (found > 0).sum().clamp(min=1)

    def weigh(self, seen: Seen) -> Tensor:
        """Weights of the tokens, (B, T): the task's sum to a half, and the replayed ones' to a half."""
        learned = seen.batch.targets >= 0
        again = torch.from_numpy(self.feed.rows >= 0).to(learned.device).unsqueeze(1) & learned
        task = learned & ~again
        if not bool(again.any()):
            return learned / learned.sum().clamp(min=1)
        return 0.5 * (task / task.sum().clamp(min=1) + again / again.sum())
