from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest
from scipy.stats import spearmanr

from tilth.engine.evidence.certificate import Kind, certify, choose, kl, kl_inverse, text_nats

KINDS: tuple[Kind, ...] = get_args(Kind)


def test_closed_forms() -> None:
    assert kl_inverse(0.0, 0.2) == pytest.approx(1 - math.exp(-0.2))
    for risk, room in [(0.1, 0.01), (0.4, 0.3), (0.9, 0.001)]:
        q = kl_inverse(risk, room)
        assert q > risk
        assert kl(risk, q) == pytest.approx(room, rel=1e-6)
    assert kl_inverse(0.3, 0.0) == 0.3
    assert kl_inverse(1.0, 0.5) == 1.0
    none = np.zeros(100)
    assert certify(none, math.log(8), 0.05).bound == pytest.approx(1 - math.exp(-(math.log(8) + math.log(20)) / 100))
    seeger = certify(none, math.log(8), 0.05, "seeger")
    assert seeger.bound == pytest.approx(1 - math.exp(-(math.log(8) + math.log(20 / 0.05)) / 100))
    mcallester = certify(np.repeat([0.0, 1.0], 50), 2.0, 0.1, "mcallester")
    assert mcallester.bound == pytest.approx(0.5 + math.sqrt((2 + math.log(1000) + 2) / 199))
    assert text_nats(np.log([0.5, 0.25, 0.1])) == pytest.approx(math.log(80))


def test_a_choice_as_complex_as_its_data_is_certified_nothing() -> None:
    for kind in KINDS:
        assert certify(np.zeros(50), 500.0, kind=kind).bound > 0.999


@pytest.mark.parametrize("kind", KINDS)
def test_the_bound_holds_for_the_best_of_a_thousand_and_is_not_loose(kind: Kind) -> None:
    rng = np.random.default_rng(0)
    n, candidates = 2000, 1000
    violated, gaps, naive = 0, [], 0
    for _ in range(200):
        truth = rng.uniform(0.1, 0.5, candidates)
        errors = rng.binomial(n, truth) / n
        best = int(np.argmin(errors))
        made = certify(np.r_[np.ones(round(errors[best] * n)), np.zeros(n - round(errors[best] * n))],
                       math.log(candidates), 0.05, kind)  # fmt: skip
        violated += truth[best] > made.bound
        naive += truth[best] > errors[best] + math.sqrt(errors[best] * (1 - errors[best]) / n) * 1.645
        gaps.append(made.bound - truth[best])
    assert violated <= 10
    assert np.mean(gaps) < (0.1 if kind == "mcallester" else 0.05)
    assert naive > 10  # the plain interval does not survive the choice; were it to, this test would show nothing


def test_tighter_kinds_are_tighter_and_the_prior_regularises() -> None:
    losses = np.r_[np.ones(300), np.zeros(1700)]
    bounds = [certify(losses, 10.0, kind=k).bound for k in KINDS]
    assert bounds == sorted(bounds)
    short, long = np.r_[np.ones(210), np.zeros(1790)], np.r_[np.ones(200), np.zeros(1800)]
    best, made = choose(np.stack([short, long]), [3.0, 150.0])
    assert best == 0
    assert made.risk == pytest.approx(0.105)
    with pytest.raises(ValueError, match="more than 1"):
        choose(np.stack([short, long]), [0.1, 0.1])


def test_bounds_rank_candidates_as_their_true_errors_do() -> None:
    rng = np.random.default_rng(3)
    truth = rng.uniform(0.05, 0.6, 60)
    nats = rng.uniform(5, 40, 60)
    table = (rng.random((60, 1500)) < truth[:, None]).astype(float)
    bounds = [certify(row, k).bound for row, k in zip(table, nats, strict=True)]
    assert spearmanr(bounds, truth).statistic > 0.9


def test_what_voids_a_certificate_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        certify([0.5, 1.5], 1.0)
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        certify([], 1.0)
    with pytest.raises(ValueError, match="-ln P"):
        certify([0.5], -1.0)
    with pytest.raises(ValueError, match="at most 0"):
        text_nats([0.1])
