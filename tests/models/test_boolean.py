from __future__ import annotations

import itertools

import numpy as np

from tilth.core import Run
from tilth.models import boolean


def test_gf2_is_right_exactly_where_the_input_is_a_sum_of_earlier_ones() -> None:
    rng = Run().rng("gf2")
    for _ in range(5):
        x = rng.integers(0, 2, (14, 6)).astype(np.int8)
        secret = rng.integers(0, 2, 6)
        y = (x @ secret % 2).astype(np.int8)
        found = boolean.gf2(x, y)
        for t in range(14):
            sums = {
                tuple(np.array(x[list(s)]).sum(0) % 2) for r in range(7) for s in itertools.combinations(range(t), r)
            }
            if tuple(x[t]) in sums or t == 0:
                assert found[t] == y[t] or t == 0


def test_winnow_learns_disjunctions_of_few_literals() -> None:
    rng = Run().rng("winnow")
    x = rng.integers(0, 2, (400, 60)).astype(np.int8)
    x[rng.random(400) < 0.3, :3] = 0
    y = np.asarray(x[:, :3].any(1), np.int8)
    wrong = np.flatnonzero(boolean.winnow(x, y) != y)
    assert wrong.size <= 2 + 3 * 3 * (1 + np.log2(120))  # the mistake bound of three literals among 120
    assert wrong.max() < 300


def test_elimination_errs_on_one_side_and_is_right_in_the_end() -> None:
    rng = Run().rng("elimination")
    x = rng.integers(0, 2, (300, 8)).astype(np.int8)
    y = ((x[:, 1] == 1) & (x[:, 4] == 0)).astype(np.int8)
    found = boolean.elimination(x, y)
    assert not (found > y).any()
    assert (found[100:] == y[100:]).all()
    either = ((x[:, 1] == 1) | (x[:, 4] == 0)).astype(np.int8)
    told = 1 - boolean.elimination(x, 1 - either)
    assert not (told < either).any()  # the other way round for disjunctions
    assert (told[100:] == either[100:]).all()


def test_perceptron_separates_what_can_be_separated() -> None:
    rng = Run().rng("perceptron")
    x = rng.integers(0, 2, (200, 6)).astype(np.int8)
    y = (x @ np.array([3, -2, 1, 2, -1, 1]) > 1).astype(np.int8)
    assert (boolean.perceptron(x, y)[100:] == y[100:]).mean() > 0.95
    xor = (x[:, 0] ^ x[:, 1]).astype(np.int8)
    assert (boolean.perceptron(x, xor)[100:] == xor[100:]).mean() < 0.75


def test_nearest_and_majority_by_hand() -> None:
    x = np.array([[0, 0, 0], [1, 1, 1], [0, 0, 1], [1, 1, 0]], np.int8)
    y = np.array([1, 0, 0, 1], np.int8)
    assert boolean.nearest(x, y).tolist() == [0, 1, 1, 0]
    assert boolean.nearest(x, y, among=1).tolist() == [0, 1, 1, 1]
    assert boolean.majority(x, y).tolist() == [0, 1, 0, 0]
