"""The claim about composed skills at a toy size: what each arm is taught, how sentences are marked, what is said."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run, World

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import zhao2024_skill_composition as claim
from tilth.models.dialogues import Dialogues
from tilth.probes.skill_mix import CATEGORIES, SkillMix, shown

TOY = claim.Scale(records=200, items=40, depth=1, tokens=400, batch=4)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    worlds: list[World] = []
    build = SkillMix.build

    def kept(probe: SkillMix, size: int, run: Run) -> World:
        worlds.append(build(probe, size, run))
        return worlds[-1]

    monkeypatch.setattr(SkillMix, "build", kept)
    return worlds


def test_sides_and_numbers_of_skills_are_marked_apart(built: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(model: object, vocab: lab.Vocab, prompts: list[str], longest: int) -> list[str]:
        goal = built[-1].goal
        assert goal is not None
        right = {f" {q}\n": f" {a}" for q, a in zip(*lab.asked(goal.holdout), strict=True)}
        assert all(len(a.split()) + 4 < longest for a in right.values())  # signs and the end cost tokens too
        return [right[p] if p in right and p.count(",") < 4 else " the boat drifts." for p in prompts]

    monkeypatch.setattr(lab, "answers", answers)
    found = claim.marked(3, Run(), TOY)
    assert found == {(s, n): float(s == claim.OPEN and n < 5) for s in (claim.OPEN, claim.HIDDEN) for n in claim.ASKED}


@pytest.mark.parametrize(("most", "dealt"), [(1, False), (2, False), (3, False), (3, True)])
def test_arms_are_taught_what_they_say(
    most: int, dealt: bool, built: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[tuple[str, str]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.extend(zip(prompts, replies, strict=True))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    claim.marked(most, Run(), TOY, dealt)
    wanted = [set(prompt.split("skills: ")[1].strip().split(", ")) for prompt, _ in learned]
    assert {len(skills) for skills in wanted} == set(range(1, most + 1))
    hidden = set(CATEGORIES["figure"])
    assert all(len(skills) == 1 for skills in wanted if skills & hidden)
    assert any(skills & hidden for skills in wanted)
    right = np.mean([skills == shown(reply) for skills, (_, reply) in zip(wanted, learned, strict=True)])
    assert right <= 0.3 if dealt else right == 1.0
    asked = [built[-1].more["hidden"].column("truth.skills").to_pylist(), wanted]
    assert not {frozenset(s) for s in asked[0]} & {frozenset(s) for s in asked[1]}


def test_every_arm_reads_as_many_tokens_of_replies() -> None:
    short, long = claim.updates(600, 100, TOY), claim.updates(1200, 100, TOY)
    assert (short, long) == (17, 8)
    assert short * TOY.batch * 6 == pytest.approx(TOY.tokens, rel=0.05)


def test_statements_hold_where_they_should() -> None:
    def arm(four: float, five: float, hidden: float) -> list[claim.Marks]:
        values = {claim.OPEN: (1.0, 0.9, four, five), claim.HIDDEN: (hidden, hidden, hidden, hidden)}
        return [
            {(side, n): v + d for side, marks in values.items() for n, v in zip(claim.ASKED, marks, strict=True)}
            for d in (-0.01, 0.0, 0.01)
        ]

    rising = {most: arm(0.3 * most, 0.2 * most, 0.1 * most) for most in claim.TRAINED}
    flat = {most: arm(0.5 - 0.01 * most, 0.2, 0.1) for most in claim.TRAINED}
    assert [r["holds"] for r in claim.statements(rising, arm(0.02, 0, 0))[:7]] == ["yes"] * 7
    assert [r["holds"] for r in claim.statements(flat, arm(0.4, 0, 0))[:7]] == ["no"] * 7
