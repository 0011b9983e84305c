"""The claim about longer questions at a toy size: answers are marked, arms get their hints, statements judge."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run, World

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import zhou2023_length_generalization as claim
from tilth.models.dialogues import Dialogues
from tilth.models.transformer import rotations
from tilth.probes.label_sort_hints import LabelSortHints

TOY = claim.Scale(records=60, train=6, test=12, vocabulary=40, items=10, depth=1, steps=1, batch=4)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    worlds: list[World] = []
    build = LabelSortHints.build

    def kept(probe: LabelSortHints, size: int, run: Run) -> World:
        worlds.append(build(probe, size, run))
        return worlds[-1]

    monkeypatch.setattr(LabelSortHints, "build", kept)
    return worlds


@pytest.mark.parametrize("arm", claim.ARMS)
def test_trained_and_longer_questions_are_marked_apart(
    arm: str, built: list[World], monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(model: object, vocab: lab.Vocab, prompts: list[str], longest: int) -> list[str]:
        goal = built[-1].goal
        assert goal is not None
        right = {f" {q} :": f" {a}" for q, a in zip(*lab.asked(goal.holdout), strict=True)}
        said = [right.get(prompt, " 99") for prompt in prompts]
        assert all(vocab.encode_batch([a])[1].size < longest for a in right.values())
        return said

    monkeypatch.setattr(lab, "answers", answers)
    assert claim.marked(arm, Run(), TOY) == {"same": 0.0, "longer": 1.0}


@pytest.mark.parametrize("arm", claim.ARMS)
def test_arms_train_on_what_they_say(arm: str, built: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[str, str]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.extend(zip(prompts, replies, strict=True))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    claim.marked(arm, Run(), TOY)
    assert len(learned) == TOY.records
    assert all((" i" in prompt) == ("hints" in arm) for prompt, _ in learned)
    assert max(built[-1].pool.column("truth.length").to_pylist()) <= TOY.train
    right = [reply.split() for _, reply in learned] == [a.split() for a in lab.asked(built[-1].pool)[1]]
    assert right == (arm != claim.DEALT)


def test_statements_hold_where_they_should() -> None:
    def marks(*pairs: tuple[float, float]) -> dict[str, dict[str, claim.Floats]]:
        seeds = np.array([-0.01, 0.0, 0.01])
        return {arm: {"same": s + seeds, "longer": n + seeds} for arm, (s, n) in zip(claim.ARMS, pairs, strict=True)}

    good = marks((1, 0.95), (1, 0.92), (1, 0.9), (0.9, 0.5), (0.9, 0.1), (1, 0.85), (0.01, 0))
    bad = marks((1, 0.5), (1, 0.4), (1, 0.2), (0.9, 0.8), (0.9, 0.7), (1, 0.5), (0.4, 0))
    assert [r["holds"] for r in claim.statements(good)[:8]] == [*["yes"] * 6, "-", "yes"]
    assert [r["holds"] for r in claim.statements(bad)[:8]] == [*["no"] * 6, "-", "no"]


def test_a_question_that_begins_at_another_place_is_read_alike() -> None:
    """Why the claim has no arm of random places: positions are rotary, so that only distances count."""
    import torch

    model = lab.decoder(2, 50, 128, Run())
    tokens = torch.arange(30).view(1, 30)
    with torch.no_grad():
        for name, p in model.named_parameters():  # an untrained block passes on what it gets, places or not
            if name.endswith("outward.weight"):
                p.normal_(0.0, 0.1, generator=torch.Generator().manual_seed(0))
        here, moved, stretched = (
            model._hidden(model.embedding(tokens), rotations(places, model.config), None, None)
            for places in (torch.arange(30), torch.arange(30) + 90, torch.arange(30) * 2)
        )
    assert torch.allclose(here, moved, atol=1e-4)
    assert not torch.allclose(here, stretched, atol=1e-2)
