"""The claim about biographies at a toy size: what is read, what is asked, and what the control takes away."""

from __future__ import annotations

import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import allenzhu2023_biographies as claim

TOY = claim.Scale(people=6, tokens=15_000, steps=40)


def test_what_was_read_and_asked_is_known() -> None:
    found = claim.measured(claim.SINGLE, Run(), TOY)
    assert found.recalled >= 0.9
    assert found.trained >= 0.9
    assert found.others <= 0.5  # three people to learn questions from are too few


def test_answers_are_those_about_the_people_only_read_of(monkeypatch: pytest.MonkeyPatch) -> None:
    world = claim.MANY.build(30, Run())
    known: dict[str, str] = {}
    for pool in world.more.values():
        known |= dict(zip(*(lab.asked(pool)), strict=True))

    def answers(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        return [f" {known.get(prompt.strip(), '')}" for prompt in prompts]

    monkeypatch.setattr(lab, "answers", answers)
    found = claim.measured(claim.MANY, Run(), claim.Scale(people=6, tokens=500, steps=1))
    assert (found.trained, found.others, found.birth_date) == (1.0, 1.0, 1.0)
    assert found.recalled == 0.0  # cues out of texts are no questions


def test_the_control_reads_as_well_and_is_asked_the_same() -> None:
    scale = claim.Scale(people=4, tokens=10_000, steps=1)
    assert claim.measured(claim.SINGLE, Run(), scale, dealt=True).recalled >= 0.75


def test_the_control_tells_every_fact_of_another_person() -> None:
    world = claim.MANY.build(30, Run())
    texts, truth = world.pool.column("text").to_pylist(), world.pool.column("truth").to_pylist()
    dealt = claim._dealt(texts, truth)
    names = {row["name"] for row in truth}
    for text, row in zip(dealt, truth, strict=True):
        assert row["name"] not in text
        assert sum(name in text for name in names) == 1
        assert row["employer"] in text


def test_statements_hold_where_they_should() -> None:
    low, high = claim.Found(1.0, 1.0, 0.05, 0.0), claim.Found(1.0, 1.0, 0.9, 0.8)
    weak = claim.Found(0.5, 0.5, 0.3, 0.1)
    good = claim.statements([low] * 3, [high] * 3, [claim.Found(1.0, 1.0, 0.0, 0.0)] * 3)
    bad = claim.statements([weak] * 3, [weak] * 3, [weak] * 3)
    assert [r["holds"] for r in good[:5]] == ["yes"] * 5
    assert [r["holds"] for r in bad[:5]] == ["no"] * 5
