"""Rb: shares from how the groups' gradients agree with those the goal is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run
from tilth.policies.mix._online import floored, named, softmax

__all__ = ["Rb"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class State:
    """The groups, the goal's share of each (all 0 where it is of none of them), and the agreement remembered."""

    names: tuple[str, ...]
    goal: tuple[float, ...]
    shares: Mapping[str, float]
    found: Floats | None = None


class Rb(OnlinePolicy[State]):
    """R&B (arXiv 2505.00358): ``shares = softmax(sharpness * G p / |G p|)``, G the groups' gradients' products.

    `p` is the goal's share of each group: how many of its items, by weight, lie in it. So a group is read for what it
    does for the groups that the goal is made of, and what was read before leaves no trace: the shares are overwritten.
    Balancing is the B; the R, groups made anew by meaning, is ``steered``'s `clusters`, which says where the goal's
    items lie, too. Where the goal's items are of none of the groups, cosines with their own gradient stand in for
    ``G p / |G p|`` (ours; scaled to length one they would be noise made large as soon as the groups are alike).

    Cost: a forward pass over a mini-batch of each group at each decision, products of all pairs, and all gradients in
    memory at once. The paper sums them up while training, which costs less yet and needs a pass of its own for groups
    that were not read. Trap: with one group per topic every gradient is long and unlike the others, and G is nearly
    diagonal: the shares then follow `p` and the lengths. Ours: the default sharpness, as the paper's is unsure, and
    `memory`, which smooths what was
    found.

    >>> from tilth.models.influence import Known
    >>> from tilth.core import Run
    >>> asked = Known.of({"a": [1, 0], "b": [0.9, 0.5], "c": [-0.2, 1]}, {"a": [1, 0]})
    >>> state = State(("a", "b", "c"), (1.0, 0.0, 0.0), {})
    >>> shares, _ = Rb(memory=0).step(state, {"step": 10, "influence": asked}, Run())
    >>> {name: round(share, 2) for name, share in shares.items()}
    {'a': 0.52, 'b': 0.42, 'c': 0.05}
    """

    paper: ClassVar[str] = "rb"

    sharpness: float = Field(3.0, gt=0, description="how much agreement moves the shares; the paper's lambda")
    memory: float = Field(0.5, ge=0, lt=1, description="part of what was found that is kept for the next decision")
    floor: float = Field(0.05, ge=0, lt=1, description="part of the mixture that is shared out equally")

    @property
    def needs(self) -> Sequence[str]:
        return ("id",)

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> State:
        shares = plan.moving
        aims = plan.steering.aims if plan.steering is not None else ()
        weights = goal.weights(goal.target).to_numpy() if aims else np.zeros(0)
        found = np.array([sum(weights[np.array(aims) == name]) if aims else 0.0 for name in shares])
        return State((*shares,), tuple((found / max(found.sum(), 1e-300)).tolist()), shares)

    def step(self, state: State, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], State]:
        if seen["step"] == 0:
            return state.shares, state
        influence, told = seen["influence"], any(state.goal)
        if told:
            rows = [influence.domains.index(name) for name in state.names]
            found = influence.gram()[np.ix_(rows, rows)]
        else:
            found = influence.aligned(state.names, cosine=True) @ influence.weights
        if state.found is not None:
            found = self.memory * state.found + (1 - self.memory) * found
        pull = found
        if told:
            pull = found @ np.array(state.goal)
            pull = pull / max(float(np.linalg.norm(pull)), 1e-300)
        shares = softmax(self.sharpness * pull)
        return named(state.names, floored(shares, self.floor)), replace(state, found=found)
