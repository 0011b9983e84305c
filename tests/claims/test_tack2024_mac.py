"""The claim about a memory of documents: its world by an independent reader, its arms, how its statements judge."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import tack2024_mac as claim

TOY = claim.Scale(values=4, stories=80, few=2, many=2, small=2, bank=8, new=16, part=4, looks=2, depth=1)


def told(document: str) -> tuple[str, str, str]:
    """Name, kind and value of a sentence, by pattern alone."""
    found = re.fullmatch(r"([a-z]{6}) (lives in|works as|eats|plays) ([A-Z]+\d+)", document)
    assert found is not None, document
    kinds = {"lives in": "home", "works as": "trade", "eats": "dish", "plays": "game"}
    return found[1], kinds[found[2]], found[3]


def test_each_question_is_answered_by_its_own_sentence_alone() -> None:
    facts = claim.Facts.drawn(300, 40, np.random.default_rng(0), ["bababa"])
    names = set()
    for document, question, answer in zip(facts.documents, facts.questions, facts.answers, strict=True):
        name, kind, value = told(document)
        assert question == f"{kind} of {name}? "
        assert answer == value
        assert value.startswith(kind.upper())
        names.add(name)
    assert len(names) == 300, "one fact about each person"
    assert "bababa" not in names
    assert len(set(facts.answers)) > 100
    assert claim.stories(facts)[3] == f"{facts.documents[3]}. {facts.questions[3]}{facts.answers[3]}"


def test_people_of_the_stream_are_met_nowhere_before(monkeypatch: pytest.MonkeyPatch) -> None:
    apart = []
    drawn = claim.Facts.drawn.__func__  # type: ignore[attr-defined]

    def noted(
        cls: type[claim.Facts], count: int, values: int, rng: np.random.Generator, known: Sequence[str] = ()
    ) -> object:
        made = drawn(cls, count, values, rng, known)
        apart.append({told(document)[0] for document in made.documents})
        return made

    monkeypatch.setattr(claim.Facts, "drawn", classmethod(noted))
    found = claim.measured(Run(), TOY)
    assert [len(names) for names in apart] == [16, 80, 32]
    assert not apart[0] & (apart[1] | apart[2])
    assert set(found) == {"MAC", "control: memories of one", "rivals"}
    assert {name for arm in found.values() for name in arm} == {*claim.LABELS, "order"}
    assert all(np.isfinite(value) for arm in found.values() for value in arm.values())
    assert found["MAC"]["order"] < 1e-4
    shares = {
        name: value
        for arm in found.values()
        for name, value in arm.items()
        if name not in ("remembering", "tuning", "tuning rate")
    }
    assert all(0 <= value <= 1 for value in shares.values())


def test_statements_hold_where_they_should() -> None:
    fine = {"mac": 0.8, "part": 0.85, "lost": 0.02, "late": 0.01, "forgotten": 0.6, "moved": 1e-6, "one": 0.05}

    def holds(**changed: float) -> list[str]:
        v = {**fine, **changed}
        told = dict.fromkeys(claim.LABELS, 0.5)
        first = 0.9 - v["lost"]
        memory = {
            **told, "all": v["mac"], "part": v["part"], "first, alone": 0.9, "first, of all": first,
            "last, of all": first + v["late"], "order": v["moved"],
        }  # fmt: skip
        rivals = {**told, "tuned, then": 1.0, "tuned, end": 1.0 - v["forgotten"]}
        found = {"MAC": memory, "control: memories of one": {**memory, "all": v["one"]}, "rivals": rivals}
        return [row["holds"] for row in claim.statements([found] * 3)[:7]]

    assert holds() == ["yes"] * 7
    bad = {"mac": 0.5, "part": 0.95, "lost": 0.1, "late": 0.1, "forgotten": 0.1, "moved": 1e-2, "one": 0.4}
    for i, (name, value) in enumerate(bad.items()):
        rest = {"part": 0.5} if name == "mac" else {}
        assert [k for k, said in enumerate(holds(**{name: value}, **rest)) if said == "no"] == [i], name


def test_more_people_than_names_are_refused() -> None:
    with pytest.raises(ValueError, match="216,000 names"):
        claim.Facts.drawn(216_001, 4, np.random.default_rng(0))
