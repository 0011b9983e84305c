"""Feeds: what a language model reads at each step; fixed beforehand, or from groups whose shares move."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.core import Influence, OnlinePolicy, Run
from tilth.models.batches import Windows

__all__ = ["Batch", "Decks", "Feed", "Fixed", "Log", "Mixed", "Seen", "as_shares"]

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
