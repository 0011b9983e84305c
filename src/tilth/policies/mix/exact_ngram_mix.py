"""ExactNgramMix: the mixture that an n-gram model of the target likes best, found by its gradient."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Room, Run, groups
from tilth.models.ngram import Objective
from tilth.policies.mix._draw import draw
from tilth.proofs.ngram import Ngram

__all__ = ["ExactNgramMix", "descend"]

Floats = npt.NDArray[np.float64]
ENOUGH = 1e-7  # relative gain of a step at which the descent ends


class ExactNgramMix(Policy):
    """Shares of the sources that minimise the target's loss under an n-gram model, exactly and under all limits.

    The model's probabilities are ratios of functions linear in the shares (`proofs/ngram`), so the loss of every
    mixture follows from one count per source and is smooth: no trials and no regression. The descent is mirror descent,
    multiplicative steps, each moved to the nearest mixture that limits and `cap` allow, from natural shares, equal ones
    and the best of some random ones; the loss is not convex, and `spread` says how far apart the ends were.

    Cost: counting each source once, then about a second for 20 sources. Trap: it is as good as the n-gram proof is:
    it sees words and what follows them, so confirm with a trained model; a small target is matched to the letter,
    which `limits: {kl: ...}` in the goal holds back. Source: ours.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> probe = PlantedMixture()
    >>> world = probe.build(1200, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> plan = ExactNgramMix().revise(start, world.pool, world.goal.blind(), Run())
    >>> probe.grade(world, plan) > probe.grade(world, start)  # nearer to the planted mixture than natural shares
    True
    """

    proof: Ngram = Field(default_factory=Ngram, description="the n-gram model; its trials are not run")
    by: str = Field("source", description="the column whose values are mixed")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")
    starts: int = Field(4, ge=1, le=1000, description="descents: natural shares, equal ones, then the best random ones")
    steps: int = Field(300, ge=1, description="most steps of a descent")
    seek: Literal["best", "worst"] = Field("best", description="worst climbs instead, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", self.by, *self.proof.needs)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        room = plan.room(self.cap, by)
        items, counts, scale, most = self.proof.counted(by, plan, pool, goal, run.at("count"))
        weights = goal.weights(goal.holdout).to_numpy()
        model = Objective.of(items, counts, weights, self.proof.concentration, self.proof.offset)
        sign = 1.0 if self.seek == "best" else -1.0

        def objective(shares: Floats) -> tuple[float, Floats]:
            loss, gradient = model(np.minimum(shares, most) * scale)
            return sign * loss, sign * gradient * scale * (shares <= most)

        equal = (room.high > 0) / (room.high > 0).sum()
        random = draw(room, max(64, self.starts), run.rng("starts"))
        random = random[np.argsort([objective(row)[0] for row in random], kind="stable")]
        first = [room.nearest(room.natural), room.nearest(equal), *random][: self.starts]
        ends = [descend(objective, start, room, self.steps) for start in run.track(first, "exact_ngram_mix: descents")]
        values = np.array([value for _, value in ends])
        chosen = ends[int(values.argmin())][0]
        shared = dict(zip(by.names, chosen.tolist(), strict=True))
        least, natural = sign * float(values.min()), sign * objective(first[0])[0]
        details = {
            "loss": least,
            "loss_natural": natural,
            "spread": float(np.ptp(values)),
            "shares": shared,
        }
        note = (
            f"shares of {self.by} with the {'least' if sign > 0 else 'greatest'} loss of the target under an n-gram "
            f"model, {least:.4f} bits per byte ({natural:.4f} with natural shares)"
        )
        keys = run.uniform(plan.ids, "key")
        return plan.mixed(self.describe(), note, shared, by, keys, self.cap, details=details)


def descend(
    objective: Callable[[Floats], tuple[float, Floats]], start: Floats, room: Room, steps: int
) -> tuple[Floats, float]:
    """Mirror descent on shares: multiply by the exponential of the negative slope, move into the room, take what gains.

    The step doubles after a gain and halves otherwise.

    Returns:
        The shares and their value.
    """
    shares = np.maximum(start, 1e-6 * (room.high > 0))  # a share of exactly 0 could not grow
    shares = room.nearest(shares / shares.sum())
    value, gradient = objective(shares)
    rate = 1.0
    for _ in range(steps):
        slope = gradient - gradient @ shares
        found = None
        while rate > 1e-9:
            tried = room.nearest(np.maximum(shares * np.exp(np.clip(-rate * slope, -30, 30)), 1e-9 * (room.high > 0)))
            here, there = objective(tried)
            if here < value:
                found = tried, here, there
                break
            rate /= 2
        if found is None:
            break
        gained = value - found[1]
        shares, value, gradient = found
        rate *= 2
        if gained < ENOUGH * abs(value):
            break
    shares = np.where(shares < 1e-5, 0.0, shares)
    shares = room.nearest(shares / shares.sum())
    return shares, objective(shares)[0]
