"""Feeds: what a language model reads at each step; fixed beforehand, or from groups whose shares move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.core import Influence, OnlinePolicy, Run
from tilth.models.batches import Windows
from tilth.models.buckets import Schedule, Sequences
from tilth.models.checkpoint import Stateful

__all__ = ["Batch", "Bucketed", "Decks", "Feed", "Fixed", "Log", "Mixed", "Replaced", "Seen", "as_shares"]

Log = Sequence[tuple[int, Mapping[str, float]]]
"""The shares that held from a step on, one entry per change."""


@dataclass(frozen=True)
class Batch:
    """What is read at one step.

    Attributes:
        inputs, targets, documents: (B, T), see `Windows`.
        records: (B, T) the record of each position, -1 where it is filling.
        readings: (B, T) a number that grows with every reading of a record; a record cut by a window's border keeps it.
        groups: the group of each row; empty where there are none.
    """

    inputs: Tensor
    targets: Tensor
    documents: Tensor
    records: npt.NDArray[np.int64]
    readings: npt.NDArray[np.int64]
    groups: tuple[str, ...] = ()

    @classmethod
    def of(cls, windows: Windows, device: str, turn: int | npt.NDArray[np.int64] = 0) -> Batch:
        """The windows as tensors, when they are read for the nth time, counted from 0; (B, 1) if not all alike."""
        arrays = (windows.inputs, windows.targets, windows.documents)
        inputs, targets, documents = (torch.from_numpy(a.astype(np.int64)).to(device) for a in arrays)
        readings = windows.documents.astype(np.int64) + turn * windows.order.size
        return cls(inputs, targets, documents, windows.records, readings)


@dataclass(frozen=True)
class Seen:
    """What was measured at one step, for whoever watches or steers.

    Attributes:
        losses: (B, T) nats of each target, 0 where there is none; detached.
        reference: the same by the frozen second model, if there is one.
    """

    step: int
    batch: Batch
    losses: Tensor
    reference: Tensor | None = None


class Feed(Protocol):
    """A batch for every step, and a look at what came of it."""

    steps: int

    def batch(self, step: int) -> Batch:
        """What is read at this step; called once per step, in order."""

    def learn(self, seen: Seen) -> None:
        """Take note of what was measured at this step."""


class Fixed:
    """Windows one after another; a function of the step alone."""

    def __init__(self, windows: Windows, size: int, device: str = "cpu") -> None:
        self.windows, self.size, self.device = windows, size, device
        self.steps = -(-len(windows) // size)

    def batch(self, step: int) -> Batch:
        """The next `size` windows."""
        rows = np.arange(step * self.size, min((step + 1) * self.size, len(self.windows)))
        return Batch.of(self.windows.take(rows), self.device)

    def learn(self, seen: Seen) -> None:
        """Nothing to learn."""


class Bucketed:
    """Sequences of dataset decomposition: all of a step have one length, and every step has as many targets.

    Args:
        offsets, ids: the documents that were cut.
    """

    def __init__(
        self,
        offsets: npt.NDArray[np.int64],
        ids: npt.NDArray[np.uint32],
        sequences: Sequences,
        schedule: Schedule,
        device: str = "cpu",
    ) -> None:
        self.offsets, self.ids, self.sequences, self.schedule = offsets, ids, sequences, schedule
        self.steps, self.device = len(schedule), device

    def batch(self, step: int) -> Batch:
        """The sequences of a step, each a document of its own."""
        rows = self.schedule.rows[self.schedule.starts[step] : self.schedule.starts[step + 1]]
        tokens = torch.from_numpy(self.sequences.taken(self.offsets, self.ids, rows).astype(np.int64)).to(self.device)
        shape = (tokens.shape[0], tokens.shape[1] - 1)
        place = np.broadcast_to(np.arange(shape[0])[:, None], shape)
        records = np.broadcast_to(self.sequences.document[rows][:, None], shape)
        readings = np.broadcast_to(rows[:, None], shape)
        return Batch(tokens[:, :-1], tokens[:, 1:], torch.from_numpy(place.copy()).to(self.device), records, readings)

    def learn(self, seen: Seen) -> None:
        """Nothing to learn."""


class Replaced:
    """Another feed with a share of the tokens that are read replaced by random ones; what is predicted stays as it is.

    A text's later tokens can then not be learned from the exact text before them alone, so facts told late in it can be
    asked for more often. Tokens are drawn anew at every step, at a place of `run` that depends on the step alone: a run
    that was cut goes on with the same ones, and a record read twice is read with two different noises.
    Source: Saito et al. 2024, arXiv 2402.12170.

    Args:
        share: the probability with which each token is replaced; 0 leaves every batch as it is.
        vocab: how many ids there are; the new token is any of them but `end`, all alike (it may be the old one).
        end: the id between documents, never replaced and never drawn.
        which: (records,) whether a record's tokens may be replaced; None for all of them.

    Raises:
        ValueError: when the share is no share, or there is no id to draw.

    >>> from tilth.models.batches import windows
    >>> texts = windows(np.array([0, 4]), np.array([5, 6, 7, 8]), np.array([0]), 5, 0)
    >>> feed = Replaced(Fixed(texts, 1), 1.0, 2, Run())
    >>> feed.batch(0).inputs.tolist(), feed.batch(0).targets.tolist()
    ([[0, 1, 1, 1, 1]], [[5, 6, 7, 8, 0]])
    """

    def __init__(
        self,
        feed: Feed,
        share: float,
        vocab: int,
        run: Run,
        *,
        end: int = 0,
        which: npt.NDArray[np.bool_] | None = None,
    ) -> None:
        if not 0 <= share <= 1:
            raise ValueError(f"the share of tokens replaced must be from 0 to 1; got {share}")
        if vocab < 2:
            raise ValueError(f"tokens are drawn from the ids besides the end; got a vocabulary of {vocab}")
        self.feed, self.share, self.vocab, self.run, self.end, self.which = feed, share, vocab, run, end, which
        self.steps = feed.steps

    def batch(self, step: int) -> Batch:
        """What the other feed gives, its inputs replaced."""
        batch = self.feed.batch(step)
        rng = self.run.rng("replaced", step)
        chosen = (rng.random(batch.records.shape) < self.share) & (batch.records >= 0)
        drawn = rng.integers(0, self.vocab - 1, batch.records.shape)
        drawn += drawn >= self.end
        if self.which is not None:
            chosen &= self.which[batch.records]
        inputs, device = batch.inputs, batch.inputs.device
        hit = torch.from_numpy(chosen).to(device) & (inputs != self.end)
        return replace(batch, inputs=torch.where(hit, torch.from_numpy(drawn).to(device), inputs))

    def learn(self, seen: Seen) -> None:
        """The other feed learns."""
        self.feed.learn(seen)

    def state(self) -> Any:
        """See `Stateful`: the other feed's."""
        return self.feed.state() if isinstance(self.feed, Stateful) else None

    def load(self, state: Any) -> None:
        """See `Stateful`."""
        if isinstance(self.feed, Stateful):
            self.feed.load(state)


