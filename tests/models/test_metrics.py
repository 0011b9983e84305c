from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import f1_score

from tilth.models.metrics import calibration_error, exact_match, macro_f1, pair_accuracy


def test_macro_f1_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        truth, predicted = rng.integers(0, 4, 60), rng.integers(0, 5, 60)
        assert macro_f1(predicted, truth, 7) == pytest.approx(f1_score(truth, predicted, average="macro"))
    assert macro_f1([], [], 3) == 0


def test_calibration_error_finds_overconfidence_and_no_more() -> None:
    rng = np.random.default_rng(1)
    p = rng.dirichlet(np.ones(3), 20_000)
    truth = (p.cumsum(1) > rng.random((20_000, 1))).argmax(1)
    assert calibration_error(p, truth) < 0.02
    sharp = p**3 / (p**3).sum(1, keepdims=True)
    assert calibration_error(sharp, truth) > 0.1
    assert calibration_error(np.array([[1.0, 0.0]] * 4), [1, 1, 0, 0]) == pytest.approx(0.5)


def test_pairs_and_exact_matches() -> None:
    assert pair_accuracy([1.0, -2.0, 0.0, 3.0]) == 0.625
    assert exact_match(" The Soil.", "soil", loose=True)
    assert not exact_match("soils", "soil", loose=True)
    assert exact_match(" 12\n", "12")
    assert not exact_match("-1.5", "15")
