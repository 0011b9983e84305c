"""The bits a model holds: exact at both ends, additive in between, and never above the ceiling."""

from __future__ import annotations

from math import log, log2

import numpy as np
import pytest

from tilth.models.knowledge import NAMES, VALUES, bits, ceiling, chunk_bits, chunk_ceiling


def test_the_spaces_are_the_papers() -> None:
    assert NAMES == 160_000_000
    assert log2(VALUES) == pytest.approx(47.59, abs=0.01)


@pytest.mark.parametrize("people", [1, 50, 1000, 100_000])
def test_even_guesses_hold_nothing_and_a_perfect_lookup_everything(people: int) -> None:
    assert bits(log(NAMES), log(VALUES), people).total == pytest.approx(0.0, abs=1e-9 * people)
    perfect = bits(log(people), 0.0, people)
    assert perfect.total == pytest.approx(ceiling(people), rel=1e-12)
    assert perfect.value == pytest.approx(people * 47.59, rel=1e-3)
    assert perfect.name == pytest.approx(people * (log2(NAMES) - log2(people)), rel=1e-12)


def test_a_known_attribute_is_worth_its_logarithm() -> None:
    without = bits(log(100), log(300), 100).value
    assert ceiling(100) - bits(log(100), log(300), 100).total == pytest.approx(100 * log2(300))
    assert bits(log(100), 0.0, 100).value - without == pytest.approx(100 * log2(300))
    assert bits(log(NAMES) + 1, log(VALUES), 10).name == pytest.approx(-10 / log(2))


def test_no_distribution_over_names_beats_the_ceiling() -> None:
    rng = np.random.default_rng(0)
    for sharpness in (0.1, 1.0, 100.0):
        p = (
            rng.dirichlet(np.full(200, sharpness)) + 1e-300
        )  # all the mass on the people there are: no better is possible
        p1 = float(-np.log(p).mean())
        assert bits(p1, 0.0, 200).total <= ceiling(200) + 1e-6


def test_chunks() -> None:
    shape = {"people": 64, "attributes": 3, "chunks": 2, "distinct": 8, "length": 4, "alphabet": 16}
    names = 2**20
    by_hand = 64 * (20 - 6) + 64 * 3 * 2 * 3 + 3 * 8 * (4 * 4 - 3)  # names, values, lists
    assert chunk_ceiling(**shape, names=names) == pytest.approx(by_hand)
    assert chunk_bits(log(64), 0.0, 0.0, **shape, names=names) == pytest.approx(by_hand)
    blind = chunk_bits(log(64), 2 * log(8), 0.0, **shape, names=names)  # knows the lists, nothing of who has what
    assert by_hand - blind == pytest.approx(64 * 3 * 2 * 3)
    assert by_hand - chunk_bits(log(64), 0.0, log(2), **shape, names=names) == pytest.approx(3 * 8)
