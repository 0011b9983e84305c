"""Graphs learned from trained models, where it is planted who helps whom."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from tests.models.test_train import OPTIONS, cycle_windows, model

from tilth.core import Run
from tilth.models.batches import Windows
from tilth.models.skill_graph import helped, preceded

GROUPS = {"ones": cycle_windows(1, seed=1), "twos": cycle_windows(2, seed=2), "noise": cycle_windows(0, seed=3)}
TARGETS = {name: cycle_windows(step, seed=9, records=40) for name, step in {"ones": 1, "twos": 2, "noise": 0}.items()}


def few(windows: Windows, n: int) -> Windows:
    return windows.take(np.arange(n))


def test_a_skill_helps_itself_and_noise_helps_nobody() -> None:
    found = helped(GROUPS, TARGETS, model, OPTIONS, 40, Run())
    assert found.shape == (3, 3)
    assert (found >= 0).all()
    assert found[0, 0] > 0.3 > found[1, 0] + 0.2
    assert found[1, 1] > 0.3 > found[0, 1] + 0.2
    assert found[2, :2].max() < 0.05
    assert (found == helped(GROUPS, TARGETS, model, OPTIONS, 40, Run())).all()


def test_an_edge_says_that_half_the_records_are_better_spent_elsewhere() -> None:
    """What `rare` knows from two windows read again and again, `plain` teaches better; noise teaches nothing."""
    plain, noise = cycle_windows(1, seed=1), cycle_windows(0, seed=3)
    groups = {"plain": plain, "rare": few(cycle_windows(1, seed=4), 2), "noise": noise}
    targets = {"plain": TARGETS["ones"], "rare": TARGETS["ones"], "noise": TARGETS["noise"]}
    graph = preceded(groups, targets, model, replace(OPTIONS, batch=4), 40, Run())
    assert graph[0, 1] == 0.5
    assert graph[2, 0] == 0
    assert (np.diag(graph) == 1).all()
