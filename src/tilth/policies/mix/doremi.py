"""DoReMi: read more of the groups on which the model lags behind a reference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run
from tilth.policies.mix._online import floored, named, softmax

__all__ = ["DoReMi"]

State = dict[str, float]
"""The shares."""


class DoReMi(OnlinePolicy[State]):
    """Excess loss over a reference model, as in DoReMi (arXiv 2305.10429): the baseline that looks at no target.

    At each decision ``share_i exp(eta excess_i)``, normalised, of which a part `smoothing` is shared out equally. The
    excess is the mean over the tokens read of group i of what the model's loss is above the reference's, at least 0: it
    is great where the model still has something to learn, and small where noise keeps both from learning. A group that
    was not read since keeps the excess 0, and so falls behind.

    Cost: a reference model of the same size, trained on the first shares, doubles a trial; then one forward pass on
    each batch. Trap: it is made to do well on every group, not on a goal, so where the goal is like few of them it
    reads the wrong ones; the reference has seen the data, so late in training the excess is about 0 and the shares
    stay. Ours: the shares steer the very run, whose batches are drawn by them. In the paper a small model is trained
    with its groups' losses weighted, the mean of its weights over all steps is the mixture of a second, large run, and
    decisions are made each step with eta 1 and smoothing 0.001.

    >>> from tilth.core import Run
    >>> seen = {"step": 25, "excess": {"hard": 0.8, "noise": 0.1}}
    >>> shares, _ = DoReMi().step({"hard": 0.5, "noise": 0.5}, seen, Run())
    >>> {name: round(share, 2) for name, share in shares.items()}
    {'hard': 0.67, 'noise': 0.33}
    """

    compares: ClassVar[bool] = True

    eta: float = Field(1.0, gt=0, description="how far one decision goes along the excess")
    smoothing: float = Field(0.001, ge=0, lt=1, description="part of the mixture that is shared out equally")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("id",)

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> State:
        return plan.moving

    def step(self, state: State, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], State]:
        if seen["step"] == 0:
            return state, state
        excess = np.array([max(0.0, seen["excess"].get(name, 0.0)) for name in state])
        with np.errstate(divide="ignore"):
            moved = softmax(np.log(np.array([*state.values()])) + self.eta * excess)
        after = named([*state], floored(moved, self.smoothing))
        return after, after
