"""Power laws must be recovered, keep their direction, and know where they reach a loss."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core.errors import BadInput
from tilth.models.critical_ratio import PowerLaw, critical, interval, laws, left_out, missed, power_law

RATIOS = np.array([0.1, 0.25, 1 / 3, 0.5, 0.75, 0.9])


@pytest.mark.parametrize(
    ("a", "s", "rising"), [(0.4, 2.5, True), (0.2, 0.5, True), (-0.5, 0.4, False), (0.3, -0.5, False)]
)
def test_recovers_a_law(a: float, s: float, rising: bool) -> None:
    truth = PowerLaw(a, s, 2.0)
    law = power_law(RATIOS, truth(RATIOS), rising)
    assert (law.a, law.s, law.b) == pytest.approx((a, s, 2.0), abs=1e-2)
    assert np.abs(left_out(RATIOS, truth(RATIOS), rising) - truth(RATIOS)).max() < 1e-3
    assert law.reaches(float(truth(0.4))) == pytest.approx(0.4, abs=1e-3)


def test_noise_cannot_turn_a_law() -> None:
    falling = power_law(RATIOS, 2 - 0.1 * RATIOS, rising=True)
    assert falling.a == 0
    assert falling(RATIOS) == pytest.approx(np.full(6, (2 - 0.1 * RATIOS).mean()))


def test_critical_ratio_and_its_ends() -> None:
    law = PowerLaw(0.4, 2.0, 3.0)
    assert critical(law, 3.1) == pytest.approx(0.5)
    assert critical(law, 9.0) == 1.0
    assert critical(law, 2.9) == 0.0
    assert critical(PowerLaw(0.0, 1.0, 3.0), 3.1) == 1.0
    assert critical(PowerLaw(0.0, 1.0, 3.0), 2.9) == 0.0


def test_critical_ratio_at_more_tokens() -> None:
    """The ratio itself is a power law of tokens: from four checkpoints to four times as many."""
    tokens = np.array([1.0, 2.0, 4.0, 8.0])
    truth = PowerLaw(-0.3, -0.6, 0.55)  # grows and levels off
    law = power_law(tokens, truth(tokens) + np.array([1, -1, 1, -1]) * 1e-3, rising=True)
    assert law(32.0) == pytest.approx(truth(32.0), abs=0.05)
    assert law.a * law.s > 0


def test_needs_three_points() -> None:
    with pytest.raises(BadInput, match="three different x"):
        power_law([0.1, 0.1, 0.5], [1, 1, 2], rising=True)


def test_error_of_a_ratio_left_out() -> None:
    ratios = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 0.9])
    general = 2 + 0.5 * ratios**1.7
    assert missed(ratios, general, rising=True) < 1e-4
    assert missed(ratios[1:], 3 - 0.4 * ratios[1:] ** 0.5, rising=False) < 1e-3
    bumped = general + np.where(ratios == 0.5, 0.3, 0.0)
    assert missed(ratios, bumped, rising=True) == pytest.approx(0.3 / bumped.mean(), rel=0.2)
    assert missed(ratios, general + np.where(ratios == 0.9, 3.0, 0.0), rising=False) > missed(ratios, general, True)


def test_interval_widens_with_what_seeds_differ_by() -> None:
    ratios = np.array([0.0, 0.1, 0.25, 0.5, 0.75, 0.9])
    rng = np.random.default_rng(0)
    width = []
    for noise in (0.001, 0.02):
        general = 2 + 0.5 * ratios**1.7 + rng.normal(0, noise, (5, ratios.size))
        low, high = interval(ratios, general, np.full(5, 2.1), np.random.default_rng(1))
        assert low <= (0.1 / 0.5) ** (1 / 1.7) + 0.05
        assert high >= (0.1 / 0.5) ** (1 / 1.7) - 0.05
        width.append(high - low)
    assert width[0] < width[1] / 3


def test_laws_leave_ratio_0_out_of_domain_loss() -> None:
    ratios = np.array([0.0, 0.1, 0.25, 0.5, 0.75])
    general, domain = laws(ratios, 2 + 0.3 * ratios**2, np.where(ratios > 0, 1 + 0.2 * (ratios + 1e-9) ** -0.5, 99.0))
    assert general(0.0) == pytest.approx(2, abs=1e-3)
    assert domain(0.9) == pytest.approx(1 + 0.2 * 0.9**-0.5, abs=1e-2)
