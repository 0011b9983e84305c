"""ExactNgramMix must find the planted mixture and the least loss there is, inside the limits."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Goal, Limits, Plan, Room, Run, World
from tilth.policies.mix._draw import draw
from tilth.policies.mix.exact_ngram_mix import ExactNgramMix, descend
from tilth.policies.mix.regmix import RegMix
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram

PROBE = PlantedMixture()
POLICY = ExactNgramMix(cap=8)


def world(seed: int, limits: Limits | None = None) -> tuple[Plan, Goal, World, Run]:
    run = Run(seed=seed)
    made = PROBE.build(3000, run)
    assert made.goal is not None
    return Plan.everything(made.pool, made.goal.budget, limits), made.goal.blind(), made, run


@pytest.mark.parametrize("seed", range(3))
def test_finds_the_planted_mixture_nearer_than_regmix(seed: int) -> None:
    start, goal, made, run = world(seed)
    ours, regmix, even = (
        2 * (1 - PROBE.grade(made, policy.revise(start, made.pool, goal, run)))
        for policy in (POLICY, RegMix(trials=24, cap=8), Stratified(cap=8))
    )
    assert ours < 0.2  # natural shares are 1.2 away
    assert ours < min(regmix, even)


def test_nothing_drawn_at_random_is_better() -> None:
    start, goal, made, run = world(0)
    plan = POLICY.revise(start, made.pool, goal, run)
    told = plan.decisions[-1].details
    tried = draw(start.room(8), 2000, run.rng("tried"))
    chosen = np.array([[told["shares"][name] for name in start.sources.names]])
    losses = (
        Ngram()
        .mixtures(
            np.vstack([chosen, tried]),
            start.sources,
            start,
            made.pool,
            goal,
            run.at("count"),
        )
        .mean(1)
    )
    assert losses[0] == pytest.approx(told["loss"], rel=1e-9), "the loss it tells is the proof's"
    assert losses[0] < losses[1:].min()
    assert told["loss"] < told["loss_natural"]


def test_keeps_to_limits_and_uses_them() -> None:
    start, goal, made, run = world(0, Limits(kl=0.2))
    held = POLICY.revise(start, made.pool, goal, run)
    assert "nearest mixture" not in held.decisions[-1].note, "it searched inside, and was not moved"
    free = POLICY.revise(world(0)[0], made.pool, goal, run).decisions[-1].details
    assert free["loss"] < held.decisions[-1].details["loss"] < free["loss_natural"]


def test_worst_is_the_opposite() -> None:
    start, goal, made, run = world(0)
    plan = POLICY.worst().revise(start, made.pool, goal, run)
    told = plan.decisions[-1].details
    assert told["loss"] > told["loss_natural"]
    assert PROBE.grade(made, plan) < 0.5


def test_descent_reaches_the_minimum_of_a_known_function() -> None:
    wanted = np.array([0.5, 0.3, 0.2, 0.0])
    room = Room("abcd", np.full(4, 0.25), np.zeros(4), np.ones(4))
    shares, value = descend(lambda p: (float(((p - wanted) ** 2).sum()), 2 * (p - wanted)), np.full(4, 0.25), room, 500)
    assert shares == pytest.approx(wanted, abs=2e-3)
    assert value < 1e-5
