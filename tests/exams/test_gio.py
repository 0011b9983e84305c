"""Gio picks the planted component, covers all parts of a target, and clusters may stand for records."""

from __future__ import annotations

import numpy as np
import pytest
from tests.exams.vectors import planned, pool_of

from tilth.core import Plan, Run
from tilth.core.errors import DataError
from tilth.policies.select.gio import Gio
from tilth.policies.select.sample import Sample
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram


def components(seed: int, width: int, apart: float = 4.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A pool of 300 records of component A among 900 of B, and 100 target examples of A."""
    rng = np.random.default_rng(seed)
    shift = np.zeros(width)
    shift[0] = apart
    group = rng.permutation(np.repeat([0, 1], [300, 900]))
    values = rng.standard_normal((1200, width)) + group[:, None] * shift
    return values, group, rng.standard_normal((100, width))


@pytest.mark.parametrize("width", [2, 64])
@pytest.mark.parametrize("seed", range(3))
def test_picks_the_planted_component(seed: int, width: int) -> None:
    values, group, target = components(seed, width, 5.0 if width == 2 else 8.0)
    pool, aim = pool_of(values), pool_of(target)
    ours, drawn, worst = (planned(policy, pool, 60, aim, seed).kept for policy in (Gio(), Sample(), Gio().worst()))
    assert (group[ours] == 0).mean() >= 0.95
    assert (group[drawn] == 0).mean() < 0.45
    assert (group[worst] == 0).mean() < 0.05


def test_the_divergence_falls_then_flattens() -> None:
    values, _, target = components(4, 2)
    trace = planned(Gio(), pool_of(values), 90, pool_of(target)).decisions[0].details["divergence"]
    falls = np.array([trace[at] - trace[at + 30] for at in (0, 30, 60)])
    assert falls[0] > 3 * falls[1:].max()
    assert trace[30] < 0.3 * trace[0]


def test_ends_where_it_rises() -> None:
    values, group, target = components(5, 2, 8.0)
    pool, aim = pool_of(values), pool_of(target)
    full = planned(Gio(), pool, 900, aim)
    assert full.decisions[0].warnings
    ended = planned(Gio(stop="rise"), pool, 900, aim)
    assert ended.kept.sum() < 320
    assert (group[ended.kept] == 0).mean() > 0.95


@pytest.mark.parametrize("seed", range(3))
def test_covers_all_parts_of_a_target(seed: int) -> None:
    """Three parts of 60, 30 and 10 %: ours takes them nearly so, the nearest to the middle takes hardly any."""
    rng = np.random.default_rng(seed)
    at = np.array([[4.0, 0.0], [-4.0, 3.0], [-2.0, -5.0]])
    part = rng.choice(3, 100, p=[0.6, 0.3, 0.1])
    target = at[part] + 0.5 * rng.standard_normal((100, 2))
    group = rng.permutation(np.repeat([0, 1, 2, 3], [200, 200, 200, 600]))
    values = np.where(
        group[:, None] < 3,
        at[np.minimum(group, 2)] + 0.5 * rng.standard_normal((1200, 2)),
        rng.uniform(-8, 8, (1200, 2)),
    )
    kept = planned(Gio(), pool_of(values), 100, pool_of(target), seed).kept
    ours = np.bincount(group[kept], minlength=4) / 100
    near = np.argsort(((values - np.median(target, 0)) ** 2).sum(1))[:100]
    rival = np.bincount(group[near], minlength=4) / 100
    wanted = np.append(np.bincount(part, minlength=3) / 100, 0)
    assert np.abs(ours - wanted).sum() < 0.6
    assert np.abs(ours - wanted).sum() < 0.7 * np.abs(rival - wanted).sum()
    assert ours[:3].min() >= 0.03


def test_clusters_agree_with_records() -> None:
    """Forty tight clusters: those that records are taken from, and those that centres are."""
    rng = np.random.default_rng(6)
    centre = rng.uniform(-5, 5, (40, 3))
    group = rng.integers(0, 40, 1200)
    pool = pool_of(centre[group] + 0.05 * rng.standard_normal((1200, 3)))
    aim = pool_of(centre[rng.integers(0, 10, 200)] + 0.05 * rng.standard_normal((200, 3)))
    exact, cut = (planned(policy, pool, 200, aim).kept for policy in (Gio(), Gio(clusters=240)))
    one, two = (set(np.flatnonzero(np.bincount(group[kept], minlength=40) > 2)) for kept in (exact, cut))
    assert len(one & two) / len(one | two) >= 0.8


def test_a_target_too_small_is_told() -> None:
    values, _, target = components(7, 2)
    with pytest.raises(DataError, match="more than 2 target examples"):
        planned(Gio(), pool_of(values), 10, pool_of(target[:2]))


def test_lowers_the_target_loss_of_real_text_models() -> None:
    made = PlantedMixture().build(2000, Run(seed=1))
    assert made.goal is not None
    goal, run = made.goal.blind(), Run(seed=1)
    start = Plan.everything(made.pool, made.goal.budget)
    ours, drawn = (
        Ngram().trial(policy.revise(start, made.pool, goal, run), made.pool, made.goal, run).mean()
        for policy in (Gio(), Sample())
    )
    assert ours < drawn
