from __future__ import annotations

import numpy as np
import pytest

from tilth.engine.statistics import benjamini_hochberg, compare, detectable, spearman


def tables(rng: np.random.Generator, seeds: int, items: int, effect: float) -> tuple[np.ndarray, np.ndarray]:
    """Losses of a plan and of a rival that is worse by `effect`, with seed, item and residual noise."""
    item = rng.normal(2.0, 0.5, items)
    plan = item + rng.normal(0, 0.05, (seeds, 1)) + rng.normal(0, 0.1, (seeds, items))
    rival = item + effect + rng.normal(0, 0.05, (seeds, 1)) + rng.normal(0, 0.1, (seeds, items))
    return plan, rival


@pytest.mark.parametrize("seeds", [3, 5, 10])
def test_the_interval_covers_nothing_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    called = sum(compare(*tables(rng, seeds, 40, 0.0)).call() != "no difference" for _ in range(1000))
    assert 30 <= called <= 70  # 5 % of 1,000, three standard deviations


def test_a_detectable_effect_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(1)
    effect = float(np.mean([detectable(compare(*tables(rng, 5, 40, 0.0))) for _ in range(200)]))
    found = sum(compare(*tables(rng, 5, 40, effect)).call() == "better" for _ in range(500))
    assert found / 500 >= 0.78


def test_two_items_that_agree_over_many_seeds_do_not_stand_for_all_items() -> None:
    """An effect carried by few items must have a wide interval however many seeds there are."""
    rng = np.random.default_rng(2)
    plan = rng.normal(2, 0.001, (50, 4))
    rival = plan + np.array([1.0, -1.0, 0.9, -0.8]) + rng.normal(0, 0.001, (50, 4))
    c = compare(plan, rival)
    assert c.call() == "no difference"
    assert c.high - c.low > 1.0


def test_signs_and_weights() -> None:
    rng = np.random.default_rng(3)
    plan, rival = tables(rng, 5, 40, 0.3)
    assert compare(plan, rival).call() == "better"
    assert compare(rival, plan).call() == "worse"
    assert compare(plan, rival).effect == pytest.approx(-compare(rival, plan).effect)
    weights = np.zeros(40)
    weights[:20] = 1.0
    expected = (rival - plan)[:, :20].mean()
    assert compare(plan, rival, weights).effect == pytest.approx(expected)


def test_identical_plans_are_no_difference() -> None:
    table = np.ones((3, 4))
    assert compare(table, table).call() == "no difference"
    with pytest.raises(ValueError, match="at least 2 seeds"):
        compare(table[:1], table[:1])


def test_benjamini_hochberg_by_hand() -> None:
    assert benjamini_hochberg([0.01, 0.04, 0.03, 0.5]) == pytest.approx([0.04, 0.16 / 3, 0.16 / 3, 0.5])


def test_spearman_edges() -> None:
    assert spearman([1, 2, 3], [10, 20, 30]) == pytest.approx(1.0)
    assert np.isnan(spearman([1, 1, 1], [1, 2, 3]))
    assert np.isnan(spearman([1, 2], [1, 2]))
