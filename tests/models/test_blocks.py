"""Blocks hold near rows, and orders inside them merge into one."""

from __future__ import annotations

import numpy as np

from tilth.models.blocks import blocks, merged


def test_blocks_are_even_and_near() -> None:
    rng = np.random.default_rng(0)
    centre = rng.standard_normal((8, 16)) * 5
    group = rng.integers(0, 8, 4000)
    values = (centre[group] + rng.standard_normal((4000, 16))).astype(np.float32)
    found = blocks(values, 500, np.random.default_rng(1))
    assert sorted(np.concatenate(found)) == list(range(4000))
    assert all(400 <= rows.size <= 500 for rows in found)
    spread = np.mean([values[rows].var(0).sum() for rows in found])
    at_random = np.mean([values[rows].var(0).sum() for rows in np.split(rng.permutation(4000), 8)])
    assert spread < 0.5 * at_random
    assert all((a == b).all() for a, b in zip(found, blocks(values, 500, np.random.default_rng(1)), strict=True))


def test_equal_rows_are_cut_too() -> None:
    assert [r.size for r in blocks(np.zeros((100, 3), np.float32), 30, np.random.default_rng(0))] == [25] * 4


def test_merged_goes_by_worth() -> None:
    worth = np.array([5.0, 1.0, 4.0, 9.0, 2.0])
    order, gain = merged(
        [np.array([0, 1, 2]), np.array([3, 4])],
        lambda rows: (np.argsort(-worth[rows]), np.sort(worth[rows])[::-1]),
        last=4,
    )
    assert order.tolist() == [3, 0, 2, 4]
    assert gain.tolist() == [9, 5, 4, 2]
