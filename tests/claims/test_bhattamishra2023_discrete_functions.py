"""The claim about Boolean functions at a toy size: what is read, which places count, and how the statements judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import bhattamishra2023_discrete_functions as claim
from tilth.models.boolean import elimination, majority
from tilth.probes.discrete_functions import DiscreteFunctions

TOY = claim.Scale(bits=6, points=16, prompts=300, depth=1, steps=2, batch=4)
PROBE = DiscreteFunctions(bits=6, points=16, teaching=0.5)


def test_a_place_shows_its_bits_and_the_label_before_never_its_own() -> None:
    x, y = np.array([[0, 1], [1, 1], [0, 0]], np.int8), np.array([1, 0, 1], np.int8)
    (read,) = claim.seen([(x, y)])
    assert read.tolist() == [[-1, 1, 0, 0], [1, 1, 0, 1], [-1, -1, 1, 0]]


def test_a_model_that_eliminates_gets_what_elimination_gets(monkeypatch: pytest.MonkeyPatch) -> None:
    test = PROBE.build(300, Run()).more["test"]
    points, taught = claim._points(test), test.column("truth.taught").to_pylist()

    def labels(model: object, x: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> object:
        bits = (x[:, :, :6] > 0).astype(np.int8)
        before = x[:, 1:, 6:].argmax(2).astype(np.int8)  # the last label is told nowhere, and decides nothing
        told = np.concatenate([before, np.zeros((len(x), 1), np.int8)], 1)
        return np.stack([elimination(b, t) for b, t in zip(bits, told, strict=True)])

    monkeypatch.setattr(lab, "labels", labels)
    found = claim.measured(PROBE, Run(), TOY)
    assert found.late == found.exact
    assert found.taught == 1.0  # after teaching, one conjunction is left
    assert found.random < 1.0
    plain = [pair for pair, length in zip(points, taught, strict=True) if length == 0]
    assert 0 < len(plain) < len(points)
    assert found.frequent == pytest.approx(np.mean([(majority(x, y) == y)[-4:].mean() for x, y in plain]), abs=1e-9)
    assert found.dealt < found.late


def test_places_after_teaching_are_compared_with_the_same_places() -> None:
    hits = np.zeros((3, 12), bool)
    hits[0, 4:9] = True  # taught in the first four points
    hits[1, 4:8] = True
    after, same = claim._after(hits, np.array([4, 0, 0]))
    assert (after, same) == (1.0, 0.4)
    assert np.isnan(claim._after(hits, np.zeros(3, np.int64))).all()


def test_parities_are_told_by_elimination_over_gf2() -> None:
    found = claim.measured(DiscreteFunctions(family="parity", bits=6, points=40), Run(), replace(TOY, points=40))
    assert found.exact == 1.0
    assert 0.3 <= found.simple <= 0.7


def test_statements_hold_where_they_should() -> None:
    def arm(late: float, taught: float, random: float, dealt: float) -> list[claim.Found]:
        return [claim.Found(late + d, late, 0.8, 0.7, taught + d, random, dealt, 0.5) for d in (-0.002, 0.0, 0.002)]

    good = claim.statements(arm(0.97, 0.99, 0.85, 0.5), [replace(f, exact=1.0) for f in arm(0.5, 0.0, 0.0, 0.5)])
    bad = claim.statements(arm(0.7, 0.7, 0.95, 0.7), arm(0.9, 0.0, 0.0, 0.5))
    assert [r["holds"] for r in good[:9]] == ["yes"] * 9
    assert [r["holds"] for r in bad[:9]] == ["no"] * 9
