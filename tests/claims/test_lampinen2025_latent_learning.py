"""The claim about latent learning at a toy size: what is asked was learned one way only, and notes hold what they say.

Answers come from an oracle that reads the notes of its prompt and remembers the trained records word for word.
"""

from __future__ import annotations

import re

import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import lampinen2025_latent_learning as claim
from tilth.models.dialogues import Dialogues
from tilth.probes.latent_learning import TESTS

TOY = claim.Scale(size=200, context=3.0, often=2, depth=1, steps=1, batch=4)


@pytest.fixture
def learned(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    talks = lab.talks

    def seen(vocab: lab.Vocab, prompts: list[str], replies: list[str]) -> Dialogues:
        pairs.extend(zip(prompts, replies, strict=True))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    return pairs


def test_one_who_reads_notes_and_one_who_remembers(
    learned: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def reads(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        said = []
        for prompt in prompts:
            asked = re.search(r"Whom does (\w+) teach", prompt)
            note = asked and re.search(rf"(\w+) is taught by {asked[1]}\.", prompt)
            said.append(note[1] if note else "nobody")
        return said

    def remembers(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        known = dict(learned)
        return [known.get(prompt, "nobody") for prompt in prompts]

    monkeypatch.setattr(lab, "answers", reads)
    assert claim.marked(Run(), TOY, True) == {
        "explicit": 0.0, "latent": 0.0, "in_context": 1.0, "retrieval": 1.0, claim.OTHER: 0.0,
    }  # fmt: skip
    monkeypatch.setattr(lab, "answers", remembers)
    assert claim.marked(Run(), TOY, True) == {
        "explicit": 1.0, "latent": 0.0, "in_context": 0.0, "retrieval": 0.0, claim.OTHER: 0.0,
    }  # fmt: skip


@pytest.mark.parametrize("in_context", [True, False])
def test_facts_are_read_more_often_and_only_one_arm_has_notes(in_context: bool, learned: list[tuple[str, str]]) -> None:
    claim.marked(Run(), TOY, in_context)
    assert any(prompt.startswith("Notes:") for prompt, _ in learned) == in_context
    times = {pair: learned.count(pair) for pair in learned}
    facts = [pair for pair, n in times.items() if n == TOY.often]
    assert set(times.values()) == {1, TOY.often}
    forward = [prompt for prompt, _ in facts if prompt.endswith("is taught by")]
    backward = [prompt for prompt, _ in facts if prompt.startswith("Whom does")]
    assert len(forward) == 2 * len(backward) == len(facts) / 1.5
    assert len(times) - len(facts) == len(forward) * TOY.context  # as many in both arms


def test_a_vocabulary_of_syllables_loses_nothing() -> None:
    text = "Notes:\nkekoga is taught by migase.\n\nWhom does numobe teach? bivola"
    vocab = lab.Vocab.of([text], claim.TOKENS)
    ids = vocab.encode_batch([text])[1]
    assert vocab.decode(ids) == text
    assert ids.size == 1 + 1 + 3 + 1 + 1 + 3 + 1 + 2 + 1 + 1 + 3 + 1 + 1 + 3


def test_other_notes_never_hold_the_answer() -> None:
    one, two = "Notes:\nbivola is taught by numobe.", "Notes:\nkekoga is taught by migase."
    asks = [
        f"{one}\n\nWhom does numobe teach?",
        f"{one}\n\nWhom does zasito teach?",
        f"{two}\n\nWhom does migase teach?",
    ]
    out, wants = claim.swapped(asks, ["bivola", "tivita", "kekoga"])
    assert out[0] == f"{two}\n\nWhom does numobe teach?"
    assert out[2] == f"{one}\n\nWhom does migase teach?"
    assert wants == ["bivola", "tivita", "kekoga"]


def test_statements_hold_where_they_should() -> None:
    def seeds(*marks: float) -> list[dict[str, float]]:
        return [{n: m + d for n, m in zip((*TESTS, claim.OTHER), marks, strict=True)} for d in (0.0, 0.01, 0.02)]

    good = claim.statements(seeds(0.95, 0.0, 0.95, 0.9, 0.0), seeds(0.95, 0.0, 0.1, 0.1, 0.0))
    bad = claim.statements(seeds(0.5, 0.6, 0.6, 0.5, 0.5), seeds(0.95, 0.0, 0.6, 0.6, 0.0))
    assert [r["holds"] for r in good[:8]] == ["yes"] * 8
    assert [r["holds"] for r in bad[:8]] == ["no"] * 8
