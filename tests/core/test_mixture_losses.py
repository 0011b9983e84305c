"""Trials of mixtures: side by side or one by one they are the same, and a search that was killed goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pytest

from tilth.core import Goal, Losses, Plan, Pool, Proof, Run, groups, mixture_losses
from tilth.engine.local import Workers
from tilth.probes.planted_mixture import PlantedMixture

SHARES = np.array([[0.6, 0.3, 0.1, 0.0], [0.25, 0.25, 0.25, 0.25], [0.0, 0.1, 0.3, 0.6]])
TRIED: list[int] = []


class Counting(Proof):
    """How far the plan's mixture is from equal shares, with noise of the trial's own place."""

    @property
    def needs(self) -> Sequence[str]:
        return ("source",)

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        TRIED.append(1)
        shares = np.array([*plan.mixture().values()])
        return np.abs(shares - 0.25) + 1e-6 * run.rng("init").random()

    def smaller(self) -> Self:
        return self


def losses(run: Run, shares: np.ndarray = SHARES) -> np.ndarray:
    world = PlantedMixture(words=50).build(400, Run())
    assert world.goal is not None
    plan = Plan.everything(world.pool, world.goal.budget)
    return mixture_losses(Counting(), shares, groups(world.pool), plan, world.pool, world.goal, run)


def test_processes_give_what_one_process_gives() -> None:
    with Workers(2, Run().progress) as workers:
        assert np.array_equal(losses(Run(mapper=workers.map)), losses(Run()))


def test_a_killed_search_does_again_only_what_was_not_finished(tmp_path: Path) -> None:
    def cut(func: Callable[[Any], Any], items: Sequence[Any], label: str) -> list[Any]:
        for item in items[:2]:
            func(item)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        losses(Run(scratch=tmp_path, mapper=cut))
    TRIED.clear()
    assert np.array_equal(losses(Run(scratch=tmp_path)), losses(Run()))
    assert len(TRIED) == 1 + 3  # one was left; without scratch all are tried


@pytest.mark.parametrize("other", [{"seed": 1}, {"place": ("elsewhere",)}])
def test_another_run_finds_nothing_of_this_one(other: dict[str, Any], tmp_path: Path) -> None:
    losses(Run(scratch=tmp_path))
    TRIED.clear()
    losses(Run(scratch=tmp_path, **other))
    losses(Run(scratch=tmp_path), SHARES[::-1])
    assert len(TRIED) == 3 + 2  # the one in the middle is where it was
