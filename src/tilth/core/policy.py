"""Policy: what should be trained on? And OnlinePolicy: the same question while training."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Generic, Self, TypeVar

from tilth.core.goal import Goal
from tilth.core.method import Method
from tilth.core.plan import Plan
from tilth.core.pool import Pool
from tilth.core.run import Run

__all__ = ["OnlinePolicy", "Policy"]

S = TypeVar("S")


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


class OnlinePolicy(Method, Generic[S]):
    """A plan that moves while training. `step` is pure, so a checkpoint is just its state."""

    @property
    @abstractmethod
    def needs(self) -> Sequence[str]:
        """The columns this policy reads."""

    @abstractmethod
    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> S:
        """The state before the first batch."""

    @abstractmethod
    def step(self, state: S, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], S]:
        """New shares per group, and the new state, from what was just measured."""
