"""FladUcb1: read the group that may pay best, given how seldom it was tried."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run

__all__ = ["FladUcb1"]


@dataclass(frozen=True)
class State:
    """Groups, their mean rewards, how often each was looked at, and which is being read."""

    names: tuple[str, ...]
    means: tuple[float, ...] = ()
    tried: tuple[int, ...] = ()
    read: int = -1


class FladUcb1(OnlinePolicy[State]):
    """UCB1-FLAD (arXiv 2302.00674): a bandit that reads the one group of the greatest upper bound on its reward.

    The reward is the cosine of the group's gradient with the target's. First every group is looked at once; then at
    each decision that was preceded by t looks the group with the greatest ``mean + explore sqrt(2 ln t / looks)`` is
    read until the next, and what it earned moves its mean by `beta`.

    Cost: a forward pass over a mini-batch of each target and of one group at a decision, of all at the first. Trap: the
    whole batch comes from one group, so a model forgets what is read seldom, and like its sibling `flad_exp3` it wants
    many decisions: a small `every`. With ``beta`` 1 only the last reward counts. The bonus is made for rewards
    between 0 and 1, and cosines of gradients are mostly small: a linear model of 20 sources learned its target less
    well than in fixed shares by the first alignment, but with ``explore`` 0.3 better. Ours: the target only steers and
    is not trained on.

    >>> from tilth.core import Run
    >>> from tilth.models.influence import Known
    >>> asked = Known.of({"near": [1, 0], "far": [-1, 0]}, {"goal": [1, 0]})
    >>> state, read = State(("near", "far")), []
    >>> for step in range(100):
    ...     shares, state = FladUcb1().step(state, {"step": step, "influence": asked}, Run())
    ...     read += [name for name, share in shares.items() if share]
    >>> read.count("near")
    99
    """

    paper: ClassVar[str] = "improving_fewshot_generalization_by_exploring_and"

    beta: float = Field(0.1, gt=0, le=1, description="part of a group's mean reward that its last one replaces")
    explore: float = Field(1.0, ge=0, description="times the bonus of groups that were looked at seldom")
    positive: bool = Field(False, description="rewards are (1 + cosine) / 2")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("id",)

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> State:
        return State((*plan.moving,))

    def step(self, state: State, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], State]:
        means, tried = np.array(state.means), np.array(state.tried, np.int64)
        if state.read < 0:
            means, tried = self._rewards(state.names, seen), np.ones(len(state.names), np.int64)
        else:
            i = state.read
            means[i] += self.beta * (self._rewards([state.names[i]], seen)[0] - means[i])
            tried[i] += 1
        bound = means + self.explore * np.sqrt(2 * math.log(int(tried.sum())) / tried)
        best = int(bound.argmax())
        shares = {name: float(i == best) for i, name in enumerate(state.names)}
        return shares, State(state.names, tuple(means.tolist()), tuple(tried.tolist()), best)

    def _rewards(self, names: Any, seen: Mapping[str, Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
        cosines = seen["influence"].aligned(names, cosine=True) @ seen["influence"].weights
        return np.asarray((1 + cosines) / 2 if self.positive else cosines)
