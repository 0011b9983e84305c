"""The claim about expressions at a toy size: answers are marked by `re`, and no asked language is trained on."""

from __future__ import annotations

import re
from collections import defaultdict

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import finlayson2022_regset as claim
from tilth.models.dialogues import Dialogues

TOY = claim.Scale(expressions=60, items=4, depth=1, steps=1, batch=4)
KINDS = ("new", *claim.HARDER)


def parsed(prompt: str) -> tuple[str, str]:
    regex, string = prompt.split("\n")
    return regex.partition(":")[2].replace(" ", ""), string.partition(":")[2].replace(" ", "")


def matched(prompt: str) -> str:
    regex, string = parsed(prompt)
    return " yes" if re.fullmatch(regex, string) else " no"


def test_right_answers_solve_every_kind_and_constants_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, n: [matched(p) for p in prompts])
    marks = claim.marked(Run(), TOY)
    assert all(marks[f"{what}: {kind}"] == 1 for what in ("right", "solved") for kind in KINDS)
    assert marks["size"] == marks["memory"] == 0
    monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, n: [" yes"] * len(prompts))
    marks = claim.marked(Run(), TOY)
    assert all((marks[f"right: {kind}"], marks[f"solved: {kind}"]) == (0.5, 0) for kind in KINDS)


def test_errors_on_large_languages_show_in_the_correlation(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails_where_much_matches(model: object, vocab: object, prompts: list[str], n: int) -> list[str]:
        sizes = {p: len(claim.language(parsed(p)[0])[1]) for p in prompts}
        return [" no" if sizes[p] > np.median(list(sizes.values())) else matched(p) for p in prompts]

    monkeypatch.setattr(lab, "answers", fails_where_much_matches)
    assert claim.marked(Run(), TOY)["size"] < -0.3


@pytest.mark.parametrize("dealt", [False, True])
def test_no_asked_language_is_trained_on_and_only_the_control_deals(
    dealt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[str, str]] = []
    asked: list[str] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.extend(zip(prompts, replies, strict=True))
        return talks(vocab, prompts, replies)

    def answers(model: object, vocab: object, prompts: list[str], n: int) -> list[str]:
        asked.extend(prompts)
        return [" no"] * len(prompts)

    monkeypatch.setattr(lab, "talks", seen)
    monkeypatch.setattr(lab, "answers", answers)
    claim.marked(Run(), TOY, dealt)
    languages = [{claim.language(parsed(p)[0]) for p in prompts} for prompts in (asked, [p for p, _ in learned])]
    assert not languages[0] & languages[1]
    right = np.mean([matched(p) == reply for p, reply in learned])
    assert 0.3 < right < 0.8 if dealt else right == 1
    strings = defaultdict(set)
    for prompt, _ in learned:
        strings[parsed(prompt)[0]].add(parsed(prompt)[1])
    assert len(learned) > 800  # only the few asked languages were left out
    assert len(strings) > 40


def test_statements_hold_where_they_should() -> None:
    steps = (0.0, 0.01, 0.02)
    good = [{"solved: new": 0.7 + d, "right: new": 0.9 + d, "size": -0.5 + d, "memory": -0.4 + d,
             **{f"solved: {kind}": 0.2 for kind in claim.HARDER}} for d in steps]  # fmt: skip
    bad = [{"solved: new": 0.1 + d, "right: new": 0.6 + d, "size": 0.1 - d, "memory": 0.2,
            **{f"solved: {kind}": 0.12 for kind in claim.HARDER}} for d in steps]  # fmt: skip
    judged = 5 + len(claim.HARDER)
    assert [r["holds"] for r in claim.statements(good, np.array([0.5, 0.51, 0.52]))[:judged]] == ["yes"] * judged
    assert [r["holds"] for r in claim.statements(bad, np.array([0.7, 0.71, 0.72]))[:judged]] == ["no"] * judged
