from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from tilth.core import Run
from tilth.core.errors import DataError
from tilth.probes.pretrain_theory import (
    PretrainTheory,
    excess,
    mixture,
    numbers,
    slope,
    subspace,
    supervised,
    two_stage,
)


@pytest.mark.parametrize("informative", [True, False])
def test_the_best_guess_of_factors_is_the_conditional_mean(informative: bool) -> None:
    law = PretrainTheory(dims=8, latent=3, informative=informative).law(Run())
    x, y, best = law.sample(200_000, Run().rng("x"))
    fitted = np.linalg.solve(x.T @ x, x.T @ y)  # factors and noise are Gaussian: the best guess is linear
    np.testing.assert_allclose(x @ fitted, best, atol=0.06)
    covariance = law.centres @ law.centres.T + np.eye(8)
    np.testing.assert_allclose(np.cov(x.T), covariance, atol=0.08)
    direction = law.centres @ law.weights if informative else law.beside
    assert direction is not None
    exact = x @ np.linalg.solve(covariance, covariance @ direction if not informative else direction)
    np.testing.assert_allclose(best, exact, atol=1e-8)
    assert y.var() == pytest.approx(1 + 0.25, rel=0.05)


def test_the_best_guess_of_clusters_is_the_conditional_mean() -> None:
    law = PretrainTheory(kind="mixture", dims=6, latent=3, apart=2.0).law(Run())
    x, y, best = law.sample(20_000, Run().rng("x"))
    density = np.stack([multivariate_normal(centre).pdf(x) for centre in law.centres], 1)
    np.testing.assert_allclose(best, density @ law.weights / density.sum(1), atol=1e-8)
    assert abs((y - best).mean()) < 0.03
    apart = [np.linalg.norm(a - b) for a, b in itertools.combinations(law.centres, 2)]
    np.testing.assert_allclose(apart, 2.0)


def test_em_finds_the_clusters() -> None:
    probe = PretrainTheory(kind="mixture", dims=10, latent=4)
    law = probe.law(Run())
    rng = Run().rng("x")
    first = mixture(law.sample(5000, rng)[0], 4, rng)
    found = first(law.centres)
    assert sorted(found.argmax(1).tolist()) == [0, 1, 2, 3]
    assert found.max(1).min() > 0.98
    np.testing.assert_allclose(first(rng.normal(0, 3, (50, 10))).sum(1), 1.0)


def test_the_subspace_is_found_better_with_more_records() -> None:
    law = PretrainTheory().law(Run())
    missed = []
    for m in (200, 2000, 20_000):
        first = subspace(law.sample(m, Run().rng("x", m))[0], 4)
        axes = first(np.eye(50))  # the directions themselves
        np.testing.assert_allclose(axes.T @ axes, np.eye(4), atol=1e-8)
        missed.append(1 - np.linalg.norm(axes.T @ law.centres / 2) ** 2 / 4)
    assert missed[0] > 5 * missed[1] > 25 * missed[2] > 0


@pytest.mark.parametrize("kind", ["factor", "mixture"])
def test_unlabelled_records_help_where_they_tell_something(kind: str) -> None:
    marks = {}
    for informative in (True, False):
        probe = PretrainTheory(kind=kind, labelled=80, informative=informative)
        world = probe.build(3000, Run(seed=2))
        (x, y), (test, _) = numbers(world.more["labeled"]), numbers(world.more["test"])
        unlabelled, none = numbers(world.pool)
        assert none.size == 0
        rng = Run().rng("em")
        first = subspace(unlabelled, 4) if kind == "factor" else mixture(unlabelled, 4, rng)
        learners = two_stage(first, x, y), supervised(x, y)
        marks[informative] = [probe.grade(world, predict(test)) for predict in learners]
        best = [t["best"] for t in world.more["test"].column("truth").to_pylist()]
        assert probe.grade(world, best) == 1.0
        assert probe.grade(world, [np.mean(best)] * 500) == pytest.approx(0.0)
    assert marks[True][0] > 0.9
    assert marks[True][0] > marks[True][1] + 0.15
    assert marks[False][0] < 0.1 < marks[False][1]


def test_records_are_new_on_every_side_and_sizes_scale() -> None:
    world = PretrainTheory(labelled=30, tests=40).build(100, Run())
    pools = [world.pool, world.more["labeled"], world.more["test"]]
    assert [pool.count for pool in pools] == [100, 30, 40]
    texts = [text for pool in pools for text in pool.column("text").to_pylist()]
    assert len(set(texts)) == 170
    x, y = numbers(world.more["labeled"])
    drawn = PretrainTheory().law(Run()).sample(30, Run().rng("pretrain_theory", "labeled"))
    np.testing.assert_allclose(x, drawn[0], atol=1e-4)
    np.testing.assert_allclose(y, drawn[1], atol=1e-5)


def test_measures_and_errors() -> None:
    assert excess(lambda x: x[:, 0], np.array([[1.0], [3.0]]), np.array([0.0, 3.0])) == 0.5
    assert slope([1, 2, 4], [8, 4, 2]) == pytest.approx(-1)
    world = PretrainTheory(tests=3).build(10, Run())
    with pytest.raises(DataError, match="grades 3 finite numbers"):
        PretrainTheory().grade(world, [0.0, float("nan"), 1.0])
    with pytest.raises(DataError, match="4 of 4"):
        PretrainTheory(dims=4).build(10, Run())
