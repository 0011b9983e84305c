from __future__ import annotations

import numpy as np
import pytest

from tilth.engine.evidence.budgeted import best_schedule, expected_best, schedule_loss


def test_expected_best_equals_simulation() -> None:
    rng = np.random.default_rng(0)
    losses = rng.gamma(2.0, 1.0, 30) + 1
    for n in (1, 2, 5, 20):
        drawn = rng.choice(losses, size=(40_000, n)).min(1)
        assert expected_best(losses, n) == pytest.approx(drawn.mean(), rel=0.01)
    assert expected_best(losses, 1) == pytest.approx(losses.mean())
    assert expected_best(losses, 10_000) == pytest.approx(losses.min())
    with pytest.raises(ValueError, match="at least 1"):
        expected_best(losses, 0)


def curves(rng: np.random.Generator, trials: int = 60, points: int = 10) -> np.ndarray:
    """Final losses that the curves tell early: noise around them shrinks with the steps taken."""
    final = rng.normal(2.0, 0.2, trials)
    steps = np.arange(1, points + 1)
    return final[:, None] + 3 / steps - 0.3 + rng.normal(0, 0.15, (trials, points)) * (1 - steps / points)


def test_stopping_early_beats_best_of_n_at_half_the_budget() -> None:
    rng = np.random.default_rng(1)
    table = curves(rng)
    whole = schedule_loss(table, 10, 10, 10, rng, draws=4000)
    assert whole.cost == 10
    half = best_schedule(table, 5.0, rng, draws=500)
    assert half.cost <= 5 + 1e-9
    again = schedule_loss(table, half.start, half.check, half.keep, np.random.default_rng(2), draws=4000)
    assert again.loss < whole.loss
    assert half.start > 10


def test_curves_that_tell_nothing_early_gain_nothing() -> None:
    rng = np.random.default_rng(3)
    blind = np.hstack([rng.normal(2, 1, (600, 9)), rng.normal(2, 0.2, (600, 1))])
    early = schedule_loss(blind, 10, 1, 5, rng, draws=3000)
    assert early.loss == pytest.approx(schedule_loss(blind, 5, 10, 5, rng, draws=3000).loss, abs=0.02)


def test_costs_diverged_trials_and_nonsense() -> None:
    rng = np.random.default_rng(4)
    table = curves(rng, 8, 4)
    assert schedule_loss(table, 8, 1, 2, rng).cost == pytest.approx(8 / 4 + 2 * 3 / 4)
    table[0] = np.nan
    assert np.isfinite(best_schedule(table, 3.0, rng, draws=200).loss)
    assert best_schedule(table, 3.0, rng, draws=200).loss < 3
    with pytest.raises(ValueError, match="do not fit"):
        schedule_loss(table, 9, 1, 1, rng)
    with pytest.raises(ValueError, match="does not finish"):
        best_schedule(table, 0.5, rng)
