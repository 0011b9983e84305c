"""Item response theory: agrees with integration, finds the truth, is blind to what was not asked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.integrate import dblquad, quad
from scipy.special import expit
from scipy.stats import norm, spearmanr

from tilth.models.irt import Abilities, fit, split_half


def simulated(
    models: int, items: int, seed: int = 0, missing: float = 0.0, spread: float = 0.0, centre: float = 0.0
) -> tuple[Any, Any, Any, Any]:
    """Abilities (mean 0, standard deviation 1), difficulties, discriminations and answers."""
    rng = np.random.default_rng(seed)
    theta = rng.normal(size=models)
    theta = (theta - theta.mean()) / theta.std()
    b, a = centre + rng.normal(size=items), np.exp(spread * rng.normal(size=items))
    answers = (rng.random((items, models)) < expit(a[:, None] * (theta - b[:, None]))).astype(np.int8)
    answers[rng.random(answers.shape) < missing] = -1
    return theta, b, a, answers


@pytest.mark.parametrize("parameters", [1, 2])
def test_finds_the_truth_of_200_models_and_2000_items(parameters: int) -> None:
    theta, b, a, answers = simulated(200, 2000, spread=0.3 * (parameters - 1))
    model = fit(answers, parameters)
    items = model.rate(answers)
    assert spearmanr(items.b, b).statistic > 0.975
    assert spearmanr(model.theta, theta).statistic > 0.99
    assert np.mean(np.abs(items.b - b) < 1.96 * items.b_error) == pytest.approx(0.94, abs=0.03)
    assert np.std((model.theta - theta) / model.error) == pytest.approx(1, abs=0.15)
    if parameters == 2:
        assert spearmanr(items.a, a).statistic > 0.6
        assert np.mean(np.abs(items.a - a) < 1.96 * items.a_error) == pytest.approx(0.94, abs=0.03)


def test_few_models_shrink_no_scale_and_their_errors_cover() -> None:
    _, b, _, answers = simulated(10, 6000, centre=-1)
    model = fit(answers)
    items = model.rate(answers)
    assert model.prior[:2] == pytest.approx(
        [-1, 1], abs=0.06
    )  # maximising over both sides at once shrinks or inflates it
    assert np.polyfit(items.b, b, 1)[0] == pytest.approx(1, abs=0.05)
    assert np.mean(np.abs(items.b - b) < 1.96 * items.b_error) == pytest.approx(0.95, abs=0.02)


def test_few_items_do_not_pull_all_abilities_together() -> None:
    """Abilities that are modes vary too little; a scale set by them alone would shrink every round."""
    found = [fit(simulated(40, 30, seed)[3]).prior for seed in range(6)]
    assert np.exp(np.mean([prior[2] for prior in found])) == pytest.approx(1, abs=0.25)
    assert np.mean([prior[1] for prior in found]) == pytest.approx(1, abs=0.25)


def test_what_was_not_asked_is_not_wrong() -> None:
    _, b, _, answers = simulated(60, 1500, missing=0.5)
    model = fit(answers)
    asked, zero = model.rate(answers), np.maximum(answers, 0)
    assert abs(float(np.mean(asked.b - b))) < 0.05
    assert (asked.answers == (answers >= 0).sum(1)).all()
    assert float(np.mean(fit(zero).rate(zero).b - b)) > 0.5  # what coding them 0 would do


def test_missing_by_ability_is_no_bias_where_shares_of_right_answers_mislead() -> None:
    theta, b, _, answers = simulated(60, 1500)
    rng = np.random.default_rng(1)
    answers[rng.random(answers.shape) > expit(2 * theta * b[:, None])] = -1
    found = spearmanr(fit(answers).rate(answers).b, b).statistic
    share = spearmanr(-(answers == 1).sum(1) / (answers >= 0).sum(1), b).statistic
    assert found > 0.9 > 0.8 > share


def test_one_parameter_is_integrated_exactly() -> None:
    model = Abilities(np.array([-1.2, 0.1, 0.4, 1.5]), np.ones(4), np.array([-0.3, 1.4, 0.2, 0.3]), False, 1)
    rows = np.array([[1, 0, 1, 1], [0, 0, 0, 0], [1, 1, 1, 1], [-1, -1, 0, 1], [-1, -1, -1, -1]], np.int8)
    items = model.rate(rows)
    for i, row in enumerate(rows):

        def weight(b: float, power: int = 0, row: Any = row) -> float:
            p = expit(np.exp(0.2) * (model.theta - b))
            chance = np.prod(np.where(row == 1, p, np.where(row == 0, 1 - p, 1)))
            return float(chance * norm.pdf(b, -0.3, 1.4) * b**power)

        whole, first, second = (quad(weight, -12, 12, args=(power,))[0] for power in range(3))
        mean = first / whole
        assert items.log_likelihood[i] == pytest.approx(np.log(whole), abs=2e-3)
        assert items.b[i] == pytest.approx(mean, abs=5e-3)
        assert items.b_error[i] == pytest.approx((second / whole - mean**2) ** 0.5, rel=0.01)
    assert (items.a == np.exp(0.2)).all()
    assert (items.a_error == 0).all()


def test_two_parameters_are_integrated_closely() -> None:
    theta = np.random.default_rng(0).normal(size=15)
    model = Abilities(theta, np.ones(15), np.array([0.0, 1.0, 0.1, 0.3]), True, 1)
    row = (theta > 0.3).astype(np.int8)
    items = model.rate(row[None])

    def weight(log_a: float, b: float, power: int = 0) -> float:
        p = expit(np.exp(log_a) * (theta - b))
        return float(np.prod(np.where(row == 1, p, 1 - p)) * norm.pdf(b) * norm.pdf(log_a, 0.1, 0.3) * b**power)

    whole, first = (dblquad(weight, -6, 6, -2, 2, args=(power,))[0] for power in range(2))
    assert items.log_likelihood[0] == pytest.approx(np.log(whole), abs=5e-3)
    assert items.b[0] == pytest.approx(first / whole, abs=0.01)


@pytest.mark.parametrize("parameters", [1, 2])
def test_nothing_near_is_likelier(parameters: int) -> None:
    _, _, _, answers = simulated(8, 400, spread=0.3)
    model = fit(answers, parameters, tolerance=1e-7)

    def value(theta: Any, prior: Any) -> float:
        whole = Abilities(theta, model.error, prior, model.two, 1).rate(answers).log_likelihood.sum()
        return float(whole - 0.5 * (theta**2).sum())

    best = value(model.theta, model.prior)
    for m in range(8):
        for step in (-0.05, 0.05):
            moved = model.theta + step * (np.arange(8) == m)
            assert value(moved, model.prior) < best + 0.02  # the anchor, not the likelihood, sets mean and scale
    for k in range(3):
        for step in (-0.1, 0.1):
            assert value(model.theta, model.prior + step * (np.arange(4) == k)) < best


def test_the_scale_is_anchored() -> None:
    """Two sets of items, one far harder, put the same models at the same abilities."""
    easy, hard = (simulated(30, 3000, centre=c) for c in (-1.0, 1.0))
    one, two = fit(easy[3]), fit(hard[3])
    for model in (one, two):
        assert model.theta.mean() == pytest.approx(0, abs=1e-9)
        assert np.mean(model.theta**2 + model.error**2) == pytest.approx(1, abs=1e-9)
    assert np.abs(one.theta - two.theta).max() < 0.25
    assert two.prior[0] - one.prior[0] == pytest.approx(2, abs=0.15)


def test_an_item_is_rated_by_its_own_answers_alone() -> None:
    _, _, _, answers = simulated(9, 50, missing=0.2)
    model = fit(answers, 2)
    whole = model.rate(answers)
    for i in (0, 17, 49):
        one = model.rate(answers[i : i + 1])
        assert (one.b[0], one.b_error[0], one.a[0]) == (whole.b[i], whole.b_error[i], whole.a[i])


def test_the_order_of_items_and_models_is_nothing() -> None:
    _, _, _, answers = simulated(12, 300, missing=0.1)
    rng = np.random.default_rng(0)
    rows, columns = rng.permutation(300), rng.permutation(12)
    one, two = fit(answers), fit(answers[rows][:, columns])
    assert two.theta == pytest.approx(one.theta[columns], abs=1e-9)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (4, 1), (1, 4)])
def test_next_to_nothing_is_no_error(shape: tuple[int, int]) -> None:
    answers = np.ones(shape, np.int8)
    answers[1:2] = 0
    items = fit(answers).rate(answers)
    assert np.isfinite(items.b).all()
    if shape == (4, 1):
        assert items.b[1] > items.b[0]


def test_split_half_tells_how_reliable_difficulty_is() -> None:
    _, b, _, answers = simulated(16, 4000)
    told = split_half(answers, np.random.default_rng(0))
    assert told == pytest.approx(spearmanr(fit(answers).rate(answers).b, b).statistic ** 2, abs=0.04)
    noise = (np.random.default_rng(1).random((2000, 16)) < 0.5).astype(np.int8)
    assert abs(split_half(noise, np.random.default_rng(0))) < 0.1
