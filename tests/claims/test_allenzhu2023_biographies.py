"""The claim about biographies at a toy size: what is read, what is asked, and what the control takes away."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import allenzhu2023_biographies as claim

TOY = claim.Scale(people=6, tokens=15_000, steps=40, probing=2)


def test_what_was_read_and_asked_is_known() -> None:
    found = claim.measured(claim.SINGLE, Run(), TOY)
    assert found.recalled >= 0.9
    assert found.trained >= 0.9
    assert found.others <= 0.5  # three people to learn questions from are too few


def test_answers_are_those_about_the_people_only_read_of(monkeypatch: pytest.MonkeyPatch) -> None:
    world = claim.MANY.build(30, Run())
    known: dict[str, str] = {}
    for pool in world.more.values():
        known |= dict(zip(*(lab.asked(pool)), strict=True))

    def answers(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        return [f" {known.get(prompt.strip(), '')}" for prompt in prompts]

    monkeypatch.setattr(lab, "answers", answers)
    found = claim.measured(claim.MANY, Run(), claim.Scale(people=6, tokens=500, steps=1, probing=1))
    assert (found.trained, found.others, found.birth_date) == (1.0, 1.0, 1.0)
    assert found.recalled == 0.0  # cues out of texts are no questions


def test_the_control_reads_as_well_and_is_asked_the_same() -> None:
    scale = claim.Scale(people=4, tokens=10_000, steps=1, probing=1)
    assert claim.measured(claim.SINGLE, Run(), scale, dealt=True).recalled >= 0.75


def test_the_control_tells_every_fact_of_another_person() -> None:
    world = claim.MANY.build(30, Run())
    texts, truth = world.pool.column("text").to_pylist(), world.pool.column("truth").to_pylist()
    dealt = claim._dealt(texts, truth)
    names = {row["name"] for row in truth}
    for text, row in zip(dealt, truth, strict=True):
        assert row["name"] not in text
        assert sum(name in text for name in names) == 1
        assert row["employer"] in text


def test_statements_hold_where_they_should() -> None:
    low, high = claim.Found(1.0, 1.0, 0.05, 0.0), claim.Found(1.0, 1.0, 0.9, 0.8)
    weak = claim.Found(0.5, 0.5, 0.3, 0.1)
    good = claim.statements([low] * 3, [high] * 3, [claim.Found(1.0, 1.0, 0.0, 0.0)] * 3)
    bad = claim.statements([weak] * 3, [weak] * 3, [weak] * 3)
    assert [r["holds"] for r in good[:5]] == ["yes"] * 5
    assert [r["holds"] for r in bad[:5]] == ["no"] * 5


def test_probes_look_before_the_value_at_words_of_later_ones() -> None:
    world = claim.MANY.build(30, Run())
    texts = [f" {text}" for text in world.pool.column("text").to_pylist()]
    truth = world.pool.column("truth").to_pylist()
    vocab = lab.Vocab.of(texts, lab.WORDS)
    (early, late), named = claim._cues(vocab, texts, truth), claim._names(vocab, truth)
    assert len(early.ids) == 30
    assert len(late.ids) == 18  # three attributes of one text a person
    assert sorted(vocab.decode(ids) for ids in named.ids) == sorted({f" {row['name']}" for row in truth})
    for ids, words, text, row in zip(early.ids, early.words.tolist(), texts, truth, strict=True):
        read = vocab.decode(ids)
        assert text.startswith(read)
        assert row["name"] in read
        first = next(a for a in ("birth_date", "birth_city", "work_city", *claim.PARTS) if _begins(text, read, row[a]))
        for (a, i), word in zip(claim.PARTS.items(), words, strict=True):
            assert (word == -1) is (a == first)
            assert word == -1 or claim.CLASSES[a][word] == row[a].split()[i]
            assert row[a] not in read


def _begins(text: str, read: str, value: str) -> bool:
    return text[len(read) :].startswith(f" {value}")


def test_a_probe_finds_what_states_hold_and_nothing_else() -> None:
    words = np.random.default_rng(0).integers(0, 3, 60)
    vocab = lab.Vocab.of([f" w{i}" for i in range(3)] + [f" n{i}" for i in range(60)], lab.WORDS)
    model = lab.decoder(2, len(vocab), 8, Run())
    before = model.embedding.weight.clone()

    def share(told: bool) -> float:
        texts = [f" n{i} w{w if told else 0}" for i, w in enumerate(words.tolist())]
        offsets, ids = vocab.encode_batch(texts)
        rows = [ids[offsets[i] : offsets[i + 1]].astype(np.int64) for i in range(60)]
        asked = np.stack([words, np.full(60, -1), np.full(60, -1)], 1)
        return claim.probed(model, claim.Cues(rows, np.arange(60), asked), 2, 60, Run())

    assert share(told=True) >= 0.95
    assert share(told=False) <= 0.6
    assert bool((model.embedding.weight == before).all())


def test_mixed_in_questions_are_asked_as_the_texts_put_them(monkeypatch: pytest.MonkeyPatch) -> None:
    world = claim.MIXED.build(6, Run())
    written = {text.split(" Answer:")[0] for text in world.pool.column("text").to_pylist() if "Answer:" in text}
    asked: list[list[str]] = []

    def answers(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        asked.append(prompts)
        return [""] * len(prompts)

    monkeypatch.setattr(lab, "answers", answers)
    monkeypatch.setattr(lab, "tune", lambda *args, **more: pytest.fail("questions mixed in are not tuned on"))
    claim.measured(claim.MIXED, Run(), claim.Scale(people=6, tokens=500, probing=1))
    _, trained, others = asked  # after the cues of what was read
    assert {prompt.strip().removesuffix(" Answer:") for prompt in trained} == written
    assert all(prompt.startswith(" Question: ") and prompt.endswith("? Answer:") for prompt in others)
    assert not set(trained) & set(others)


def test_statements_about_probes_and_mixing_hold_where_they_should() -> None:
    def arm(others: float, early: float, named: float) -> list[claim.Found]:
        return [claim.Found(1.0, 1.0, others + d, 0.0, early + d, 0.5, named + d) for d in (-0.01, 0.0, 0.01)]

    low, high = arm(0.1, claim.GUESS, claim.GUESS), arm(0.5, 0.6, 0.6)
    good = claim.probes_and_mixing(low, high, high, low)
    bad = claim.probes_and_mixing(high, high, high, high)
    assert [r["holds"] for r in good[:5]] == ["yes"] * 5
    assert [r["holds"] for r in bad[:5]] == ["no"] * 5
