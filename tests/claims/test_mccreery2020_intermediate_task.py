"""The claim about an intermediate task in miniature: what shared words tell, the phases, and the judgement."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import mccreery2020_intermediate_task as claim

TOY = claim.Scale(concepts=8, categories=3, questions=60, pairs=20, test=40, epochs=2, batch=8, width=32)


def concepts(text: str) -> list[str]:
    return sorted(word.partition("n")[0] for word in text.split() if word.startswith("c"))


def test_shared_words_tell_nothing_and_concepts_everything() -> None:
    rng = Run().rng("test")
    scale = claim.Scale()
    made = claim.of_questions(rng, scale, claim.triples(rng, scale, 4000, set()))
    sides = [text.split("\n\n") for text in made["text"]]
    same = np.array(made["label"]) == "same"
    assert same.mean() == 0.5
    assert [concepts(a) == concepts(b) for a, b in sides] == same.tolist()
    shared = np.array([len({w for w in a.split() if w[0] == "c"} & {*b.split()}) for a, b in sides])
    assert {*shared.tolist()} == {0, 1, 2}
    assert abs(shared[same].mean() - shared[~same].mean()) < 0.1
    words = np.array([len({*a.split()} & {*b.split()}) for a, b in sides])
    assert abs(words[same].mean() - words[~same].mean()) < 0.15


def test_answers_are_about_what_is_asked_and_no_tested_triple_is_seen() -> None:
    rng = Run().rng("test")
    tested = claim.triples(rng, TOY, 10, set())
    held = {tuple(sorted(one)) for one in tested.tolist()}
    rest = claim.triples(rng, TOY, 200, held)
    assert not held & {tuple(sorted(one)) for one in rest.tolist()}
    for far in (False, True):
        for turns in claim.asked(rng, TOY, rest, far).column("messages").to_pylist():
            question, answer = (turn["content"] for turn in turns)
            assert {*concepts(question)} == {*concepts(answer)}
            assert all((int(c[1:]) >= TOY.concepts) == far for c in concepts(question))
            assert len(concepts(answer)) == 6


def test_all_arms_run() -> None:
    found = claim.measured(Run(), TOY)
    assert {*claim.ALONE, *claim.FIRST} < {*found}
    assert all(0 <= found[name] <= 1 for name in (*claim.ALONE, *claim.FIRST))


def test_statements_hold_where_they_should() -> None:
    def holds(first: float, other: float, easy: float, dealt: float, turned: float) -> list[str]:
        found = dict.fromkeys(claim.ALONE, 0.6) | {f"answers, {name}": 0.5 for name in claim.FIRST}
        found |= dict(zip(claim.FIRST, (first, dealt, easy, other, turned), strict=True))
        return [row["holds"] for row in claim.statements([found] * 3)[:5]]

    assert holds(0.7, 0.6, 0.65, 0.6, 0.61) == ["yes"] * 5
    assert holds(0.64, 0.65, 0.66, 0.63, 0.7) == ["no"] * 5
