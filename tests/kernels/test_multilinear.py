"""Gains against every subset there is; ascent against a world whose best subset is known."""

from __future__ import annotations

from itertools import product

import numpy as np
import numpy.typing as npt
import pytest

from tilth.kernels.multilinear import ascend, gains

Floats = npt.NDArray[np.float64]


def expected(utility: Floats, p: Floats, k: int) -> float:
    """The definition: all subsets, each with its probability and the utility of its first k."""
    total = 0.0
    for there in product((False, True), repeat=utility.size):
        some = np.array(there)
        total += float(np.where(some, p, 1 - p).prod() * utility[some][:k].sum() / k)
    return total


@pytest.mark.parametrize("k", [1, 2, 3])
def test_equals_enumeration(k: int) -> None:
    rng = np.random.default_rng(k)
    for _ in range(10):
        utility, p = rng.random(8), rng.random(8)
        found, value = gains(np.arange(8)[None], utility[None], p, k)
        with_without = [[expected(utility, np.where(np.arange(8) == i, q, p), k) for q in (1.0, 0.0)] for i in range(8)]
        assert found[0] == pytest.approx([a - b for a, b in with_without], abs=1e-9)
        assert value[0] == pytest.approx(expected(utility, p, k), abs=1e-9)


@pytest.mark.parametrize(("depth", "k"), [(1, 1), (1, 4), (3, 5), (12, 4)])
def test_short_and_long_rankings_with_certain_items(depth: int, k: int) -> None:
    rng = np.random.default_rng(depth)
    utility, p = rng.random(depth), rng.choice([0.0, 0.3, 1.0], depth)
    padded = np.concatenate([np.arange(depth), [-1, -1]])
    found, value = gains(padded[None], np.concatenate([utility, [9.0, 9.0]])[None], p, k)
    assert value[0] == pytest.approx(expected(utility, p, k), abs=1e-9)
    first = [expected(utility, np.where(np.arange(depth) == 0, q, p), k) for q in (1.0, 0.0)]
    assert found[0, 0] == pytest.approx(first[0] - first[1], abs=1e-9)
    assert (found[0, depth:] == 0).all()


def test_gain_is_the_slope_of_the_value() -> None:
    """Units that several items share: the sum of their gains is the derivative by the unit's probability."""
    rng = np.random.default_rng(0)
    units, utility, p, h = rng.integers(0, 3, (5, 7)), rng.random((5, 7)), rng.random(3), 1e-5
    found, _ = gains(units, utility, p, 2)
    for unit in range(3):
        up, down = (gains(units, utility, p + s * h * (np.arange(3) == unit), 2)[1].sum() for s in (1, -1))
        assert found[units == unit].sum() == pytest.approx((up - down) / (2 * h), abs=1e-7)


def test_an_item_is_worth_what_it_pushes_out() -> None:
    found, _ = gains([[0, 1, 2]], [[0.5, 0.5, 0.9]], [1.0, 1.0, 1.0], 1)
    assert found[0].tolist() == [0.0, 0.0, 0.0], "leaving one out at full presence sees nothing below the first"
    half, _ = gains([[0, 1, 2]], [[0.5, 0.5, 0.9]], [0.5, 0.5, 0.5], 1)
    assert half[0, 0] < 0.5 * half[0, 2], "positive utility is not importance"


def test_ascent_finds_the_subset() -> None:
    rng = np.random.default_rng(4)
    quality = np.where(np.arange(30) < 10, 0.1, 0.8)
    units = np.argsort(rng.random((400, 30)), axis=1)[:, :15]
    utility = (rng.random((400, 15)) < quality[units]).astype(float)
    found = ascend(units, utility, 31, 3)
    assert found[:10].max() < 0.2
    assert found[10:30].min() > 0.4, "as good as what they push out, so they stay about where they began"
    assert found[30] == 0.5, "never ranked, so still where it began"
    one, two = (ascend(units, utility, 31, 3, steps=2, weights=w * np.ones(400)) for w in (1.0, 7.0))
    assert one == pytest.approx(two)
    ignored = ascend(units, np.where(np.arange(400)[:, None] < 200, 1 - utility, utility), 30, 3,
                     weights=(np.arange(400) >= 200).astype(float))  # fmt: skip
    assert ignored[:10].max() < ignored[10:].min()


def test_nothing_ranked_and_bad_shapes() -> None:
    assert ascend(np.zeros((0, 4), int), np.zeros((0, 4)), 2, 1).tolist() == [0.5, 0.5]
    assert ascend(np.full((2, 4), -1), np.zeros((2, 4)), 0, 1).size == 0
    with pytest.raises(ValueError, match="same matrix"):
        gains([[0]], [[0.0, 1.0]], [1.0], 1)
    with pytest.raises(ValueError, match="no unit 3 among 1"):
        gains([[3]], [[0.0]], [1.0], 1)
