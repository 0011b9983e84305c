from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Curve
from tilth.engine.evidence.reach import reach

TOKENS = np.unique(np.geomspace(1000, 100_000, 25).astype(np.int64))


def curve(speed: float, items: int = 20, noise: np.ndarray | float = 0.0, tokens: np.ndarray = TOKENS) -> Curve:
    """Loss 1 + 8 (speed * tokens)^-0.3 of every item."""
    losses = 1 + 8 * (speed * tokens[:, None]) ** -0.3 + np.broadcast_to(np.asarray(noise), (items,))[None]
    return Curve(tokens, losses, np.zeros(tokens.size))


@pytest.mark.parametrize("speed", [1.0, 1.5, 4.0])
def test_power_laws_give_the_ratio_of_their_speeds(speed: float) -> None:
    found = reach([curve(speed)] * 3, [curve(1.0)] * 3)
    assert found.ratio == pytest.approx(1 / speed, rel=0.003)
    assert found.low == pytest.approx(found.ratio, rel=0.01)  # no noise, no width
    assert found.high == pytest.approx(found.ratio, rel=0.01)


def test_a_plan_that_does_not_get_there_or_is_there_at_once() -> None:
    slow = reach([curve(0.5)] * 3, [curve(1.0)] * 3)
    assert np.isinf(slow.ratio)
    assert str(slow) == "more than 1.00x the tokens [more than 1.00, more than 1.00]"
    fast = reach([curve(200.0)] * 3, [curve(1.0)] * 3)
    assert fast.ratio == fast.first == pytest.approx(0.01)
    assert str(fast).startswith("at most 0.01x the tokens")
    with pytest.raises(ValueError, match="no range"):
        reach([curve(1.0, tokens=np.array([5000]))], [curve(1.0)])


def test_the_rival_may_have_read_another_amount() -> None:
    longer = curve(1.0, tokens=TOKENS * 2)
    assert reach([curve(4.0)] * 3, [longer] * 3).ratio == pytest.approx(1 / 4, rel=0.003)


def test_items_count_by_weight() -> None:
    left = Curve(TOKENS, np.hstack([curve(2.0, 1).losses, curve(0.5, 1).losses]), np.zeros(TOKENS.size))
    right = [curve(1.0, 2)] * 3
    assert reach([left] * 3, right, [1.0, 1e-9]).ratio == pytest.approx(0.5, rel=0.01)
    assert np.isinf(reach([left] * 3, right, [1e-9, 1.0]).ratio)


def test_the_interval_covers_the_planted_ratio() -> None:
    rng = np.random.default_rng(0)
    covered = finite = 0
    for _ in range(200):
        sides = []
        for speed in (1.6, 1.0):
            noise = rng.normal(0, 0.005, (5, 1)) + rng.normal(0, 0.02, (5, 20))
            sides.append([curve(speed, noise=row) for row in noise])
        found = reach(sides[0], sides[1], points=30)
        covered += found.low <= 1 / 1.6 <= found.high
        finite += np.isfinite(found.high)
    assert covered >= 180  # 190 expected; fewer than 180 has a probability of 0.2 %
    assert finite >= 190
