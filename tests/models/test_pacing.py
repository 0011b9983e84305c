"""Pacing functions at points where they are known in closed form, and their inverses."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from tilth.models.pacing import Pacing, Shape

SHAPES: tuple[Shape, ...] = get_args(Shape)


@pytest.mark.parametrize("shape", SHAPES)
def test_ends_are_first_and_one(shape: Shape) -> None:
    pacing = Pacing(shape, start=0.2, end=0.7, first=0.15)
    assert pacing.limit([0.0, 0.1, 0.2]).tolist() == pytest.approx([0.15] * 3)
    assert pacing.limit([0.7, 0.8, 1.0]).tolist() == pytest.approx([1.0] * 3)
    assert pacing.limit([1.0]).max() <= 1.0
    whole = Pacing(shape, start=0.0, end=1.0, first=0.0)
    assert whole.limit([0.0, 1.0]).tolist() == pytest.approx([0.0, 1.0], abs=1e-12)


@pytest.mark.parametrize(
    ("shape", "half"),
    [
        ("linear", 0.5),
        ("quad", 0.25),
        ("root", math.sqrt(0.5)),
        ("step", 0.0),
        ("exp", (math.exp(5) - 1) / (math.exp(10) - 1)),
        ("log", 1 + math.log(0.5 + math.exp(-10)) / 10),
    ],
)
def test_the_middle_is_the_closed_form(shape: Shape, half: float) -> None:
    pacing = Pacing(shape, start=0.2, end=0.6, first=0.1)
    assert pacing.limit([0.4])[0] == pytest.approx(0.1 + 0.9 * half, abs=1e-12)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("first", [0.0, 0.1, 1.0])
def test_release_is_the_first_progress_that_allows(shape: Shape, first: float) -> None:
    pacing = Pacing(shape, start=0.1, end=0.9, first=first)
    percentiles = np.linspace(0.001, 1.0, 101)
    at = pacing.release(percentiles)
    assert (np.diff(at) >= 0).all()
    assert (pacing.limit(np.minimum(at + 1e-9, 1.0)) >= percentiles - 1e-6).all()
    before = at > 0
    assert (pacing.limit(at[before] - 1e-6) <= percentiles[before]).all()


def test_limits_rise() -> None:
    for shape in SHAPES:
        assert (np.diff(Pacing(shape).limit(np.linspace(0, 1, 1000))) >= 0).all()


def test_times_is_the_integral() -> None:
    """Linear over the whole reading from d0: ln(1 / d0) / (1 - d0)."""
    assert Pacing("linear", 0.0, 1.0, 0.2).times == pytest.approx(math.log(5) / 0.8, rel=1e-3)
    assert Pacing("step", 0.0, 0.5, 0.25).times == pytest.approx(0.5 * 4 + 0.5, rel=1e-3)
