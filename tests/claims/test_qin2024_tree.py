"""The claim about trees at a toy size: answers are told apart by rule, and training never shows what is asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import qin2024_tree as claim
from tilth.models.dialogues import Dialogues

TOY = claim.Scale(records=400, items=40, depth=1, steps=1, batch=4)


def auxiliaries(prompt: str) -> list[str]:
    return [word for word in prompt.split() if word in claim.AUXILIARY]


def by_words(prompt: str) -> str:
    return auxiliaries(prompt)[0]


def by_structure(prompt: str) -> str:
    # A subject of depth 1 has a single clause inside, hence a single auxiliary before the main one.
    return auxiliaries(prompt)[1] if asks_for_structure(prompt) else auxiliaries(prompt)[0]


def asks_for_structure(prompt: str) -> bool:
    before = prompt.split(by_words(prompt))[0].split()
    return "that" in before


@pytest.mark.parametrize(("rule", "expected"), [(by_words, (0.0, 1.0, 1.0)), (by_structure, (1.0, 0.0, 1.0)),
                                                (lambda prompt: "the", (0.0, 0.0, 0.0))])  # fmt: skip
def test_first_words_are_told_apart_by_rule(
    rule: Callable[[str], str], expected: tuple[float, float, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, n: [f" {rule(p)}" for p in prompts])
    marks = claim.followed(claim.ARMS[claim.MUCH], Run(), TOY)
    assert (marks["main"], marks["linear"], marks["known"]) == expected


@pytest.mark.parametrize("arm", claim.ARMS)
def test_no_question_of_training_tells_the_rules_apart(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[str] = []
    talks = lab.talks

    def seen(vocab: Any, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.extend(f"{p}{r}" for p, r in zip(prompts, replies, strict=True))
        data = talks(vocab, prompts, replies)
        assert data.learned.all()  # statements are learned as well
        return data

    monkeypatch.setattr(lab, "talks", seen)
    claim.followed(claim.ARMS[arm], Run(), TOY, at_random=arm == claim.CONTROL)
    questions = [text for text in learned if " QUEST " in text]
    assert len(questions) == len(learned) / 2 == TOY.records / 2
    fronted = [(text.split(" QUEST ")[1].split()[0], text.split(" QUEST ")[0]) for text in questions]
    assert not any(asks_for_structure(prompt) for _, prompt in fronted)
    agree = float(np.mean([word == by_words(prompt) for word, prompt in fronted]))
    assert agree <= 0.4 if arm == claim.CONTROL else agree == 1
    inside = np.mean([asks_for_structure(text) for text in learned if " DECL " in text])
    assert inside == pytest.approx(claim.ARMS[arm].p_center, abs=0.01)


def test_statements_hold_where_they_should() -> None:
    def arm(main: float, linear: float, apart: float = 0.01) -> dict[str, claim.Floats]:
        steps = apart * np.array([-1.0, 0.0, 0.0, 1.0])
        return {"main": main + steps, "linear": linear - steps, "known": np.ones(4)}

    good = (arm(0.1, 0.8), arm(0.4, 0.5, 0.2), arm(0.8, 0.1), arm(0.3, 0.5), arm(0.25, 0.25))
    bad = (arm(0.5, 0.4), arm(0.4, 0.5, 0.0), arm(0.4, 0.5), arm(0.6, 0.3), arm(0.5, 0.4))
    assert [r["holds"] for r in claim.statements(dict(zip(claim.ARMS, good, strict=True)))[:6]] == ["yes"] * 6
    assert [r["holds"] for r in claim.statements(dict(zip(claim.ARMS, bad, strict=True)))[:6]] == ["no"] * 6
