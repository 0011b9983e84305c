from __future__ import annotations

import pytest

from tilth.core import Plan, Run
from tilth.probes.planted_mixture import BEST, POOL, PlantedMixture


def test_truth_is_graded_as_truth() -> None:
    probe = PlantedMixture()
    world = probe.build(2000, Run())
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    assert start.mixture() == pytest.approx(dict(POOL))
    assert probe.grade(world, probe.planned(start, BEST)) == pytest.approx(1.0, abs=0.02)
    assert probe.grade(world, start) == pytest.approx(0.4)
    assert probe.grade(world, probe.planned(start, dict.fromkeys("abcd", 0.25))) == pytest.approx(0.6, abs=0.02)
    assert probe.grade(world, probe.planned(start, {"d": 1.0})) < 0.3


def test_target_and_holdout_are_drawn_from_the_planted_mixture() -> None:
    world = PlantedMixture(items=100).build(400, Run())
    assert world.goal is not None
    for side in (world.goal.target, world.goal.holdout):
        assert side.shares("source") == pytest.approx({k: v for k, v in BEST.items() if v})
    texts = [*world.goal.target.column("text").to_pylist(), *world.goal.holdout.column("text").to_pylist()]
    assert len(set(texts)) == len(texts)
