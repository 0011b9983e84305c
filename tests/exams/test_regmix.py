"""RegMix must find the planted mixture, beat what does not look at the target, and survive hard pools."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Plan, Run
from tilth.models import surface
from tilth.policies.mix.regmix import RegMix
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram

PROBE = PlantedMixture()


def planned(seed: int, policy: RegMix) -> tuple[float, float, float, Plan]:
    run = Run(seed=seed)
    world = PROBE.build(3000, run)
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    plan = policy.revise(start, world.pool, world.goal.blind(), run)
    even = Stratified().revise(start, world.pool, world.goal.blind(), run)
    proof = Ngram(tokens=30_000)
    ours, theirs = (proof.trial(p, world.pool, world.goal, run).mean() for p in (plan, even))
    return 2 * (1 - PROBE.grade(world, plan)), ours, theirs, plan


@pytest.mark.parametrize(("trials", "near"), [(24, 0.5), (64, 0.25)])
def test_finds_the_planted_mixture_and_beats_equal_shares(trials: int, near: float) -> None:
    found = [planned(seed, RegMix(trials=trials, cap=8)) for seed in range(3)]
    assert np.mean([distance for distance, *_ in found]) < near  # equal shares are 0.8 away, natural ones 1.2
    assert all(ours < theirs for _, ours, theirs, _ in found)


def test_worst_is_far_from_the_planted_mixture() -> None:
    distance, ours, theirs, _ = planned(0, RegMix(trials=24, cap=8).worst())
    assert distance > 0.9
    assert ours > theirs


def test_says_how_well_its_surface_ranks() -> None:
    _, _, _, plan = planned(0, RegMix(trials=32, cap=8))
    told = plan.decisions[-1].details
    assert told["rank_agreement"] > 0.7
    assert told["warnings"] == []
    assert told["trials"]["min"] <= told["trials"]["median"] <= told["trials"]["max"]
    assert told["predicted"] < told["predicted_natural"]


def test_warns_when_the_target_tells_nothing() -> None:
    """Sources alike in everything: the trials differ by noise only, and the policy says so."""
    probe = PlantedMixture(sharpness=10.0, words=20)
    world = probe.build(400, Run())
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    import pyarrow as pa

    shuffled = Run().rng("shuffle").permutation(world.pool.count)
    table = world.pool.table(["id", "text", "tokens"])
    sources = world.pool.column("source").take(pa.array(shuffled))
    from tilth.core import TablePool

    pool = TablePool(table.append_column("source", sources))
    start = Plan.everything(pool, world.goal.budget)
    plan = RegMix(trials=16).revise(start, pool, world.goal.blind(), Run())
    assert abs(sum(plan.mixture().values()) - 1) < 1e-9
    assert plan.decisions[-1].details["rank_agreement"] < 1.0


def test_never_above_the_cap() -> None:
    for cap in (1.0, 1.5):
        world = PROBE.build(1000, Run())
        assert world.goal is not None
        start = Plan.everything(world.pool, world.goal.budget)
        plan = RegMix(trials=16, cap=cap).revise(start, world.pool, world.goal.blind(), Run())
        read = plan.sources.sums(plan.sizes * plan.repeats) / plan.sources.sums(plan.sizes)
        assert (read <= cap + 0.05).all()


@pytest.mark.parametrize("kind", ["ridge", "trees", "blend", "auto"])
def test_surfaces_rank_a_known_response(kind: surface.Kind) -> None:
    from scipy.stats import spearmanr

    rng = np.random.default_rng(0)
    x, new = rng.dirichlet(np.ones(5), 80), rng.dirichlet(np.ones(5), 400)

    def response(m: np.ndarray) -> np.ndarray:
        value: np.ndarray = 2.0 - 0.6 * np.log(m[:, 0] + 0.05) - 0.3 * np.log(m[:, 1] + 0.05) + 0.5 * m[:, 4]
        return value

    predict = surface.fit(x, response(x) + rng.normal(0, 0.02, 80), kind)
    assert spearmanr(predict(new), response(new)).statistic > 0.93
    held = surface.cross_validated(x, response(x), kind)
    assert spearmanr(held, response(x)).statistic > 0.85
