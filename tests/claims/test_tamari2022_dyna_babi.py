"""The claim about stories at a toy size: exact answers count, and no asked combination is trained on."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tilth.core import Run, World

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import tamari2022_dyna_babi as claim
from tilth.models.dialogues import Dialogues
from tilth.probes.dyna_babi import DynaBabi

TOY = claim.Scale(records=110, items=28, depth=1, steps=1, batch=4)


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[World]:
    worlds: list[World] = []
    build = DynaBabi.build

    def kept(probe: DynaBabi, size: int, run: Run) -> World:
        worlds.append(build(probe, size, run))
        return worlds[-1]

    monkeypatch.setattr(DynaBabi, "build", kept)
    return worlds


def test_known_and_new_stories_are_marked_apart(built: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    def answers(model: object, vocab: lab.Vocab, prompts: list[str], longest: int) -> list[str]:
        goal = built[-1].goal
        assert goal is not None
        known, new = (dict(zip(*lab.asked(pool), strict=True)) for pool in (goal.target, goal.holdout))
        said = []
        for prompt in prompts:
            story = prompt.strip()
            right = next((a for q, a in known.items() if q.replace("\n", " ") == story), "wrong")
            assert right == "wrong" or vocab.encode_batch([f" {right}"])[1].size < longest
            said.append(f" {right}")
        assert len(new) == len(prompts)
        return said

    monkeypatch.setattr(lab, "answers", answers)
    assert claim.marked(claim.CLASSICAL, Run(), TOY) == {"known": 1.0, "new": 0.0}


@pytest.mark.parametrize("arm", claim.ARMS)
def test_arms_train_on_what_they_say(arm: str, built: list[World], monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[tuple[str, str]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.extend(zip(prompts, replies, strict=True))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    claim.marked(arm, Run(), TOY)
    (world,) = built
    assert world.goal is not None
    sources = [pool.column("source").to_pylist() for pool in (world.pool, world.goal.holdout, world.goal.target)]
    assert not set(sources[0]) & set(sources[1])
    further = sum(source not in sources[2] for source in sources[0])
    if arm == claim.DIVERSE:  # a few of those drawn are known by chance
        assert 0.9 * TOY.records <= further <= TOY.records
        assert sum(world.pool.column("truth.diverse").to_pylist()) == TOY.records
    else:
        assert further == 0
    assert len(learned) == TOY.records * (2 if arm in (claim.DOUBLED, claim.DIVERSE) else 1)
    right = [reply.strip() == answer for (_, reply), answer in zip(learned, lab.asked(world.pool)[1], strict=True)]
    assert sum(right) < 0.5 * len(right) if arm == claim.DEALT else all(right)


def test_dealing_keeps_the_replies_of_a_kind() -> None:
    kinds = ["where", "count"] * 10
    says = [f"{kind}{i}" for i, kind in enumerate(kinds)]
    out = claim.dealt(says, kinds, Run())
    assert out != says
    assert Counter(out) == Counter(says)
    assert all(reply.startswith(kind) for reply, kind in zip(out, kinds, strict=True))


def test_statements_hold_where_they_should() -> None:
    def marks(*pairs: tuple[float, float]) -> dict[str, dict[str, claim.Floats]]:
        seeds = np.array([-0.01, 0.0, 0.005])
        return {arm: {"known": k + seeds, "new": n + seeds} for arm, (k, n) in zip(claim.ARMS, pairs, strict=True)}

    good = marks((0.98, 0.4), (0.98, 0.42), (0.97, 0.6), (0.2, 0.2))
    bad = marks((0.8, 0.75), (0.9, 0.8), (0.7, 0.72), (0.5, 0.5))
    assert [r["holds"] for r in claim.statements(good)[:6]] == ["yes"] * 6
    assert [r["holds"] for r in claim.statements(bad)[:6]] == ["no"] * 6
