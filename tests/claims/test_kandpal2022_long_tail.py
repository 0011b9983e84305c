"""The claim about the long tail at a toy size: what is read, left out, asked and shown, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run, World

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import kandpal2022_long_tail as claim
from tilth.models.optim import Options
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts
from tilth.probes.long_tail import LongTail

TOY = claim.Scale(documents=400, top=70, depth=1, tokens=200, batch=4)


def truth_of(world: World) -> list[dict[str, object]]:
    assert world.goal is not None
    return [*world.goal.holdout.column("truth").to_pylist()]


@pytest.fixture
def texts(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What each model reads; nothing is trained."""
    made: list[list[str]] = []

    def read(model: Decoder, texts: Texts, tokens: int, run: Run, options: Options) -> None:
        made.append([])
        offsets, ids = texts
        for i in range(offsets.size - 1):
            made[-1].append(vocabs[-1].decode(ids[offsets[i] : offsets[i + 1]]))

    vocabs: list[lab.Vocab] = []
    build = lab.Vocab.of

    def of(texts: list[str], pattern: str) -> lab.Vocab:
        vocabs.append(build(texts, pattern))
        return vocabs[-1]

    monkeypatch.setattr(lab.Vocab, "of", of)
    monkeypatch.setattr(lab, "read", read)
    return made


def test_counts_are_those_of_the_world() -> None:
    world = LongTail(top=70).build(400, Run())
    assert world.goal is not None
    found = claim.counts(world.pool, world.goal.holdout, Run())
    assert found.tolist() == [truth["frequency"] for truth in truth_of(world)]


def test_answers_are_marked_and_stand_in_no_lesson(texts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    world = LongTail(top=70).build(400, Run())
    assert world.goal is not None
    right = dict(zip(*lab.asked(world.goal.holdout), strict=True))
    shown: list[list[str]] = []

    def answers(model: object, vocab: lab.Vocab, prompts: list[str], longest: int) -> list[str]:
        shown.append(prompts)
        if len(shown) == 2:  # with a document: the answer is there to be read
            said = [f" {right[q]}" for q in (p[p.rindex(". ") + 2 :] for p in prompts)]
            assert all(answer in prompt for answer, prompt in zip(said, prompts, strict=True))
            return said
        return [f" {right[q]}" if i % 2 else " nobody" for i, q in enumerate(p[1:] for p in prompts)]

    monkeypatch.setattr(lab, "answers", answers)
    closed, opened = claim.right(world, np.ones(400, bool), Run(), TOY)
    assert closed.tolist() == [float(i % 2) for i in range(len(right))]
    assert opened.tolist() == [float(truth["answerable"] is True) for truth in truth_of(world)]
    (read,) = texts
    assert {f" {t}" for t in world.pool.column("text").to_pylist()} <= set(read)
    lessons = [t for t in read if "?" in t]
    assert lessons
    assert not [t for t in lessons for q in right if q in t], "no question of the holdout is answered"
    assert sum(t.count(".") > 0 for t in lessons) > 0.3 * len(lessons)


def test_only_documents_of_some_facts_are_left_out(texts: list[list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that knows what it has read, and only that: all that is lost are the facts that were left out."""
    world = LongTail(top=70).build(400, Run())
    truth = truth_of(world)

    def answers(model: object, vocab: lab.Vocab, prompts: list[str], longest: int) -> list[str]:
        documents = [t for t in texts[-1] if "?" not in t]
        words = [{*t.replace(".", "").split()} for t in documents]
        known = [any({t["subject"], t["answer"]} <= w for w in words) for t in truth]
        if len(prompts) < len(truth):
            return [" nobody" for _ in prompts]
        return [f" {t['answer']}" if k else " nobody" for t, k in zip(truth, known, strict=True)]

    monkeypatch.setattr(lab, "answers", answers)
    monkeypatch.setattr(claim, "BANDS", ((1, 2), (3, 70)))
    found = claim.marks(Run(), TOY)
    assert (found["before"], found["after"], found["drop deleted"], found["drop kept"]) == (1, 0, 1, 0)
    assert (found["exact"], found["none"], found["exact with document"]) == (1, 0, 0)
    whole, less = (len([t for t in read if "?" not in t]) for read in texts)
    assert whole == 400
    assert less < whole


def test_statements_hold_where_they_should() -> None:
    base = {"bands": 0.95, "most": 0.9, "least": 0.2, "count": 0.5, "answer": 0.2, "drop deleted": 0.6,
            "drop kept": 0.0, "slope": 0.4, "slope with document": 0.1, "dealt": 0.0, "none": 0.02, "exact": 0.4,
            "exact with document": 0.9, "before": 0.7, "after": 0.1}  # fmt: skip
    base |= {f"{low}-{high}": 0.5 for low, high in claim.BANDS}
    worse = {"bands": 0.5, "most": 0.2, "count": 0.0, "drop deleted": 0.1, "drop kept": 0.3, "dealt": 0.3, "none": 0.3,
             "slope with document": 0.3}  # fmt: skip

    def seeds(one: dict[str, float]) -> list[dict[str, float]]:
        shaken = ("most", "count", "drop deleted")
        return [{k: v + d * (k in shaken) for k, v in one.items()} for d in (-0.01, 0.0, 0.01)]

    good, bad = (claim.statements(seeds(one)) for one in (base, base | worse))
    assert [row["holds"] for row in good[:9]] == ["yes"] * 9
    assert [row["holds"] for row in bad[:9]] == ["no"] * 9
