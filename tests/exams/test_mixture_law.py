"""MixtureLaw must find the planted mixture, inside the limits, and know how sure it is."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Goal, Limits, Plan, Run, World
from tilth.policies.mix.mixture_law import MixtureLaw
from tilth.policies.mix.random import Random
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram

PROBE = PlantedMixture()
POLICY = MixtureLaw(trials=48, cap=8, resamples=20)


def world(seed: int, limits: Limits | None = None) -> tuple[Plan, Goal, World, Run]:
    run = Run(seed=seed)
    made = PROBE.build(3000, run)
    assert made.goal is not None
    return Plan.everything(made.pool, made.goal.budget, limits), made.goal.blind(), made, run


@pytest.mark.parametrize("seed", range(3))
def test_finds_the_planted_mixture_and_a_lower_loss(seed: int) -> None:
    start, goal, made, run = world(seed)
    assert made.goal is not None
    plans = [p.revise(start, made.pool, goal, run) for p in (POLICY, Random(), Stratified(cap=8))]
    ours, *theirs = (2 * (1 - PROBE.grade(made, plan)) for plan in plans)
    assert ours < 0.35  # natural shares are 1.2 away, equal ones 0.8
    assert ours < min(theirs)
    proof = Ngram(tokens=30_000)
    losses = [proof.trial(plan, made.pool, made.goal, run).mean() for plan in plans]
    assert losses[0] < min(losses[1:])
    told = plans[0].decisions[-1].details
    assert told["rank_agreement"] > 0.8
    assert told["warnings"] == []
    assert told["interval"][0] < told["interval"][1]


def test_told_loss_is_near_the_proofs_own() -> None:
    """What the law predicts for its choice, against a trial of it: within three of its errors."""
    start, goal, made, run = world(0)
    told = POLICY.revise(start, made.pool, goal, run).decisions[-1].details
    shares = np.array([[told["shares"][name] for name in start.sources.names]])
    found = Ngram().mixtures(shares, start.sources, start, made.pool, goal, run.at("trials")).mean()
    assert abs(found - told["predicted"]) < 3 * told["error"]
    assert found < told["best_trial"]["loss"] + told["error"]


def test_keeps_to_limits_and_searches_inside() -> None:
    start, goal, made, run = world(0, Limits(ceiling={"a": 0.3}))
    plan = POLICY.revise(start, made.pool, goal, run)
    assert plan.mixture()["a"] <= 0.31
    assert "nearest mixture" not in plan.decisions[-1].note


def test_worst_is_the_opposite() -> None:
    start, goal, made, run = world(0)
    assert PROBE.grade(made, POLICY.worst().revise(start, made.pool, goal, run)) < 0.5
