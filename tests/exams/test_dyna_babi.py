"""Dyna-bAbI: a solver that reads only the rendered text gives every answer, and the supporting sentences suffice."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes.dyna_babi import HELD_OUT, TRAIN, DynaBabi

PLACES = {"kitchen", "garden", "office", "hallway", "bathroom", "bedroom", "park", "cellar"}
SHE = {"Mary", "Sandra", "Emma"}
NUMBERS = ["none", "one", "two", "three", "four", "five", "six"]
GOES = "(?:went|moved|walked|travelled) to the"
RULES = {
    "move": rf"([A-Z]\w+) {GOES} (\w+)",
    "conjunction": rf"(\w+) and (\w+) {GOES} (\w+)",
    "coreference": rf"(?:Then|After that|Afterwards) (he|she|they) {GOES} (\w+)",
    "negation": r"(\w+) is not in the (\w+)",
    "indefinite": r"(\w+) is either in the (\w+) or in the (\w+)",
    "take": r"(\w+) (?:took|picked up|grabbed|got) the (\w+)",
    "drop": r"(\w+) (?:dropped|put down|left|discarded) the (\w+)",
    "give": r"(\w+) (?:gave|handed|passed) the (\w+) to (\w+)",
}


def read(sentence: str) -> tuple[str, tuple[str, ...]]:
    found = [(kind, m.groups()) for kind, rule in RULES.items() if (m := re.fullmatch(rule, sentence))]
    assert len(found) == 1, sentence
    return found[0]


def solve(sentences: list[str], question: str) -> str | None:
    """The answer as far as these sentences tell; None when they do not."""
    where: dict[str, tuple[bool, set[str]]] = {}  # person -> (is there?, places)
    has: dict[str, str] = {}
    lies: dict[str, str | None] = {}
    gifts: dict[tuple[str, str], list[str]] = {}
    before: list[str] = []
    for kind, said in map(read, sentences):
        moved: list[str] = []
        if kind in ("move", "conjunction"):
            moved = [*said[:-1]]
        elif kind == "coreference" and before and (said[0] == "they") == (len(before) == 2):
            if said[0] == "they" or (said[0] == "she") == (before[0] in SHE):
                moved = before
        elif kind in ("negation", "indefinite"):
            where[said[0]] = kind == "indefinite", {*said[1:]}
        elif kind == "take":
            has[said[1]] = said[0]
            lies.pop(said[1], None)
        elif kind == "drop":
            has.pop(said[1], None)
            lies[said[1]] = sure(where, said[0])
        elif kind == "give":
            has[said[1]] = said[2]
            gifts.setdefault((said[1], said[2]), []).append(said[0])
        for person in moved:
            where[person] = True, {said[-1]}
        before = moved
    return reply(question, where, has, lies, gifts)


def sure(where: dict[str, tuple[bool, set[str]]], person: str) -> str | None:
    there, places = where.get(person, (False, set()))
    return next(iter(places)) if there and len(places) == 1 else None


def reply(
    question: str,
    where: dict[str, tuple[bool, set[str]]],
    has: dict[str, str],
    lies: dict[str, str | None],
    gifts: dict[tuple[str, str], list[str]],
) -> str | None:
    if m := re.fullmatch(r"Where is the (\w+)\?", question):
        return sure(where, has[m[1]]) if m[1] in has else lies.get(m[1])
    if m := re.fullmatch(r"Where is (\w+)\?", question):
        return sure(where, m[1])
    if m := re.fullmatch(r"Is (\w+) in the (\w+)\?", question):
        there, places = where.get(m[1], (False, set()))
        if not there:
            return "no" if m[2] in places else None
        return "no" if m[2] not in places else "yes" if len(places) == 1 else "maybe"
    if m := re.fullmatch(r"How many objects does (\w+) have\?", question):
        return NUMBERS[sum(person == m[1] for person in has.values())]
    if m := re.fullmatch(r"What does (\w+) have\?", question):
        return ", ".join(sorted(thing for thing, person in has.items() if person == m[1])) or "nothing"
    m = re.fullmatch(r"Who gave the (\w+) to (\w+)\?", question)
    assert m, question
    givers = gifts.get((m[1], m[2]), [])
    return givers[0] if len(givers) == 1 else None


def rows(pool: Pool) -> list[tuple[list[str], str, str, dict[str, Any]]]:
    turns, truth = pool.column("messages").to_pylist(), pool.column("truth").to_pylist()
    made = []
    for m, t in zip(turns, truth, strict=True):
        story, question = m[0]["content"].split("\n")
        made.append((story.rstrip(".").split(". "), question, m[1]["content"], t))
    return made


def parts(world: World) -> tuple[Pool, Pool, Pool]:
    assert world.goal is not None
    return world.pool, world.goal.target, world.goal.holdout


@pytest.fixture(scope="module")
def big() -> World:
    return DynaBabi(diverse=0.3, items=560).build(1100, Run(seed=1))


def test_the_text_alone_gives_every_answer(big: World) -> None:
    for pool in parts(big):
        for story, question, answer, truth in rows(pool):
            assert solve(story, question) == answer == truth["answer"], (story, question)
            assert len(story) == truth["facts"]
            assert set(truth["events"].split("+")) == {read(s)[0] for s in story}


def test_support_suffices_and_nothing_in_it_is_idle(big: World) -> None:
    for pool in parts(big):
        for story, question, answer, truth in rows(pool):
            support = truth["support"]
            assert support == sorted(set(support))
            assert solve([story[i] for i in support], question) == answer, (story, question, support)
            back = any(read(story[i])[0] == "coreference" for i in support)
            if truth["question"] != "yes_no" and not back:  # a no can stay a no, and one can walk back where one was
                for out in support:
                    assert solve([story[i] for i in support if i != out], question) != answer
            assert bool(support) != (answer in ("nothing", "none"))


def test_the_holdout_combines_what_training_shows_apart(big: World) -> None:
    pool, target, holdout = parts(big)
    combos = [Counter((t["events"], t["question"]) for *_, t in rows(p)) for p in (pool, target, holdout)]
    assert not (combos[0].keys() | combos[1].keys()) & combos[2].keys()
    assert len(combos[1]) == len(TRAIN)
    assert len(combos[2]) == len(HELD_OUT)
    assert max(combos[2].values()) == min(combos[2].values()) == 40
    assert len(combos[0]) > 100
    plain, _, _ = parts(DynaBabi(items=1).build(1100, Run(seed=1)))
    old = Counter(plain.column("source").to_pylist())
    assert set(old.values()) == {100}
    assert len(old) == len(TRAIN)
    assert {e for events, _ in TRAIN for e in events} == {e for events, _ in HELD_OUT for e in events}
    assert {q for _, q in TRAIN} == {q for _, q in HELD_OUT}
    assert sum(t["diverse"] for *_, t in rows(pool)) == 330
    assert {tuple(t["events"].split("+")) for *_, t in rows(pool) if not t["diverse"]} <= {e for e, _ in TRAIN}


def test_no_story_is_told_twice(big: World) -> None:
    texts = [" ".join(story) for pool in parts(big) for story, *_ in rows(pool)]
    assert len(set(texts)) == len(texts) == 1100 + 2 * 560


def test_shortcuts_do_not_pay(big: World) -> None:
    probe = DynaBabi()
    pool, _, holdout = parts(big)
    answers: dict[str, Counter[str]] = {}
    for _, _, answer, truth in rows(pool):
        answers.setdefault(truth["question"], Counter())[answer] += 1
    commonest = [answers[t["question"]].most_common(1)[0][0] for *_, t in rows(holdout)]
    last_place = [re.findall("|".join(PLACES), " ".join(story))[-1:] or [""] for story, *_ in rows(holdout)]
    assert 0.1 < probe.grade(big, commonest) < 0.35
    assert probe.grade(big, [p[0] for p in last_place]) < 0.25
    for question, most in (("where_person", 0.2), ("where_object", 0.25), ("who_gave", 0.25), ("yes_no", 0.5)):
        assert max(answers[question].values()) / answers[question].total() < most, (question, answers[question])
    for question in ("count", "list"):
        assert max(answers[question].values()) / answers[question].total() < 0.45, (question, answers[question])


def test_grading(big: World) -> None:
    probe = DynaBabi()
    _, _, holdout = parts(big)
    assert probe.grade(big, [solve(story, question) for story, question, *_ in rows(holdout)]) == 1
    without = []  # a reader who skips whatever refers back
    for story, question, *_ in rows(holdout):
        without.append(solve([s for s in story if read(s)[0] != "coreference"], question))
    assert 0.6 < probe.grade(big, without) < 0.97
    with pytest.raises(DataError, match="Got 1 answers"):
        probe.grade(big, ["kitchen"])


def test_story_length_is_as_asked() -> None:
    pool, _, _ = parts(DynaBabi(facts=20, spread=0, items=1).build(33, Run()))
    assert {t["facts"] for *_, t in rows(pool)} == {20}
    pool, _, _ = parts(DynaBabi(facts=60, spread=0, items=1, diverse=0.5).build(44, Run()))
    for story, question, answer, truth in rows(pool):
        assert solve(story, question) == answer
        assert len(story) == truth["facts"] == 60
    rng = np.random.default_rng(0)
    with pytest.raises(DataError, match="no new story with give that answers who_gave: raise `facts` or `spread`"):
        DynaBabi()._task((("give",), "who_gave"), False, set(), rng)
