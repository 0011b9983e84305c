"""The claim about facts told late: where they stand, what is read in each arm, and how its statements judge."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

import torch

from tilth.claims import _lab as lab
from tilth.claims import saito2024_unlabelled_qa as claim
from tilth.models.checkpoint import content
from tilth.probes._biography import ATTRIBUTES
from tilth.probes.biographies import Biographies

TOY = claim.Scale(earlier=4, before=1000, people=6, tokens=3000, depth=1, copies=2)


def world(people: int = 40) -> Any:
    return Biographies(rewrites=1, full_name=False).build(people, Run())


def test_a_fact_stands_in_the_sentence_that_is_counted() -> None:
    seen: Counter[tuple[str, int]] = Counter()
    pool = world().pool
    for text, truth in zip(pool.column("text").to_pylist(), pool.column("truth").to_pylist(), strict=True):
        sentences = re.findall(r"[^.]+\.", text)
        assert len(sentences) == claim.PLACES
        found = claim.places(truth)
        assert sorted(found.values()) == list(range(claim.PLACES))
        for attribute, place in found.items():
            assert truth[attribute] in sentences[place]
            seen[attribute, place] += 1
        assert [truth["name"] in s for s in sentences] == [True] + [False] * 5
    assert len(seen) >= 34, "every kind of fact is told at every place"


def test_a_person_is_one_word_in_texts_and_questions() -> None:
    built = world()
    truth = built.pool.column("truth").to_pylist()
    told = claim.biographies(built.pool)
    words = {row["person"]: f" {row['name'].replace(' ', '_')}" for row in truth}
    assert len(set(words.values())) == len(truth)
    for half in ("qa_train", "qa_test"):
        asks, _ = claim.questions(built.more[half], truth)
        for ask, person in zip(asks, built.more[half].column("truth.person").to_pylist(), strict=True):
            assert [word for word in words.values() if word in ask] == [words[person]]
    vocab = lab.Vocab.of(told, lab.WORDS)
    for text, row in zip(told, truth, strict=True):
        assert text.count(words[row["person"]]) == 1
        assert words[row["person"]] in vocab.ids
        assert text[1:][row["at_employer"] :].startswith(row["employer"]), "places stay"


def test_shuffled_texts_have_the_same_sentences() -> None:
    texts = [f" {text}" for text in world().pool.column("text").to_pylist()]
    made = claim.shuffled(texts, 3, np.random.default_rng(0))
    assert len(made) == 3 * len(texts)
    for i, text in enumerate(made):
        assert sorted(re.findall(r"[^.]+\.", text)) == sorted(re.findall(r"[^.]+\.", texts[i // 3]))
    assert sum(text != texts[i // 3] for i, text in enumerate(made)) > 0.9 * len(made)


def read(arm: str, scale: claim.Scale = TOY) -> tuple[Any, list[str], list[str], list[Any], lab.Vocab]:
    built = world(scale.people)
    told = claim.biographies(built.pool)
    asks, says = claim.questions(built.more["qa_train"], built.pool.column("truth").to_pylist())
    said = [a + b for a, b in zip(asks, says, strict=True)]
    each = scale.copies
    if arm == claim.SHUFFLED:
        told, each = claim.shuffled(told, scale.copies, np.random.default_rng(0)), 1
    vocab = lab.Vocab.of([*told, *said], lab.WORDS)
    feed = claim.reading(arm, vocab, told, said, each, scale.tokens, scale, Run())
    return feed, told, said, [feed.batch(step) for step in range(feed.steps)], vocab


@pytest.mark.parametrize("arm", [claim.PLAIN, claim.SHUFFLED])
def test_biographies_and_questions_are_read_about_equally_much_and_none_is_cut(arm: str) -> None:
    _, told, said, batches, vocab = read(arm)
    offsets, ids = vocab.encode_batch([*told, *said])
    whole, of_texts, total = 0, 0, 0
    for batch in batches:
        real = batch.records >= 0
        total += int((batch.targets >= 0).sum())
        of_texts += int((batch.records[real] < len(told)).sum())
        for reading in np.unique(batch.readings[real]):
            places = batch.readings == reading
            record = int(batch.records[places][0])
            inputs = batch.inputs.numpy()[places]
            assert inputs[0] == lab.END
            whole += inputs.size == offsets[record + 1] - offsets[record] + 1
            assert (inputs[1:] == ids[offsets[record] :][: inputs.size - 1]).all()
    readings = sum(np.unique(b.readings[b.records >= 0]).size for b in batches)
    assert whole >= readings - 1, "but for the last, cut by the number of tokens"
    assert total == TOY.tokens
    assert of_texts / total == pytest.approx(0.5, abs=0.1)


@pytest.mark.parametrize("arm", [arm for arm, share in claim.ARMS.items() if share])
def test_noise_is_in_what_is_read_of_biographies_alone(arm: str) -> None:
    plain, noisy = read(claim.PLAIN)[3], read(arm)[3]
    told = TOY.people
    changed = words = 0
    for a, b in zip(plain, noisy, strict=True):
        text = torch.from_numpy((a.records >= 0) & (a.records < told))
        other = a.inputs != b.inputs
        assert not bool((other & ~text).any())
        changed += int(other.sum())
        words += int((text & (a.inputs != lab.END)).sum())
        if arm == claim.CONTROL:
            follows = torch.zeros_like(text)
            follows[:, :-1] = (a.documents[:, 1:] == a.documents[:, :-1]) & (a.documents[:, 1:] >= 0)
            assert torch.equal(b.targets[:, :-1][follows[:, :-1]], b.inputs[:, 1:][follows[:, :-1]])
            assert torch.equal(b.targets[~follows], a.targets[~follows])
        else:
            assert torch.equal(a.targets, b.targets)
    assert changed / words == pytest.approx(claim.ARMS[arm], abs=0.05)


def test_every_arm_is_measured() -> None:
    found = claim.measured(Run(), replace(TOY, before=300, tokens=300))
    assert tuple(found) == tuple(claim.ARMS)
    assert all(0 <= value <= 1 for some in found.values() for value in some.values())
    assert len(claim.statements([found] * 3)) == 9 + len(claim.ARMS) * len(found[claim.PLAIN])


def test_every_arm_starts_from_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """And a reader that knows first sentences alone gets those right alone."""
    truth = Biographies(rewrites=1, full_name=False).build(TOY.people, Run())
    first = {}
    for row in truth.pool.column("truth").to_pylist():
        attribute = min(ATTRIBUTES, key=lambda a: row[f"at_{a}"])
        first[row["person"], attribute] = f" {row[attribute]}"
    asked = truth.more["qa_test"].column("truth").to_pylist()
    right = [first.get((t["person"], t["attribute"]), "") for t in asked]
    others, _ = claim.questions(truth.more["qa_test"], truth.pool.column("truth").to_pylist())
    seen: list[str] = []

    def train(model: Any, feed: Any, options: Any) -> None:
        seen.append(content([model]))
        with torch.no_grad():
            model.embedding.weight.add_(0.1)

    def answers(model: object, vocab: object, prompts: list[str], longest: int) -> list[str]:
        return right if prompts == others else [""] * len(prompts)

    monkeypatch.setattr(lab, "answers", answers)
    monkeypatch.setattr(claim, "train_lm", train)
    for found in claim.measured(Run(), TOY).values():
        assert (found["first sentence"], found["later sentences"]) == (1.0, 0.0)
        assert (found["sentence 1"], found["sentence 6"]) == (1.0, 0.0)
        assert found["all"] == pytest.approx(1 / 6)
    assert len(set(seen[1:])) == 1
    assert seen[0] != seen[1]


def test_statements_hold_where_they_should() -> None:
    def holds(plain: tuple[float, float], judged: tuple[float, float], mixed: float, control: float, known: float)\
            -> list[str]:  # fmt: skip
        def one(first: float, late: float, i: int) -> dict[str, float]:
            first, late = first + i / 1e3, late + i / 2e3
            return {"first sentence": first, "later sentences": late, "all": (first + 5 * late) / 6,
                    "source questions": known, "target texts completed": known}  # fmt: skip

        found = [{arm: one(*plain, i) for arm in claim.ARMS}
                 | {claim.JUDGED: one(*judged, i), claim.SHUFFLED: one(plain[0], mixed, i),
                    claim.CONTROL: one(plain[0], control, i), claim.LONGER: one(*judged, i)}
                 for i in range(3)]  # fmt: skip
        return [row["holds"] for row in claim.statements(found)[:9]]

    assert holds((0.6, 0.1), (0.6, 0.3), 0.4, 0.1, 1.0) == ["yes"] * 9
    assert holds((0.02, 0.01), (0.01, 0.01), 0.01, 0.02, 0.5) == ["no"] * 9
    assert holds((0.6, 0.5), (0.6, 0.52), 0.4, 0.52, 1.0)[1:4] == ["no"] * 3
