"""The claim about learning in context at a toy size: what is read, what is drawn, how models are marked and judged."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import kirsch2022_gpicl as claim
from tilth.probes.gpicl import Gpicl, examples

TOY = claim.Scale(tasks=(2, 8), length=12, tests=40, depth=1, steps=2, batch=4)
PROBE = Gpicl(classes=TOY.classes, length=TOY.length, tests=TOY.tests)


def test_a_place_shows_its_image_and_the_label_before_never_its_own() -> None:
    x, y = np.ones((1, 3, 2), np.float32), np.array([[1, 0, 1]])
    assert claim.seen(x, y, 2).tolist() == [[[1, 1, 0, 0], [1, 1, 0, 1], [1, 1, 1, 0]]]


def test_batches_have_training_tasks_and_training_images_in_few_dimensions() -> None:
    world = PROBE.build(2, Run())
    x, y = next(claim.batches(PROBE, world, replace(TOY, batch=6), Run()))
    assert x.shape == (6, 12, TOY.size + 2)
    sides = np.array([t["side"] for t in world.more["base"].column("truth").to_pylist()])
    images, digits = (some[sides == "train"] for some in examples(world))
    tasks = [PROBE.task(t["key"]) for t in world.pool.column("truth").to_pylist()]
    for read, labels in zip(x, y, strict=True):
        explained = []
        for projection, permutation in tasks:
            apart = np.abs(images @ projection[: TOY.size].T - read[:, None, : TOY.size]).max(2)
            given = np.array_equal(permutation[digits[apart.argmin(1)]], labels)
            explained.append(bool((apart.min(1) < 1e-4).all()) and given)
        assert any(explained)
        assert (read[1:, TOY.size :].argmax(1) == labels[:-1]).all()


def test_a_model_that_looks_for_the_nearest_image_learns_and_shown_other_labels_does_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def labels(model: object, x: claim.Read) -> claim.Ints:
        told = np.zeros(x.shape[:2], np.int64)
        told[:, :-1] = x[:, 1:, TOY.size :].argmax(2)  # the last label is told nowhere, and decides nothing
        return claim.nearest(x[:, :, : TOY.size], told)

    monkeypatch.setattr(lab, "labels", labels)
    found = claim.measured(8, Run(), TOY)
    assert found.late["new"] == pytest.approx(found.nearest)
    assert found.nearest >= 0.85
    assert found.late["other"] >= 0.85
    assert found.first["new"] <= 0.75
    assert 0.3 <= found.dealt <= 0.7
    assert found.regime == "learns"


def test_the_nearest_is_earlier_in_the_sequence() -> None:
    x = np.array([[[0.0], [5.0], [1.0], [4.0], [4.1]]], np.float32)
    assert claim.nearest(x, np.array([[1, 0, 0, 1, 0]])).tolist() == [[0, 1, 1, 0, 1]]


def test_statements_hold_where_they_should() -> None:
    def arm(first: float, known: float, new: float, dealt: float) -> list[claim.Found]:
        return [
            claim.Found({"seen": known, "new": first, "other": 0.5}, {"seen": known, "new": new + d, "other": new + d},
                        0.9, dealt, "learns") for d in (-0.01, 0.0, 0.01)
        ]  # fmt: skip

    good = claim.statements({16: arm(0.5, 0.95, 0.52, 0.5), 4096: arm(0.5, 0.9, 0.9, 0.5)}, 0.5)
    bad = claim.statements({16: arm(0.5, 0.5, 0.7, 0.5), 4096: arm(0.7, 0.7, 0.7, 0.7)}, 0.5)
    assert [r["holds"] for r in good[:7]] == ["yes"] * 7
    assert [r["holds"] for r in bad[:7]] == ["no"] * 7
    assert ["at most 0.56" in good[0]["paper"], "at least 0.78" in good[2]["paper"]] == [True, True]
