"""interference: a reader that sees only the text gives every answer and every column of the truth."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes.interference import Interference, curve, outcomes

PERSON, PLACE, THING = r"([A-Z]\w+)", r"(\w+)", r"(\w+)"
MOVE = re.compile(rf"{PERSON} (?:went|moved|walked|travelled) to the {PLACE}")
TAKE = re.compile(rf"{PERSON} (?:took|picked up|grabbed|got) the {THING}")
GIVE = re.compile(rf"{PERSON} (?:gave|handed|passed) the {THING} to {PERSON}")


@dataclass
class Known:
    """Of each person and thing the values told, with the numbers of the sentences; facts; people named."""

    told: dict[str, list[tuple[int, str]]]
    facts: list[int]
    people: set[str]
    places: set[str]


def read(sentences: list[str]) -> Known:
    known = Known({}, [], set(), set())
    for i, sentence in enumerate(sentences):
        if m := MOVE.fullmatch(sentence):
            subject, value = m.groups()
            known.people.add(subject)
            known.places.add(value)
        elif m := TAKE.fullmatch(sentence):
            value, subject = m.groups()
            assert subject not in known.told, "what someone has is not taken"
            known.people.add(value)
        elif m := GIVE.fullmatch(sentence):
            giver, subject, value = m.groups()
            assert known.told[subject][-1][1] == giver != value
            known.people |= {giver, value}
        else:
            assert not re.search(r"[A-Z]\w+", sentence[1:]), sentence
            continue
        before = known.told.setdefault(subject, [])
        assert not before or before[-1][1] != value, "an update changes something"
        before.append((i, value))
        known.facts.append(i)
    return known


def rows(pool: Pool) -> list[tuple[list[str], str, str, dict[str, Any]]]:
    turns, truth = pool.column("messages").to_pylist(), pool.column("truth").to_pylist()
    made = []
    for m, t in zip(turns, truth, strict=True):
        story, question = m[0]["content"].split("\n")
        made.append((story.rstrip(".").split(". "), question, m[1]["content"], t))
    return made


def subject_of(question: str) -> str:
    m = re.fullmatch(r"Where is (\w+)\?|Who has the (\w+)\?", question)
    assert m
    return m[1] or m[2]


def parts(world: World) -> dict[str, Pool]:
    assert world.goal is not None
    return {"pool": world.pool, "target": world.goal.target, "holdout": world.goal.holdout, **world.more}


@pytest.fixture(scope="module")
def big() -> World:
    return Interference(items=60).build(2000, Run(seed=1))


def test_the_text_alone_gives_every_answer_and_the_whole_truth(big: World) -> None:
    for pool in parts(big).values():
        for sentences, question, answer, truth in rows(pool):
            known, subject = read(sentences), subject_of(question)
            told = known.told[subject]
            at, value = told[-1]
            assert value == answer == truth["answer"]
            who = question.startswith("Who")
            assert truth["kind"] == ("who" if who else "where")
            assert truth["facts"] == len(known.facts)
            assert truth["fact"] == at
            assert truth["later"] == sum(i > at for i in known.facts)
            assert truth["age"] == len(" ".join(sentences[at + 1 :]).split())
            assert truth["updates"] == len(told) - 1
            assert sorted(truth["stale"]) == sorted({v for _, v in told} - {answer})
            assert truth["wrong"] == len((known.people if who else known.places) - {answer})
            assert len(truth["stale"]) <= truth["wrong"]
            assert truth["padded"] == (len(sentences) > len(known.facts))


def test_a_question_follows_each_fact(big: World) -> None:
    for name in ("target", "holdout"):
        found = rows(parts(big)[name])
        assert len(found) == 60 * 12
        for i, (sentences, *_, truth) in enumerate(found):
            assert (truth["stream"], truth["facts"]) == (i // 12, i % 12 + 1)
            if i % 12:
                assert sentences[:-1] == found[i - 1][0], "the stream goes on"
        later = Counter(t["later"] for *_, t in found)
        assert set(range(11)) <= set(later) <= set(range(12))
        assert sum(len(t["stale"]) > 0 for *_, t in found) > 0.25 * len(found)


def test_padding_takes_the_later_facts_and_nothing_else(big: World) -> None:
    padded = rows(big.more["padded"])
    for (a, question, answer, t), (b, same, right, u) in zip(rows(parts(big)["holdout"]), padded, strict=True):
        assert (question, answer) == (same, right)
        assert u["later"] == 0
        assert {k: t[k] for k in ("stream", "kind", "fact", "age", "updates", "stale")} == {
            k: u[k] for k in ("stream", "kind", "fact", "age", "updates", "stale")
        }
        keep = t["fact"] + 1
        assert a[:keep] == b[:keep]
        assert [len(s.split()) for s in a] == [len(s.split()) for s in b]
        assert len(read(b).facts) == keep
        assert u["padded"] == (t["later"] > 0)


def test_the_pool_asks_about_everything_told(big: World) -> None:
    streams: dict[int, list[tuple[list[str], str, dict[str, Any]]]] = {}
    for sentences, question, _, truth in rows(big.pool):
        streams.setdefault(truth["stream"], []).append((sentences, subject_of(question), truth))
    last = max(streams)
    lengths, blank = Counter[int](), 0
    for number, asked in streams.items():
        assert len({". ".join(s) for s, *_ in asked}) == 1
        if number != last:
            assert sorted(subject for _, subject, _ in asked) == sorted(read(asked[0][0]).told)
        lengths[len(asked[0][0])] += 1
        blank += asked[0][2]["padded"]
    assert set(lengths) == set(range(1, 13))
    assert 0.3 < blank / len(streams) < 0.5, "half are cut, some after their last sentence"
    none = Interference(items=1, padded=0).build(200, Run()).pool
    assert not any(t["padded"] for *_, t in rows(none))


def test_shortcuts_do_not_pay(big: World) -> None:
    probe, holdout = Interference(), rows(parts(big)["holdout"])

    def last_told(sentences: list[str], question: str) -> str:
        told = read(sentences).told
        about = [(f[-1][0], f[-1][1]) for s, f in told.items() if s[0].isupper() == question.startswith("Where")]
        return max(about)[1]

    def first_told(sentences: list[str], question: str) -> str:
        return read(sentences).told[subject_of(question)][0][1]

    last = probe.grade(big, [last_told(s, q) for s, q, *_ in holdout])
    first = [first_told(s, q) for s, q, *_ in holdout]
    assert 0.2 < last < 0.6
    assert last < probe.grade(big, first) < 0.85
    common = Counter(a for _, _, a, _ in holdout).most_common(1)[0][0]
    assert probe.grade(big, [common] * len(holdout)) < 0.2
    found = outcomes(parts(big)["holdout"], first)
    changed = np.array([f != a for f, (_, _, a, _) in zip(first, holdout, strict=True)])
    assert (found[changed] == "stale").all()
    assert (found[~changed] == "right").all()


def test_outcomes_and_the_curve(big: World) -> None:
    holdout = parts(big)["holdout"]
    truth = [t for *_, t in rows(holdout)]
    said = [t["answer"] if t["later"] < 4 else t["stale"][0] if t["stale"] else "nowhere" for t in truth]
    assert curve(holdout, said) == {k: float(k < 4) for k in {t["later"] for t in truth}}
    wrong = outcomes(holdout, said)[np.array([t["later"] >= 4 for t in truth])]
    assert Counter(wrong.tolist()) == Counter("stale" if t["stale"] else "other" for t in truth if t["later"] >= 4)
    padded = big.more["padded"]
    assert curve(padded, [t["answer"] for t in truth]) == {0: 1.0}
    assert set(curve(padded, said, [t["later"] for t in truth])) == {t["later"] for t in truth}


def test_grading(big: World) -> None:
    probe, holdout = Interference(), rows(parts(big)["holdout"])
    assert probe.grade(big, [read(s).told[subject_of(q)][-1][1] for s, q, *_ in holdout]) == 1
    assert probe.grade(big, [""] * len(holdout)) == 0
    with pytest.raises(DataError, match="Got 1 answers"):
        probe.grade(big, ["kitchen"])
    with pytest.raises(DataError, match="has none"):
        probe.grade(World(big.pool), [""])
