from __future__ import annotations

import numpy as np
import pytest

from tilth.engine.evidence.agreement import decision_accuracy


def test_by_hand() -> None:
    same = decision_accuracy([1, 2, 3], [5, 6, 9])
    assert (same.share, same.alike, same.pairs, same.high) == (1.0, 3, 3, 1.0)
    assert same.low < 0.5  # three candidates show little
    assert decision_accuracy([1, 2, 3], [3, 2, 1]).share == 0.0
    assert decision_accuracy([1, 1, 2], [1, 2, 3]).alike == 2.5
    assert decision_accuracy([1, 1, 2], [4, 4, 5]).share == 1.0
    with pytest.raises(ValueError, match="3 or more"):
        decision_accuracy([1, 2], [1, 2])


@pytest.mark.parametrize(("candidates", "truth"), [(6, 0.8), (20, 0.65), (20, 0.95), (50, 0.8)])
def test_the_interval_covers_the_share_among_all_candidates_of_the_kind(candidates: int, truth: float) -> None:
    rng = np.random.default_rng(candidates)
    rho = np.sin(np.pi * (truth - 0.5))  # of two normal scores with this correlation, `truth` of pairs agree
    covered, width = 0, 0.0
    for _ in range(400):
        a = rng.normal(size=candidates)
        b = rho * a + np.sqrt(1 - rho**2) * rng.normal(size=candidates)
        found = decision_accuracy(a, b)
        covered += found.low <= truth <= found.high
        width += (found.high - found.low) / 400
    assert covered >= 0.93 * 400
    assert width < (0.75 if candidates == 6 else 0.4 if candidates == 20 else 0.16)
