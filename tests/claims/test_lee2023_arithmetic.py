"""The claim about sums at a toy size: replies are marked in their spelling, and the statements judge as they say."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import lee2023_arithmetic as claim
from tilth.models.dialogues import Dialogues

TOY = claim.Scale(depth=1, steps=1, batch=4, items=20)


@pytest.mark.parametrize("spelling", get_args(claim.Spelling))
def test_right_replies_get_1_and_replies_in_another_spelling_do_not(
    spelling: claim.Spelling, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(prompt: str, backwards: bool) -> str:
        a, b = prompt.strip("$=").split("+")
        total = str(int(a) + int(b))
        return f"{total[::-1]}$" if backwards else f"0C0 {total}"

    def said(backwards: bool) -> float:
        monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, n: [answer(p, backwards) for p in prompts])
        return claim.right(spelling, 30, Run(), TOY)

    assert said(spelling == "reversed") == 1.0
    assert said(spelling != "reversed") <= 0.4  # a sum may read the same both ways


def test_longer_spellings_cost_more_tokens() -> None:
    plain, turned, pad = (claim.tokens(spelling, TOY) for spelling in claim.SPELLINGS)
    assert turned == plain + 2
    assert pad > plain + 6


@pytest.mark.parametrize("dealt", [False, True])
def test_only_the_control_deals_replies_to_other_sums(dealt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[list[str], list[str]]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.append((prompts, replies))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    claim.right("plain", 100, Run(), TOY, dealt)
    ((prompts, replies),) = learned
    right = [sum(map(int, p.strip("=").split("+"))) == int(r) for p, r in zip(prompts, replies, strict=True)]
    assert len(right) == 100
    assert np.mean(right) <= 0.1 if dealt else all(right)


def test_statements_hold_where_they_should() -> None:
    high, low = np.array([0.97, 0.98, 0.99]), np.array([0.3, 0.31, 0.32])
    exact: dict[claim.Spelling, dict[int, claim.Floats]] = {
        "plain": {500: low, 1000: low},
        "reversed": {500: low, 1000: high - 0.01},
        "scratchpad": {500: high, 1000: high},
    }
    assert [r["holds"] for r in claim.statements(exact, low * 0)] == ["yes"] * 6
    exact["reversed"] = exact["plain"]
    exact["scratchpad"] = exact["plain"]
    assert [r["holds"] for r in claim.statements(exact, low)] == ["no"] * 6
