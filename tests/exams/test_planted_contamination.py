"""The right rule gets full marks; rules that add up over the pool, or flag any overlap, do not."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Plan, Run, TablePool, World
from tilth.core.errors import DataError
from tilth.engine.apply import score_in_memory
from tilth.policies.select.keep import Keep
from tilth.probes.planted_contamination import PlantedContamination
from tilth.signals.audit.contamination import Contamination


def built(probe: PlantedContamination, size: int, seed: int = 0) -> tuple[World, TablePool]:
    world = probe.build(size, Run(seed=seed))
    assert isinstance(world.pool, TablePool)
    return world, world.pool


def shared(world: World, n: int = 8) -> list[list[set[int]]]:
    """Per record and item, the places of the item's words that lie in an n-gram of the record."""
    assert world.goal is not None
    items = [text.split() for text in world.goal.holdout.column("text").to_pylist()]
    found = []
    for text in world.pool.column("text").to_pylist():
        words = text.split()
        grams = {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}
        found.append(
            [
                {p for i in range(len(item) - n + 1) if tuple(item[i : i + n]) in grams for p in range(i, i + n)}
                for item in items
            ]
        )
    return found


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_per_record_rule_gets_full_marks(seed: int) -> None:
    probe = PlantedContamination()
    world, pool = built(probe, 300, seed)
    scored = score_in_memory(Contamination(), pool, world.goal)
    assert probe.grade(world, scored.column("contamination.hit")) == 1.0
    overlap = np.array(scored.column("contamination.overlap").to_pylist())
    truth = np.array([t["share"] for t in pool.column("truth").to_pylist()])
    assert overlap == pytest.approx(truth, abs=1e-6)


def test_a_union_over_the_pool_fails() -> None:
    probe = PlantedContamination()
    world, _ = built(probe, 300)
    found = shared(world)
    union = [set().union(*(record[i] for record in found)) for i in range(len(found[0]))]
    spoiled = {i for i, places in enumerate(union) if len(places) > 0.5 * probe.length}
    flags = [any(record[i] for i in spoiled) for record in found]
    assert probe.grade(world, flags) == pytest.approx(1 / 3)
    any_overlap = [any(record) for record in found]
    assert probe.grade(world, any_overlap) < 1 / 3


def test_chance_and_extremes() -> None:
    probe = PlantedContamination()
    for size in (24, 300, 2000):
        world, pool = built(probe, size)
        truth = [t["hit"] for t in pool.column("truth").to_pylist()]
        assert len(truth) == size
        assert probe.grade(world, truth) == 1.0
        assert probe.grade(world, [None] * size) == 0.0
        assert probe.grade(world, [not t for t in truth]) == 0.0
        share = sum(truth) / size
        assert probe.grade(world, [True] * size) == pytest.approx(2 * share / (1 + share))
        assert probe.grade(world, [True] * size) <= 0.16
        flips = np.random.default_rng(0).random(size) < 0.5
        assert probe.grade(world, flips.tolist()) < 0.25


def test_grades_what_a_plan_dropped() -> None:
    probe = PlantedContamination()
    world, pool = built(probe, 300)
    assert world.goal is not None
    scored = score_in_memory(Contamination(), pool, world.goal)
    start = Plan.everything(scored, world.goal.budget)
    assert probe.grade(world, start) == 0.0
    cleaned = Keep(where="not contamination.hit").revise(start, scored, world.goal, Run())
    assert probe.grade(world, cleaned) == 1.0


def test_same_seed_same_world_and_wrong_sizes() -> None:
    probe = PlantedContamination()
    world, pool = built(probe, 100)
    assert built(probe, 100)[1].fingerprint == pool.fingerprint != built(probe, 100, 1)[1].fingerprint
    with pytest.raises(DataError, match="100 records"):
        probe.grade(world, [True])


@pytest.mark.parametrize("length", [64, 97, 200])
def test_other_lengths(length: int) -> None:
    probe = PlantedContamination(length=length, items=10)
    world, pool = built(probe, 200)
    assert world.goal is not None
    assert world.goal.holdout.count == 10
    scored = score_in_memory(Contamination(), pool, world.goal)
    assert probe.grade(world, scored.column("contamination.hit")) == 1.0
