"""FladExp3: draw the next group by chances that follow how well each has paid."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from pydantic import Field

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run
from tilth.policies.mix._online import named, softmax

__all__ = ["FladExp3"]


@dataclass(frozen=True)
class State:
    """Groups, their rewards so far, the chances and the draws of the last decision, and how many there were."""

    names: tuple[str, ...]
    rewards: tuple[float, ...]
    chances: tuple[float, ...] = ()
    drawn: tuple[str, ...] = ()
    decisions: int = 0


class FladExp3(OnlinePolicy[State]):
    """EXP3-FLAD (arXiv 2302.00674): a bandit whose arms are groups, its reward their gradients' cosine with the target.

    At decision t of K groups: ``explore = min(1/K, sqrt(ln K / (K t)))``, the chance of a group is ``(1 - K explore)
    softmax(R times the explore before) + explore``, and `draws` groups are drawn by it; the shares are what was drawn.
    What a group then earns is divided by its chance before it is added to R, so R is unbiased though only groups that
    were drawn are looked at.

    Cost: a forward pass over a mini-batch of each target and of the groups drawn, however many groups there are. Trap:
    it learns from one look per draw, so state a small `every` (the paper decides each step): in the few decisions of a
    short trial it hardly leaves equal chances. Cosines may be negative, outside EXP3's theory, which wants 0 to 1
    (`positive`). Their code multiplies t by 10 (`pace`): that slows learning down, too, so here it is 1. Ours: the
    target only steers and is not trained on. Its sibling is `flad_ucb1`.

    >>> from tilth.core import Run
    >>> from tilth.models.influence import Known
    >>> asked = Known.of({"near": [1, 0], "far": [-1, 0]}, {"goal": [1, 0]})
    >>> state = State(("near", "far"), (0.0, 0.0))
    >>> for step in range(100):
    ...     shares, state = FladExp3().step(state, {"step": step, "influence": asked}, Run().at(step))
    >>> [round(chance, 1) for chance in state.chances]
    [0.9, 0.1]
    """

    paper: ClassVar[str] = "improving_fewshot_generalization_by_exploring_and"

    draws: int = Field(
        1, ge=1, le=10_000, description="groups drawn at a decision, which share the steps until the next"
    )
    pace: float = Field(1.0, gt=0, description="decisions count this much in the schedule of exploration; theirs is 10")
    positive: bool = Field(False, description="rewards are (1 + cosine) / 2")

    @property
    def needs(self) -> tuple[str, ...]:
        return ("id",)

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> State:
        names = (*plan.moving,)
        return State(names, (0.0,) * len(names))

    def step(self, state: State, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], State]:
        k, t, rewards = len(state.names), state.decisions + 1, np.array(state.rewards)
        if state.drawn:
            times = Counter(state.drawn)
            earned = seen["influence"].aligned([*times], cosine=True) @ seen["influence"].weights
            for (name, count), cosine in zip(times.items(), earned.tolist(), strict=True):
                i = state.names.index(name)
                reward = (1 + cosine) / 2 if self.positive else cosine
                rewards[i] += count / len(state.drawn) * reward / state.chances[i]
        chances = (1 - k * self._explore(k, t)) * softmax(self._explore(k, t - 1) * rewards) + self._explore(k, t)
        chances = np.maximum(chances, 0) / np.maximum(chances, 0).sum()
        places = run.rng("draw").choice(k, size=self.draws, p=chances)
        drawn = tuple(state.names[i] for i in places)
        after = State(state.names, tuple(rewards.tolist()), tuple(chances.tolist()), drawn, t)
        return named(state.names, np.bincount(places, minlength=k) / self.draws), after

    def _explore(self, k: int, t: int) -> float:
        return 1 / k if t < 1 else min(1 / k, math.sqrt(math.log(k) / (k * t * self.pace)))