class Decks:
    """Draws from several groups by shares that may change between draws.

    Each draw goes to the group that is furthest behind its share, so the mixture holds in every stretch and not only on
    average. A group that is used up begins again in another order. What is drawn depends on sizes, shares and `run`.
    """

    def __init__(self, sizes: Mapping[str, int], run: Run) -> None:
        self.sizes, self.run = {name: size for name, size in sizes.items() if size}, run
        self._owed = dict.fromkeys(self.sizes, 0.0)
        self._drawn = dict.fromkeys(self.sizes, 0)
        self._orders: dict[tuple[str, int], npt.NDArray[np.int64]] = {}

    def draw(self, shares: Mapping[str, float]) -> tuple[str, int, int]:
        """A group, how many times it was used up before, and which of its members."""
        for name, share in shares.items():
            self._owed[name] += share
        name = max((n for n in self._owed if shares[n] > 0), key=self._owed.__getitem__)
        self._owed[name] -= 1.0
        turn, place = divmod(self._drawn[name], self.sizes[name])
        self._drawn[name] += 1
        return name, turn, int(self._order(name, turn)[place])

    def state(self) -> Any:
        """See `Stateful`."""
        return dict(self._owed), dict(self._drawn)

    def load(self, state: Any) -> None:
        """See `Stateful`."""
        self._owed, self._drawn = dict(state[0]), dict(state[1])

    def _order(self, name: str, turn: int) -> npt.NDArray[np.int64]:
        """The order of a group when it is read for the nth time; the first time as it comes."""
        if (name, turn) not in self._orders:
            n = self.sizes[name]
            self._orders = {key: order for key, order in self._orders.items() if key[0] != name}
            self._orders[name, turn] = np.arange(n) if turn == 0 else self.run.rng("again", name, turn).permutation(n)
        return self._orders[name, turn]


