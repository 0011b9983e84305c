"""The claim about transfer between lengths at a toy size: who is trained on what, and what the statements judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import kordi2025_difficulty_transfer as claim

TOY = claim.Scale(lengths=(2, 3), size=40, depth=1, steps=1, batch=4, items=10)


def test_trains_on_each_length_on_all_and_on_dealt_replies(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[list[str], list[str]]] = []
    talks = lab.talks

    def seen(vocab: Any, prompts: list[str], replies: list[str]) -> Any:
        learned.append((prompts, replies))
        return talks(vocab, prompts, replies)

    def answer(model: Any, vocab: Any, prompts: list[str], longest: int) -> list[str]:
        return [str(sum(map(int, p.strip("$=").split("+"))))[::-1] + "$" for p in prompts]

    monkeypatch.setattr(lab, "talks", seen)
    monkeypatch.setattr(lab, "answers", answer)
    characters, whole, control = claim.transfer(Run(), TOY)
    assert (characters == 1).all()
    assert whole.shape == (3, 2)
    assert control == 1
    longest = [[max(len(n) for n in p.strip("$=").split("+")) for p in prompts] for prompts, _ in learned]
    assert [sorted(set(one)) for one in longest] == [[2], [3], [2, 3], [3]]
    assert {len(prompts) for prompts, _ in learned} == {TOY.size}
    assert sum(n == 2 for n in longest[2]) == TOY.size // 2
    right = [[answer(None, None, [p], 0)[0] == r for p, r in zip(*pool, strict=True)] for pool in learned]
    assert [all(flags) for flags in right] == [True, True, True, False]
    assert np.mean(right[3]) < 0.2


def verdicts(matrix: Any, control: Any) -> list[str]:
    return [row["holds"] for row in claim.statements(np.array(matrix), np.array(control))]


def test_statements_judge_each_direction_mixed_training_and_the_control() -> None:
    rng = np.random.default_rng(0)
    apart = np.abs(np.subtract.outer(np.arange(4), np.arange(4)))
    falling = np.vstack([0.9 - 0.25 * apart, np.full(4, 0.6)])

    def seeds(one: Any) -> Any:
        return one + 0.01 * rng.normal(size=(5, 5, 4))

    assert verdicts(seeds(falling), np.full(5, 0.3)) == ["yes"] * 6
    assert verdicts(seeds(falling), np.full(5, 0.95))[-1] == "no"
    upward = falling.copy()
    upward[:4][np.triu_indices(4)] = 0.9  # who learned the easier also knows the harder
    assert verdicts(seeds(upward), np.full(5, 0.3))[:4] == ["no", "no", "yes", "yes"]
    worst = falling.copy()
    worst[4, 2] = 0.1
    assert verdicts(seeds(worst), np.full(5, 0.3))[4] == "no"


def test_planted_difficulty_is_recovered_better_from_more_models() -> None:
    many, few = (claim.recovered(Run(), own=True, models=n, items=300) for n in (100, 10))
    assert many > 0.93 > few
