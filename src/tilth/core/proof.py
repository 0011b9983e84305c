"""Proof: does it work? Train something small on a plan and measure the goal."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Self, final

import numpy as np
import numpy.typing as npt

from tilth.core.errors import UsageError
from tilth.core.files import write_atomic
from tilth.core.goal import Goal
from tilth.core.method import Method, digest
from tilth.core.plan import Groups, Plan
from tilth.core.pool import Pool
from tilth.core.records import KINDS, Kind
from tilth.core.run import Run

__all__ = ["Curve", "CurveProof", "Losses", "MixtureProof", "PhaseProof", "Phases", "Proof", "mixture_losses"]

Losses = npt.NDArray[np.float64]
"""One loss per holdout item, lower is better; bits per byte unless the proof says otherwise."""


class Proof(Method):
    """One trial: train on a plan, return the loss of each holdout item. The engine does seeds, pairing, intervals.

    Initial weights are drawn at ``run.rng("init")``, the order of the data at ``run.rng("order")``: so the engine can
    vary one and hold the other.
    """

    unit: ClassVar[str] = "bits per byte"
    """What a loss is, in words; lower is better."""
    signed: ClassVar[bool] = False
    """Whether a loss can be negative, as a margin is: then a share of it means nothing and none is told."""
    kinds: ClassVar[tuple[Kind, ...]] = KINDS
    """The kinds of pools it can train on."""
    extra: ClassVar[str] = ""
    """The optional extra it cannot do without, named like the package it brings."""
    steps: ClassVar[bool] = False
    """Whether it trains step by step, so that an online policy can move the plan's shares on the way."""

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this proof reads."""

    @abstractmethod
    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """Losses of ``goal.holdout``'s items, in their order, after training on the plan.

        The plan's epochs per source are reproduced at the proof's own scale.
        """

    @abstractmethod
    def smaller(self) -> Self:
        """The same proof at half the scale: a ranking that does not survive it is not to be trusted."""

    @final
    def can_try(self, plan: Plan) -> None:
        """Refuse a plan whose shares move while training where there are no steps.

        Raises:
            UsageError: naming the proofs that can.
        """
        if plan.steering is None or self.steps:
            return
        from tilth import catalog  # read here, as in `Method`, to keep core free of methods

        able = [
            n for n, module in catalog.names().items() if module.startswith("tilth.proofs.") and catalog.find(n).steps
        ]
        raise UsageError(
            f"{self.name()} does not train step by step, and the online policy {plan.steering.policy.get('use')} moves "
            f"this plan's shares between steps. Prove it with {' or '.join(able)}."
        )


@dataclass(frozen=True)
class Curve:
    """What one trial measured on its way.

    Attributes:
        tokens: (k,) tokens (or records) read at each measurement, ascending; the last is the end of the trial.
        losses: (k, items) losses of the holdout's items.
        training: (k,) mean training loss since the measurement before, in nats per predicted token.
        shares: the shares that held from a step on, one entry per decision, where an online policy moved them.
    """

    tokens: npt.NDArray[np.int64]
    losses: Losses
    training: npt.NDArray[np.float64]
    shares: tuple[tuple[int, Mapping[str, float]], ...] = ()


class CurveProof(Proof):
    """A proof that trains step by step and measures the holdout on the way."""

    @abstractmethod
    def curve(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Curve:
        """The trial, with its losses at several points; the last row is the trial's result."""

    @final
    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """The last row of `curve`."""
        return np.asarray(self.curve(plan, pool, goal, run).losses[-1])


@dataclass(frozen=True)
class Phases:
    """What one trial of the continual protocol measured: before the plan's first phase, and after each.

    Attributes:
        phases: the plan's phases, in order; as many rows as `marks` has.
        tasks: names, in the order in which they are learned.
        learned: (tasks,) the row after the phase that teaches each; as many as there are rows where no phase does.
        marks: (phases, tasks) mean score of each task's items; larger is better.
        before: (tasks,) the same of the untrained model.
        losses: (phases + 1, holdout items), the untrained model's first; the last row is the trial's result.
        score: what a mark is, in words.
        measures: name -> what the matrix comes to (average, forgetting, transfer).
    """

    phases: tuple[int, ...]
    tasks: tuple[str, ...]
    learned: tuple[int, ...]
    marks: npt.NDArray[np.float64]
    before: npt.NDArray[np.float64]
    losses: Losses
    score: str
    measures: Mapping[str, float]


class PhaseProof(Proof):
    """A proof that trains phase by phase and takes every task's marks after each."""

    @abstractmethod
    def phases(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Phases:
        """The trial, with its marks after every phase; the last row of its losses is the trial's result."""

    @final
    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        """The losses after the last phase."""
        return np.asarray(self.phases(plan, pool, goal, run).losses[-1])


class MixtureProof(Proof):
    """A proof that scores many mixtures of one plan's groups far cheaper than one trial each."""

    @abstractmethod
    def mixtures(
        self, shares: npt.NDArray[np.float64], by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run
    ) -> Losses:
        """Losses of shape (mixtures, holdout items).

        Args:
            shares: (mixtures, groups), each row the shares of ``by.names``, summing to 1.
            plan: its kept records are what the groups consist of; its repeats are ignored.
        """


def mixture_losses(
    proof: Proof,
    shares: npt.NDArray[np.float64],
    by: Groups,
    plan: Plan,
    pool: Pool,
    goal: Goal,
    run: Run,
    label: str = "trials",
) -> Losses:
    """Losses (mixtures, items) by any proof: at once where it can, else one trial per mixture.

    Trials run side by side where the run has processes, and each finished one is kept in `run.scratch`, so a search
    that was killed goes on where it was.
    """
    if isinstance(proof, MixtureProof):
        return proof.mixtures(shares, by, plan, pool, goal, run)
    made = [proof.fingerprint(), plan.fingerprint, goal.fingerprint, run.number("trial"), run.device]
    made += [by.names, run.varied]
    made += [hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest() for a in (by.index, plan.sizes)]
    work = [_Mixture(digest([*made, i, row.tolist()]), i, row) for i, row in enumerate(np.asarray(shares, float))]
    return np.stack(run.map(partial(_tried, proof, by, plan, pool, goal, run.alone()), work, label))


@dataclass(frozen=True)
class _Mixture:
    """A mixture to be tried; `key` is made of everything its losses depend on."""

    key: str
    number: int
    shares: npt.NDArray[np.float64]


def _tried(proof: Proof, by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run, mixture: _Mixture) -> Losses:
    file = run.scratch / f"{mixture.key}.losses" if run.scratch is not None else None
    if file is not None and file.exists():
        return np.frombuffer(file.read_bytes())
    keys = run.uniform(plan.ids, "mixture")
    shares = dict(zip(by.names, mixture.shares, strict=True))
    mixed = plan.mixed(proof.describe(), "trial mixture", shares, by, keys)
    losses = np.asarray(proof.trial(mixed, pool, goal, run.at("trial", mixture.number)), np.float64)
    if file is not None:
        write_atomic(file, losses.tobytes())
    return losses