class Mixed:
    """Windows of several groups by shares that an online policy, or the log of an earlier run, moves between steps.

    They are drawn from `Decks`, so which ones depends on the shares alone, and a run is replayed by handing its `log`
    back.

    Args:
        groups: the windows of each group, of one context; records are numbered alike in all of them.
        shares: of each group, from step 0 on.
        size: windows of a step.
        every: steps between two decisions of the policy.
        online: an online policy and the state that its `start` returned. It is asked before the first batch and then
            every `every` steps.
        influence: what the policy may ask of the model at a step; see `models.influence`.
        within: moves shares that the policy asks for to those that are allowed.
        replay: the `log` of another run, instead of a policy.
    """

    def __init__(
        self,
        groups: Mapping[str, Windows],
        shares: Mapping[str, float],
        size: int,
        steps: int,
        run: Run,
        *,
        online: tuple[OnlinePolicy[Any], Any] | None = None,
        influence: Callable[[int], Influence] | None = None,
        within: Callable[[Mapping[str, float]], Mapping[str, float]] | None = None,
        replay: Log | None = None,
        every: int = 1,
    ) -> None:
        self.groups = {name: windows for name, windows in groups.items() if len(windows)}
        self.size, self.steps, self.run, self.every = size, steps, run, every
        self.policy: OnlinePolicy[Any] | None = online[0] if online is not None else None
        self._inner: Any = online[1] if online is not None else None
        self._influence, self._within = influence, within
        self._replay = {step: given for step, given in replay or ()}
        self.log: list[tuple[int, dict[str, float]]] = []
        self._decks = Decks({name: len(windows) for name, windows in self.groups.items()}, run)
        self._sums = {name: np.zeros(3) for name in self.groups}  # nats, nats above the reference, tokens
        self._set(0, shares)

    @property
    def shares(self) -> dict[str, float]:
        """What holds now."""
        return self.log[-1][1]

    def batch(self, step: int) -> Batch:
        """The next `size` windows."""
        if step == 0 and self.policy is not None:
            self._decide(0, False)
        if step in self._replay:
            self._set(step, self._replay[step])
        drawn = [self._decks.draw(self.shares) for _ in range(self.size)]
        names, rows, batches = tuple(name for name, _, _ in drawn), [], []
        for name in dict.fromkeys(names):  # a group at a time: a window at a time takes as long as a small model's step
            mine = [i for i, each in enumerate(names) if each == name]
            turns = np.array([[drawn[i][1]] for i in mine])
            batches.append(Batch.of(self.groups[name].take([drawn[i][2] for i in mine]), self.run.device, turns))
            rows += mine
        back = np.argsort(rows)
        return Batch(
            torch.cat([b.inputs for b in batches])[back],
            torch.cat([b.targets for b in batches])[back],
            torch.cat([b.documents for b in batches])[back],
            np.concatenate([b.records for b in batches])[back],
            np.concatenate([b.readings for b in batches])[back],
            names,
        )

    def learn(self, seen: Seen) -> None:
        """Every `every` steps, ask the policy for new shares; what it is told see `OnlinePolicy.step`."""
        if self.policy is None:
            return
        losses = seen.losses.sum(1).tolist()
        above = [0.0] * len(losses)
        if seen.reference is not None:
            above = (seen.losses - seen.reference).clamp(min=0).sum(1).tolist()
        tokens = (seen.batch.targets >= 0).sum(1).tolist()
        for name, *row in zip(seen.batch.groups, losses, above, tokens, strict=True):
            self._sums[name] += row
        if (seen.step + 1) % self.every == 0 and seen.step + 1 < self.steps:
            self._decide(seen.step + 1, seen.reference is not None)

    def _decide(self, step: int, compared: bool) -> None:
        assert self.policy is not None
        told = {name: s for name, s in self._sums.items() if s[2] > 0}
        shown: dict[str, Any] = {
            "step": step,
            "tokens": {name: int(s[2]) for name, s in told.items()},
            "losses": {name: float(s[0] / s[2]) for name, s in told.items()},
            "shares": dict(self.shares),
        }
        if compared:
            shown["excess"] = {name: float(s[1] / s[2]) for name, s in told.items()}
        if self._influence is not None:
            shown["influence"] = self._influence(step)
        shares, self._inner = self.policy.step(self._inner, shown, self.run.at("online", step))
        self._set(step, shares if self._within is None else self._within(shares))
        self._sums = {name: np.zeros(3) for name in self.groups}

    def state(self) -> Any:
        """See `Stateful`."""
        return (self._inner, list(self.log), self._decks.state(), dict(self._sums))

    def load(self, state: Any) -> None:
        """See `Stateful`."""
        self._inner, self.log, decks, self._sums = state
        self._decks.load(decks)

    def _set(self, step: int, shares: Mapping[str, float]) -> None:
        wanted = as_shares(shares, self.groups, step)
        if self.log and self.log[-1][0] == step:
            self.log.pop()
        self.log.append((step, wanted))


def as_shares(given: Mapping[str, float], names: Iterable[str], step: int) -> dict[str, float]:
    """Of each group its share; they sum to 1.

    Raises:
        ValueError: when they are no shares.
    """
    wanted = {name: float(given.get(name, 0.0)) for name in names}
    total = sum(wanted.values())
    if not (total > 0 and all(np.isfinite(s) and s >= 0 for s in wanted.values())):
        raise ValueError(f"shares must be at least 0 and give some group weight; got {dict(given)} at step {step}")
    if abs(total - 1) > 1e-9:  # what is a share already stays as it is to the bit, or a replay would drift
        wanted = {name: share / total for name, share in wanted.items()}
    return wanted
