"""Laws must be recovered where they hold, know their slope, and say what they do not know."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from tilth.core.errors import BadInput
from tilth.models import mixture_law, surface
from tilth.models.mixture_law import Kind

Floats = npt.NDArray[np.float64]


def exponential(x: Floats) -> Floats:
    t = np.array([[-3.0, 1.0, 0.0, 0.5], [1.0, -2.0, 0.5, 0.0]])
    return np.asarray(2.0 + 0.4 * np.exp(x @ t[0]) + 0.3 * np.exp(x @ t[1]))


def power(x: Floats) -> Floats:
    return np.asarray(1.5 + (np.array([0.3, 0.2, 0.1, 0.0]) * (x + 0.01) ** -0.4).sum(1))


def bilinear(x: Floats) -> Floats:
    return np.asarray(x @ [3.0, 2.0, 2.5, 4.0] - 4.0 * x[:, 0] * x[:, 1] + 1.0 * x[:, 2] * x[:, 3])


LAWS: Any = {"exponential": exponential, "power": power, "bilinear": bilinear}


def mixtures(n: int, seed: int) -> Floats:
    return np.asarray(np.random.default_rng(seed).dirichlet(np.ones(4), n))


@pytest.mark.parametrize("kind", LAWS)
def test_each_law_is_recovered_and_chosen(kind: Kind) -> None:
    x, new, truth = mixtures(60, 0), mixtures(300, 1), LAWS[kind]
    y = truth(x) + np.random.default_rng(2).normal(0, 0.002, 60)
    law = mixture_law.fit(x, y, kind, resamples=10)
    missed = np.sqrt(((law.predict(new) - truth(new)) ** 2).mean())
    assert missed < 0.02 * truth(new).std() + 0.003
    others = [mixture_law.fit(x, y, other, resamples=2).error for other in LAWS if other != kind]
    assert law.error < min(others)
    assert mixture_law.fit(x, y, "auto", resamples=2).kind == kind
    by_surface = np.sqrt(((surface.fit(x, y)(new) - truth(new)) ** 2).mean())
    assert missed < 0.5 * by_surface, "a law that holds beats a regression that knows no form"


@pytest.mark.parametrize("kind", LAWS)
def test_slope_is_that_of_finite_differences(kind: Kind) -> None:
    x = mixtures(30, 0)
    law = mixture_law.fit(x, LAWS[kind](x), kind, resamples=2)
    at, step = np.array([0.4, 0.3, 0.2, 0.1]), 1e-5
    value, slope = law.slope(at)
    assert value == pytest.approx(law.predict(at[None])[0])
    for g in range(4):
        e = np.eye(4)[g] * step
        found = (law.predict((at + e)[None]) - law.predict((at - e)[None]))[0] / (2 * step)
        assert slope[g] == pytest.approx(found, rel=1e-3, abs=1e-5)


def test_spread_grows_with_noise_and_intervals_cover() -> None:
    rng, new = np.random.default_rng(0), mixtures(100, 5)
    covered, spreads = [], []
    for noise in (0.01, 0.04):
        inside = []
        for trial in range(6):
            x = mixtures(48, 10 + trial)
            law = mixture_law.fit(x, bilinear(x) + rng.normal(0, noise, 48), "bilinear", resamples=60)
            low, high = law.interval(new)
            inside.append(((low <= bilinear(new)) & (bilinear(new) <= high)).mean())
        covered.append(np.mean(inside))
        spreads.append(law.spread(new).mean())
    assert min(covered) > 0.8
    assert 2.5 < spreads[1] / spreads[0] < 6


def test_same_runs_same_law() -> None:
    x = mixtures(20, 0)
    one, two = (mixture_law.fit(x, power(x), "auto", resamples=3) for _ in range(2))
    assert (one.predict(x) == two.predict(x)).all()
    assert (one.spread(x) == two.spread(x)).all()


def test_constant_losses_give_a_constant() -> None:
    x = mixtures(20, 0)
    law = mixture_law.fit(x, np.full(20, 3.0), "exponential", resamples=3)
    assert law.predict(mixtures(5, 1)) == pytest.approx(np.full(5, 3.0), abs=0.1)


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (mixtures(5, 0), np.zeros(5), "at least 6 runs"),
        (mixtures(8, 0), np.zeros(7), "losses"),
        (mixtures(8, 0) * 2, np.zeros(8), "sum to 1"),
        (mixtures(8, 0), np.full(8, np.nan), "finite"),
    ],
)
def test_refuses_what_is_no_table_of_runs(x: Floats, y: Floats, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        mixture_law.fit(x, y)
