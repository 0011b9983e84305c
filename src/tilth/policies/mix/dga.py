"""Dga: read more of the groups whose gradients point where the target's does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run
from tilth.policies.mix._online import floored, named, softmax

__all__ = ["Dga"]

State = dict[str, float]
"""The shares it would give."""


class Dga(OnlinePolicy[State]):
    """Dynamic gradient alignment (arXiv 2410.02498): shares by exponentiated steps along a_i = <g_i, g_target>.

    At each decision ``u_i`` is in proportion to ``share_i exp(eta a_i)`` and the shares move to ``(1 - beta) share +
    beta u``, of which a part, `floor`, is shared out equally. The inner product is to first order what a step on the
    group takes off the target's loss. Gradients are the last layer's, on one mini-batch of each group and target;
    several targets count by weight.

    Cost: a forward pass over a mini-batch of every group and target at each decision. Trap: inner products grow with
    gradients, so a rate that suits one model does not suit another: by default they are divided by the length of the
    target's gradient and the groups' mean length (`scale`). Small `beta` keeps noise from driving the shares to one
    group. A domain of few tokens may stay aligned after a model knows it by heart, so leave ``steered`` its `cap`. A
    target that is used up by looking at it often is still no holdout: prove on another. Ours: the scale, and rates that
    suit it; the paper's are unsure. Its many-domain mode, mixtures of fixed distributions, is not built.

    >>> from tilth.models.influence import Known
    >>> from tilth.core import Run
    >>> asked = Known.of({"near": [3, 1], "far": [-1, 2]}, {"goal": [1, 0]})
    >>> state = {"near": 0.5, "far": 0.5}
    >>> for step in (1, 2, 3):
    ...     shares, state = Dga().step(state, {"step": step, "influence": asked}, Run())
    >>> {name: round(share, 2) for name, share in shares.items()}
    {'near': 0.8, 'far': 0.2}
    """

    paper: ClassVar[str] = "dynamic_gradient_alignment_for_online_data"

    eta: float = Field(5.0, gt=0, description="how far one decision goes along the alignment")
    beta: float = Field(0.3, gt=0, le=1, description="part of the shares that each decision replaces")
    floor: float = Field(0.05, ge=0, lt=1, description="part of the mixture that is shared out equally")
    scale: Literal["length", "cosine", "none"] = Field(
        "length", description="of a_i: divided by mean gradient lengths, by its own ones, or as it comes"
    )

    @property
    def needs(self) -> Sequence[str]:
        return ("id",)

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> State:
        return plan.moving

    def step(self, state: State, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], State]:
        if seen["step"] == 0:  # an untrained model's gradients say how often words are, and no more
            return state, state
        names, shares = [*state], np.array([*state.values()])
        with np.errstate(divide="ignore"):
            moved = softmax(np.log(shares) + self.eta * self._alignment(names, seen["influence"]))
        after = named(names, floored((1 - self.beta) * shares + self.beta * moved, self.floor))
        return after, after

    def _alignment(self, names: Sequence[str], influence: Any) -> npt.NDArray[np.float64]:
        """(groups,) a_i against the weighted targets."""
        cosines = influence.aligned(names, cosine=self.scale == "cosine")
        found = np.asarray(cosines @ influence.weights)
        if self.scale != "length":
            return found
        inner, of_one = cosines, influence.aligned(names, cosine=True)
        known = np.abs(of_one) > 1e-12
        lengths = (inner[known] / of_one[known]).mean() if known.any() else 1.0  # of a group times of a target
        return np.asarray(found / max(lengths, 1e-30))
