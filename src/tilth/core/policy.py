"""Policy: what should be trained on? And OnlinePolicy: the same question while training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Generic, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt

from tilth.core.goal import Goal
from tilth.core.method import Method
from tilth.core.plan import Plan
from tilth.core.pool import Pool
from tilth.core.run import Run

__all__ = ["Influence", "OnlinePolicy", "Policy"]

S = TypeVar("S")
Floats = npt.NDArray[np.float64]


class Policy(Method):
    """A plan in, a plan out, so policies compose.

    The engine hands policies `Goal.blind`: its holdout is the target, the real one is never seen.
    """

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this policy reads."""

    @abstractmethod
    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        """The plan after this policy's decision (build it with `Plan.revised` or `Plan.mixed`)."""

    @abstractmethod
    def worst(self) -> Self:
        """The same policy deciding the opposite way; itself when it expresses no preference.

        A proof runs it as a negative control: a choice that is no better than its opposite is no choice.
        """


class Influence(Protocol):
    """What an online policy may ask of the model it steers, at the step at which it decides.

    Nothing is computed before it is asked for. Each group answers with the mean gradient of the last layer on a fresh
    mini-batch of its own; targets are groups of the goal's target, never of its holdout.
    """

    @property
    def domains(self) -> Sequence[str]:
        """The groups that are mixed."""

    @property
    def targets(self) -> Sequence[str]:
        """The groups of the goal's target."""

    @property
    def weights(self) -> Floats:
        """(targets,) their weights, summing to 1."""

    def aligned(self, domains: Sequence[str] | None = None, *, cosine: bool = False) -> Floats:
        """(domains, targets): inner products, or cosines, of the domains' mean gradients with the targets'.

        A positive number says that a step on the domain lowers the target's loss. Only the domains named cost anything.
        """

    def gram(self, *, cosine: bool = False) -> Floats:
        """(domains, domains): the same between the domains."""

    def losses(self) -> Floats:
        """(targets,) nats per token of the targets, the same items each time."""


class OnlinePolicy(Method, Generic[S]):
    """A plan that moves while training. `step` is pure, so a checkpoint is just its state.

    The policy `steered` puts one into a plan. It then mixes the groups of ``plan.steering``, or the sources of a plan
    that has none. Shares outside the goal's limits are moved inside by whoever asked.
    """

    compares: ClassVar[bool] = False
    """Whether it reads the losses of a reference model, which a trainer must bring along."""

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this policy reads."""

    @abstractmethod
    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> S:
        """The state before the first batch."""

    @abstractmethod
    def step(self, state: S, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], S]:
        """New shares per group, and the new state, from what was just measured.

        Args:
            seen: ``step``, how many steps were taken: it is asked at 0, before the first batch, and then every so many;
                ``shares`` that hold now; since it was last asked ``tokens`` read of each group, their mean ``losses``
                in nats per token and, with a reference model, their ``excess``, the mean of what a token's loss is
                above the reference's; groups that were not read are missing there; ``influence``, see `Influence`.
        """
