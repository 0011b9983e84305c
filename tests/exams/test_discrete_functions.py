from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import BadField, DataError
from tilth.models import boolean
from tilth.probes.discrete_functions import TAUGHT, DiscreteFunctions, Family, points_of

FAMILIES: tuple[Family, ...] = get_args(Family)
Learner = Callable[[Any, Any], Any]


def value(formula: str, bits: list[int]) -> int:
    """A formula's value, by Python's own arithmetic."""
    text = re.sub(r"!x(\d+)", r"(1-x\1)", formula)
    return int(eval(re.sub(r"x(\d+)", lambda m: str(bits[int(m[1]) - 1]), text)))


def prompts(pool: Pool) -> list[tuple[str, str, dict[str, Any]]]:
    return [(r["text"], r["truth"]["labels"], r["truth"]) for r in pool.table(["text", "truth"]).to_pylist()]


def mark(probe: DiscreteFunctions, world: World, learner: Learner) -> float:
    points = [points_of(text) for text, _, _ in prompts(world.more["test"])]
    return probe.grade(world, ["".join(map(str, learner(x, y))) for x, y in points])


@pytest.mark.parametrize("family", FAMILIES)
def test_labels_follow_from_the_formula(family: Family) -> None:
    world = DiscreteFunctions(family=family, bits=9, points=30, teaching=0.5 * (family in TAUGHT)).build(60, Run())
    ones = []
    for text, labels, truth in [*prompts(world.pool), *prompts(world.more["test"])]:
        lines = [([*map(int, bits)], label) for bits, label in (line.split() for line in text.splitlines())]
        assert [label for _, label in lines] == list(labels)
        assert len(lines) == 30
        assert {len(bits) for bits, _ in lines} == {9}
        ones += [int(label) for label in labels[truth["taught"] :]]
        for bits, label in lines:
            if family == "nearest":
                first = lines[: int(truth["function"].split()[-1])]
                far = [sum(a != b for a, b in zip(bits, other, strict=True)) for other, _ in first]
                assert label == first[far.index(min(far))][1]
            else:
                assert value(truth["function"], bits) == int(label)
    assert 0.25 < np.mean(ones) < 0.75


@pytest.mark.parametrize("family", [f for f in FAMILIES if f != "nearest"])
def test_no_function_is_on_both_sides(family: Family) -> None:
    world = DiscreteFunctions(family=family, bits=8, points=8).build(300, Run(seed=2))
    inputs = [*itertools.product((0, 1), repeat=8)]
    tables = []
    for pool in (world.pool, world.more["test"]):
        formulas = sorted({truth["function"] for _, _, truth in prompts(pool)})[:40]
        tables.append({tuple(value(f, [*bits]) for bits in inputs) for f in formulas})
    assert all(tables)
    assert not tables[0] & tables[1]
    names = [{truth["function"] for _, _, truth in prompts(pool)} for pool in (world.pool, world.more["test"])]
    assert not names[0] & names[1]


def consistent(x: Any, y: Any, conjunction: bool) -> int:
    """How many conjunctions, or disjunctions, agree with all points: every one is tried."""
    count = 0
    for literals in itertools.product((0, 1, None), repeat=x.shape[1]):
        wanted = [(i, v) for i, v in enumerate(literals) if v is not None]
        join = all if conjunction else any
        count += all(join(row[i] == v for i, v in wanted) == bool(label) for row, label in zip(x, y, strict=True))
    return count


@pytest.mark.parametrize("family", TAUGHT)
def test_one_function_is_left_after_a_teaching_sequence(family: Family) -> None:
    probe = DiscreteFunctions(family=family, bits=6, points=8, teaching=1.0)
    taught, free = (p.build(30, Run()) for p in (probe, probe.model_copy(update={"teaching": 0.0})))
    left = []
    for world in (taught, free):
        counts = []
        for text, _, truth in prompts(world.pool):
            literals = truth["function"].count("x")
            assert truth["taught"] == (literals + 2 if world is taught else 0)
            assert literals + 2 <= 6 + 2
            x, y = points_of(text)
            counts.append(consistent(x[: literals + 2], y[: literals + 2], family == "conjunction"))
        left.append(counts)
    assert set(left[0]) == {1}
    assert np.mean(np.array(left[1]) > 1) > 0.9


def test_elimination_is_right_after_teaching_and_not_after_as_many_random_points() -> None:
    errors = []
    for teaching in (1.0, 0.0):
        world = DiscreteFunctions(bits=12, points=40, teaching=teaching).build(1000, Run(seed=1))
        wrong = []
        for text, _, truth in prompts(world.more["test"]):
            x, y = points_of(text)
            found = boolean.elimination(x, y)
            assert not (found > y).any()  # it says 1 only where it must
            start = truth["function"].count("x") + 2
            wrong.append(found[start : start + 5] != y[start : start + 5])
        errors.append(np.mean(wrong))
    assert errors[0] == 0.0
    assert errors[1] >= 0.1


def test_half_of_the_prompts_are_taught() -> None:
    world = DiscreteFunctions(teaching=0.5).build(200, Run())
    assert [sum(t["taught"] > 0 for _, _, t in prompts(p)) for p in (world.pool, world.more["test"])] == [100, 10]


BEST: dict[Family, tuple[Learner, float, float]] = {
    # learner, its mark at least, and how far the majority label must stay below it
    "conjunction": (boolean.elimination, 0.98, 0.3),
    "disjunction": (lambda x, y: 1 - boolean.elimination(x, 1 - y), 0.98, 0.3),
    "dnf": (boolean.nearest, 0.66, 0.0),
    "majority": (boolean.perceptron, 0.8, 0.25),
    "halfspace": (boolean.perceptron, 0.78, 0.25),
    "parity": (boolean.gf2, 1.0, 0.4),
    "sparse_parity": (boolean.gf2, 1.0, 0.4),
    "nearest": (lambda x, y: boolean.nearest(x, y, 20), 1.0, 0.35),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_learner_of_each_class_beats_the_majority_label(family: Family) -> None:
    probe = DiscreteFunctions(family=family)
    world = probe.build(600, Run(seed=3))
    learner, least, ahead = BEST[family]
    best, chance = mark(probe, world, learner), mark(probe, world, boolean.majority)
    assert best >= least
    assert chance <= best - ahead


def test_parity_is_hard_for_the_learners_of_other_classes() -> None:
    probe = DiscreteFunctions(family="parity")
    world = probe.build(800, Run(seed=4))
    for learner in (boolean.perceptron, boolean.elimination, boolean.winnow, boolean.majority):
        assert abs(mark(probe, world, learner) - 0.5) < 0.05
    points = [points_of(text) for text, _, _ in prompts(world.more["test"])]
    curve = probe.curve(world, ["".join(map(str, boolean.gf2(x, y))) for x, y in points])
    assert abs(curve[:6].mean() - 0.5) < 0.1  # a guess until about as many points as bits
    assert curve[20:].mean() > 0.999  # twenty random points of 12 bits almost always span all others


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(BadField, match="teaching sequences are for conjunction and disjunction, not parity"):
        DiscreteFunctions(family="parity", teaching=0.5)
    with pytest.raises(BadField, match="a prompt needs 6 points"):
        DiscreteFunctions(points=5, teaching=0.5)
    world = DiscreteFunctions().build(20, Run())
    with pytest.raises(DataError, match=r"grades 10 strings of 40 labels\. Got 1, the first with 2"):
        DiscreteFunctions().grade(world, ["01"])
    assert world.pool.count == 20
    assert DiscreteFunctions().build(300, Run()).more["test"].count == 30
