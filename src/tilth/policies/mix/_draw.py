"""Mixtures drawn at random, among those that a plan allows, and what they are worth: what searches try."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.core import Goal, Groups, Plan, Pool, Proof, Room, Run, mixture_losses

__all__ = ["draw", "goal_losses"]

Floats = npt.NDArray[np.float64]
LEAST = 2e-4  # smaller shares are 0


def draw(room: Room, n: int, rng: np.random.Generator, temperature: float = 2.0) -> Floats:
    """`n` mixtures (n, groups) around natural shares flattened by `temperature`, all within the room.

    A strength from a grid of 15 between 0.1 and 5, then a Dirichlet: RegMix's (arXiv 2407.01492). Those that read a
    group too often are drawn again; floors, ceilings and a bound on KL leave so little that what is drawn is moved to
    the nearest mixture allowed instead.
    """
    natural = room.natural
    flat = np.where((natural > 0) & (room.high > 0), natural, 0.0) ** (1 / temperature)
    flat /= flat.sum()
    alive = flat > 0
    move = bool(room.low.any() or np.isfinite(room.kl))
    grid = np.geomspace(0.1, 5.0, 15)
    rows: list[Floats] = []
    got = 0
    for _ in range(200):
        strength = rng.choice(grid, size=max(4096, 2 * n))
        drawn = np.zeros((strength.size, natural.size))
        gamma = rng.standard_gamma(np.maximum(strength[:, None] * flat[alive][None], 1e-3) * alive.sum())
        drawn[:, alive] = gamma / np.maximum(gamma.sum(1, keepdims=True), 1e-300)
        drawn[drawn < LEAST] = 0.0
        total = drawn.sum(1)
        drawn = drawn[total > 0] / total[total > 0, None]
        drawn = room.nearest(drawn[: n - got]) if move else drawn[(drawn <= room.high + 1e-12).all(1)]
        rows.append(drawn)
        got += len(drawn)
        if got >= n:
            return np.concatenate(rows)[:n]
    # The cap leaves almost no room: what is drawn is moved into it.
    rest = rng.dirichlet(np.maximum(flat, 1e-6) * flat.size, size=n - got)
    return np.concatenate([*rows, room.nearest(rest)])


def goal_losses(
    proof: Proof, mixtures: Floats, by: Groups, plan: Plan, pool: Pool, goal: Goal, run: Run, label: str
) -> Floats:
    """(mixtures,) the goal's weighted mean loss of each, by any proof; see `mixture_losses`."""
    weights = goal.weights(goal.holdout).to_numpy()
    table = mixture_losses(proof, mixtures, by, plan, pool, goal, run, label)
    return np.asarray(table @ (weights / weights.sum()))
