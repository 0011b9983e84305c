"""The claim about SCAN at a toy size: commands are marked by what they mean, and the word was never seen composed."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import zhou2023_data_factors as claim
from tilth.models.dialogues import Dialogues
from tilth.probes.scan import interpret

TOY = claim.Scale(records=200, depth=1, steps=1, batch=4)


@pytest.mark.parametrize("arm", claim.ARMS)
def test_right_outputs_get_1_and_only_the_hidden_ask_for_the_word(arm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def answers(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        asked.append(prompts)
        made = [" ".join(interpret(prompt.strip())) for prompt in prompts]
        assert max(len(text.split()) for text in made) < longest
        return [f" {text}" for text in made]

    monkeypatch.setattr(lab, "answers", answers)
    assert claim.right(claim.ARMS[arm], Run(), TOY) == (1.0, 1.0)
    hidden, like = asked
    assert all("jump" in prompt.split() and prompt != " jump" for prompt in hidden)
    assert not any("jump" in prompt for prompt in like)


@pytest.mark.parametrize("dealt", [False, True])
def test_only_the_control_deals_outputs_to_other_commands(dealt: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[list[str], list[str]]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.append((prompts, replies))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    claim.right(claim.ARMS["20 words"], Run(), TOY, dealt)
    ((prompts, replies),) = learned
    right = [" ".join(interpret(p.strip())) == r.strip() for p, r in zip(prompts, replies, strict=True)]
    assert len(right) == TOY.records
    assert np.mean(right) <= 0.1 if dealt else all(right)


def test_statements_hold_where_they_should() -> None:
    one, many, often, dealt = ([(v, w + d) for d in (0.0, 0.01, 0.02)] for v, w in
                               ((0.0, 0.9), (0.8, 0.95), (0.1, 0.4), (0.0, 0.0)))  # fmt: skip
    good = claim.statements(dict(zip(claim.ARMS, (one, many, often), strict=True)), dealt)
    bad = claim.statements(dict(zip(claim.ARMS, (many, one, many), strict=True)), many)
    assert [r["holds"] for r in good[:5]] == ["yes"] * 5
    assert [r["holds"] for r in bad[:5]] == ["no"] * 5
