"""A proof whose curves are known: power laws that are the faster the more of source ``a`` a plan has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np

from tilth.core import Curve, CurveProof, Goal, Plan, Pool, Run


class Steps(CurveProof):
    """Loss 1 + 8 (speed * tokens)^-0.3 with speed exp(2 * share of ``a``), and a little noise per seed and item."""

    tokens: int = 10_000
    noise: float = 0.003

    @property
    def needs(self) -> Sequence[str]:
        return ("id",)

    def smaller(self) -> Self:
        return self.model_copy(update={"tokens": self.tokens // 2})

    def curve(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Curve:
        tokens = np.unique(np.geomspace(self.tokens // 50, self.tokens, 20).astype(np.int64))
        speed = np.exp(2 * plan.mixture()["a"])
        rng = run.rng("init")
        noise = rng.normal(0, self.noise) + rng.normal(0, self.noise, goal.holdout.count)
        losses = 1 + 8 * (speed * tokens[:, None]) ** -0.3 + noise[None]
        return Curve(tokens, losses, losses.mean(1))
