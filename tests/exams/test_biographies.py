"""biographies: the truth read back from the texts by a parser of our own, the halves, the order, the knobs."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import DataError
from tilth.probes._biography import ATTRIBUTES, TEMPLATES, VALUES
from tilth.probes.biographies import Biographies, marks

DATE = re.compile(r"\b[A-Z][a-z]+ \d{1,2}, \d{4}")
NAME = re.compile(r"\b[A-Z][a-z]+ [A-Z][a-z]+ [A-Z][a-z]+\b")


def kind_of(sentence: str) -> str:
    """Which attribute a sentence is about, told from its plain words alone."""
    if DATE.search(sentence):
        return "birth_date"
    if re.search(r"\b\w+ \w+ (University|College|Institute)\b", sentence):
        return "university"
    if re.search(r"\b(Applied|Classical|Comparative|Computational|Theoretical) [A-Z]", sentence):
        return "major"
    if re.search(
        r"\b[A-Z]\w+ (Foods|Freight|Glass|Labs|Mills|Motors|Optics|Paper|Press|Steel|Tools|Works)\b", sentence
    ):
        return "employer"
    work = r"\b(work\w*|office|desk|living|based|commutes|job|weekdays?|morning)\b"
    return "work_city" if re.search(work, sentence.lower()) else "birth_city"


def sentences(text: str) -> list[str]:
    return [s for s in re.split(r"(?<=\.) ", text) if s]


def rows_of(pool: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.table(["id", "text", "source", "truth"]).to_pylist()
    return rows


@pytest.mark.parametrize("full_name", [True, False])
@pytest.mark.parametrize("permute", [True, False])
def test_every_text_says_what_its_truth_says(permute: bool, full_name: bool) -> None:
    rows = rows_of(Biographies(permute=permute, full_name=full_name).build(600, Run(seed=3)).pool)
    assert len(rows) == 600
    orders: Counter[tuple[str, ...]] = Counter()
    for row in rows:
        truth, parts = row["truth"], sentences(row["text"])
        found = [kind_of(s) for s in parts]
        assert sorted(found) == sorted(ATTRIBUTES)
        orders[tuple(found)] += 1
        for sentence, attribute in zip(parts, found, strict=True):
            assert truth[attribute] in sentence
            at = truth[f"at_{attribute}"]
            assert row["text"][at : at + len(truth[attribute])] == truth[attribute]
            assert row["text"][at - 1] == " "
        assert row["text"].index(truth["name"]) == truth["at_name"] < min(truth[f"at_{a}"] for a in ATTRIBUTES)
        named = [truth["name"] in s for s in parts]
        assert all(named) if full_name else named == [True] + [False] * 5
        assert (truth["at_pronoun"] is None) == full_name
        if not full_name:
            words = {"he": r"\b(he|him|his)\b", "she": r"\b(she|her)\b"}
            place = re.search(words[truth["pronoun"]], row["text"].lower())
            assert place is not None
            assert place.start() == truth["at_pronoun"]
            other = words["she" if truth["pronoun"] == "he" else "he"]
            assert all(re.search(words[truth["pronoun"]], s.lower()) for s in parts[1:])
            assert not any(re.search(other, s.lower()) for s in parts[1:])
    assert (len(orders) > 300) if permute else set(orders) == {ATTRIBUTES}


def test_people_attributes_and_wordings() -> None:
    rows = rows_of(Biographies().build(5000, Run(seed=5)).pool)
    people = {r["truth"]["person"]: r["truth"] for r in rows}
    assert len(people) == 1000 == len({t["name"] for t in people.values()})
    assert Counter(Counter(r["truth"]["person"] for r in rows).values()) == {5: 1000}
    assert {(r["truth"]["person"], r["truth"]["rewrite"]) for r in rows} == {(p, i) for p in people for i in range(5)}
    assert {a: len(set(VALUES[a])) for a in ATTRIBUTES} == {
        "birth_date": 12 * 28 * 200, "birth_city": 200, "university": 300, "major": 100, "employer": 263,
        "work_city": 200,
    }  # fmt: skip
    for attribute, distinct in (("birth_city", 198), ("university", 285), ("major", 100), ("employer", 250)):
        counts = Counter(t[attribute] for t in people.values())
        assert len(counts) >= distinct - 5
        assert max(counts.values()) < 5 * 1000 / len(VALUES[attribute]) + 8
    seats = {(t["employer"], t["work_city"]) for t in people.values()}
    assert len(seats) == len({e for e, _ in seats}), "the employer decides the city of work"
    same = np.mean([t["birth_city"] == t["work_city"] for t in people.values()])
    assert same < 0.02
    assert 0.45 < np.mean([t["pronoun"] == "she" for t in people.values()]) < 0.55
    by_person: dict[int, set[str]] = {}
    for r in rows:  # the wordings of a person are all different: no sentence comes twice
        seen = by_person.setdefault(r["truth"]["person"], set())
        fresh = set(sentences(r["text"]))
        assert not seen & fresh
        seen |= fresh
    assert min(len(set(t)) for t in TEMPLATES.values()) >= 50


def test_nothing_but_the_value_is_left_to_guess_before_a_value() -> None:
    every = [(a, t, t.split("{x}")[0]) for a, templates in TEMPLATES.items() for t in templates]
    about: dict[str, str] = {}
    for attribute, text, before in every:
        assert len(re.findall(r"\{x\}", text)) == 1
        assert len(re.findall(r"\{[Ww]ho\w*\}", before)) == 1
        assert text.count("{") == 2
        assert about.setdefault(before, attribute) == attribute
    assert not [(b, o) for b in about for o in about if o != b and o.startswith(b)]


def windows_shared(rows: list[dict[str, Any]], length: int = 512) -> float:
    """The share of windows, cut from the texts joined in this order, that hold two texts of one person."""
    sizes = np.array([len(re.findall(r"\w+|[^\w\s]", r["text"])) + 1 for r in rows])  # words and marks, and an end
    first, last = (np.cumsum(sizes) - sizes) // length, (np.cumsum(sizes) - 1) // length
    held: Counter[tuple[int, int]] = Counter()
    for row, a, b in zip(rows, first.tolist(), last.tolist(), strict=True):
        held.update({(w, row["truth"]["person"]) for w in (a, b)})
    return len({w for (w, _), texts in held.items() if texts > 1}) / (int(last[-1]) + 1)


def test_two_texts_of_one_person_rarely_share_a_window() -> None:
    rows = rows_of(Biographies().build(20_000, Run(seed=1)).pool)
    assert windows_shared(rows) < 0.01
    by_person = sorted(rows, key=lambda r: r["truth"]["person"])
    assert windows_shared(by_person) > 0.95, "the check would not notice a pool that is not shuffled"


@pytest.mark.parametrize("qa_share", [0.0, 0.5, 0.8])
def test_questions_are_right_and_the_halves_apart(qa_share: float) -> None:
    world = Biographies(qa_share=qa_share).build(400, Run(seed=9))
    assert world.goal is not None
    rows = rows_of(world.pool)
    told: dict[str, dict[str, str]] = {}
    for row in rows:
        if row["source"] == "biography":
            name = next(n for n in NAME.findall(row["text"]) if row["text"].count(n) >= 6)
            told.setdefault(name, {}).update({kind_of(s): s for s in sentences(row["text"])})
    assert len(told) == 80
    cue = {
        "day": "birth_date", "city was": "birth_city", "university": "university", "subject": "major",
        "company": "employer", "city does": "work_city",
    }  # fmt: skip
    halves = {}
    for half in ("qa_train", "qa_test"):
        records = world.more[half].table(["messages", "truth"]).to_pylist()
        names = set()
        for record in records:
            (user, assistant), truth = record["messages"], record["truth"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            question = user["content"]
            name = next(n for n in told if n in question)
            asked = next(a for words, a in cue.items() if words in question)
            assert asked == truth["attribute"]
            assert assistant["content"] == truth["answer"]
            assert truth["answer"] in told[name][asked]
            names.add(name)
        assert len(records) == 6 * len(names) == 240
        halves[half] = names
    assert not halves["qa_train"] & halves["qa_test"]
    assert world.goal.target is world.more["qa_train"]
    assert world.goal.holdout is world.more["qa_test"]
    asked_about = [r for r in rows if r["source"] == "qa"]
    assert all(any(name in r["text"] for name in halves["qa_train"]) for r in asked_about)
    assert not any(name in r["text"] for name in halves["qa_test"] for r in asked_about)
    words = {s: sum(len(r["text"].split()) for r in rows if r["source"] == s) for s in ("biography", "qa")}
    assert words["qa"] / sum(words.values()) == pytest.approx(qa_share, abs=0.005)
    if asked_about:
        often = Counter(r["text"] for r in asked_about)
        assert max(often.values()) - min(often.values()) <= 1
        assert len(often) == 240


def test_celebrities_have_their_own_number_of_texts() -> None:
    world = Biographies(rewrites=1, celebrity=0.25, celebrity_rewrites=7).build(1000, Run(seed=2))
    rows = rows_of(world.pool)
    texts = Counter((r["truth"]["person"], r["truth"]["celebrity"]) for r in rows)
    assert {(famous, n) for (_, famous), n in texts.items()} == {(True, 7), (False, 1)}
    assert len(rows) == pytest.approx(1000, abs=10)
    assert np.mean([famous for _, famous in texts]) == pytest.approx(0.25, abs=0.005)
    for half in world.more.values():
        famous = half.column("truth.celebrity").to_pylist()
        assert np.mean(famous) == pytest.approx(0.25, abs=0.02)


def test_marks() -> None:
    probe = Biographies()
    world = probe.build(2000, Run(seed=4))
    assert world.goal is not None
    truth = world.goal.holdout.column("truth").to_pylist()
    right = [t["answer"] for t in truth]
    assert probe.grade(world, [f" {a}\n" for a in right]) == 1.0
    one = [t["answer"] if t["attribute"] == "major" else None for t in truth]
    assert probe.grade(world, one) == pytest.approx(1 / 6)
    assert marks(world, one)["major"] == 1.0
    assert marks(world, one)["employer"] == 0.0
    rng = np.random.default_rng(0)
    guess = [VALUES[t["attribute"]][int(rng.integers(len(VALUES[t["attribute"]])))] for t in truth]
    assert probe.grade(world, guess) < 0.015
    neighbour = [*right[6:], *right[:6]]
    assert probe.grade(world, neighbour) < 0.02
    with pytest.raises(DataError, match="Got 1 for 1200 questions"):
        probe.grade(world, ["x"])
