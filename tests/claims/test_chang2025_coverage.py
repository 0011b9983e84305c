"""The claim about coverage at a toy size: what is thinned out, who counts as covered, and what is made of the marks."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import chang2025_coverage as claim
from tilth.models.dialogues import Dialogues


def test_rare_pairs_keep_one_context_and_the_others_all() -> None:
    prompts = [f"t{a} t{b} t{c}" for a in range(4) for b in range(4) for c in range(5)]
    kept, out = claim._thinned(prompts, claim.Scale(tokens=5, rare=0.25), Run().rng("rare"))
    counts = np.unique([prompts[i].rsplit(" ", 1)[0] for i in kept], return_counts=True)[1]
    assert sorted(counts.tolist()) == [1] * 4 + [5] * 12
    assert sorted([*kept, *out]) == list(range(len(prompts)))


def test_marks_are_split_by_coverage(monkeypatch: pytest.MonkeyPatch) -> None:
    scale = claim.Scale(tokens=8, steps=1, batch=8)
    monkeypatch.setattr(lab, "answers", lambda model, vocab, prompts, longest: [" t0" for _ in prompts])
    found = claim.right(Run(), scale)
    assert 0.2 < found["share"] < 0.95
    total = found["share"] * found["covered"] + (1 - found["share"]) * found["uncovered"]
    assert 0 < total < 0.4  # a constant answer is right about once in as many times as there are tokens


def test_the_control_is_asked_the_same_and_learns_other_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[list[str]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        learned.append([p + r for p, r in zip(prompts, replies, strict=True)])
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    scale = claim.Scale(tokens=8, steps=1, batch=8)
    real, dealt = (claim.right(Run(), scale, dealt) for dealt in (False, True))
    assert real["share"] == dealt["share"]
    same = len(set(learned[0]) & set(learned[1])) / len(learned[0])
    assert 0.02 <= same <= 0.3  # a dealt answer is the right one by chance, once in 8 times


def test_statements_hold_where_they_should() -> None:
    good = {"covered": 0.97, "uncovered": 0.1, "rank": 0.5, "share": 0.5, "0-1": 0.1, "2-4": 0.5, "5-7": 0.9, "8-8": 1}
    bad = {**good, "covered": 0.3, "uncovered": 0.3, "rank": 0.0}
    said = [[r["holds"] for r in claim.statements([f, f, f], np.zeros(3), 1 / 12)[:4]] for f in (good, bad)]
    assert said == [["yes"] * 4, ["no"] * 4]
