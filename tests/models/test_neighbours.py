"""Neighbours against a full sort, over block borders, and what the lists of a k-means miss."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tilth.models import neighbours

Reals = npt.NDArray[np.float32]


def clumps(n: int, width: int, groups: int, seed: int) -> Reals:
    rng = np.random.Generator(np.random.PCG64(seed))
    centres = rng.standard_normal((groups, width))
    values = centres[rng.integers(0, groups, n)] + rng.standard_normal((n, width))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_exact_is_a_full_sort(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "BLOCK", block)
    values = clumps(150, 12, 5, 0)
    values[77] = values[3]  # an equal row is a neighbour, the row itself is not
    places, similar = neighbours.exact(values, 9)
    full = values.astype(float) @ values.T.astype(float)
    np.fill_diagonal(full, -9)
    best = np.sort(full, axis=1)[:, ::-1][:, :9]
    assert similar == pytest.approx(best, abs=1e-5)
    assert np.take_along_axis(full, places.astype(int), 1) == pytest.approx(best, abs=1e-5)
    assert places[3, 0] == 77
    assert places[77, 0] == 3
    assert (places != np.arange(150)[:, None]).all()
    assert all(len({*row}) == 9 for row in places.tolist())


def test_too_few_rows_end_in_nothing() -> None:
    places, similar = neighbours.exact(np.eye(2, dtype=np.float32), 3)
    assert places.tolist() == [[1, -1, -1], [0, -1, -1]]
    assert np.isneginf(similar[:, 1:]).all()
    assert neighbours.exact(np.zeros((1, 2), np.float32), 2)[0].tolist() == [[-1, -1]]


def test_lists_find_most_of_what_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(neighbours, "LIST", 50)
    values = clumps(2000, 32, 20, 1)
    true, _ = neighbours.exact(values, 10)
    rng = np.random.Generator(np.random.PCG64(0))
    found, similar = neighbours.listed(values, 10, rng, probes=8)
    recall = np.mean([len({*a} & {*b}) / 10 for a, b in zip(true.tolist(), found.tolist(), strict=True)])
    assert recall > 0.9
    assert np.take_along_axis(values @ values.T, found.astype(int), 1) == pytest.approx(similar, abs=1e-5)
    few, _ = neighbours.listed(values, 10, np.random.Generator(np.random.PCG64(0)), probes=1)
    less = np.mean([len({*a} & {*b}) / 10 for a, b in zip(true.tolist(), few.tolist(), strict=True)])
    assert less < recall, "more probes find more"
    every, _ = neighbours.listed(values, 10, np.random.Generator(np.random.PCG64(0)), probes=1000)
    assert (np.sort(every, axis=1) == np.sort(true, axis=1)).mean() > 0.999
