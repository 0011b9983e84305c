"""Constraints: checkers of their own read the prompt's words, not the probe's records, and agree on every answer."""

from __future__ import annotations

import json
import re
from collections import Counter
from difflib import SequenceMatcher
from typing import Any

import numpy as np
import pytest

from tilth.core import Budget, Plan, Pool, Run, World
from tilth.core.errors import BadField, DataError
from tilth.probes.constraints import Constraints, kept


def tokens(text: str) -> list[str]:
    return "".join(ch if ch.isalpha() or ch == "'" else " " for ch in text).split()


def occurrences(text: str, word: str) -> int:
    return sum(t.casefold() == word.casefold() for t in tokens(text))


def stops(text: str) -> int:
    return sum(ch in ".!?" and (i + 1 == len(text) or text[i + 1] in ' \n"') for i, ch in enumerate(text))


def lines(text: str) -> list[str]:
    body = text.splitlines()
    return body[1:] if body[0].startswith("<<") else body


def bullets(text: str) -> int:
    return len(lines(text)) * all(line[:2] == "- " for line in lines(text))


def paragraphs(text: str) -> int:
    return len(re.split(r"\n{2,}", text))


def first(text: str) -> str:
    return tokens(text)[0].casefold()


READINGS: list[tuple[str, str, Any]] = [
    ("words_most", r"(?:at most|more than) (\d+) words|(\d+) words or fewer", lambda t, n: len(tokens(t)) <= int(n)),
    ("words_least", r"(?:at least|fewer than) (\d+) words|(\d+) words or more", lambda t, n: len(tokens(t)) >= int(n)),
    ("sentences", r"(\d+) sentences", lambda t, n: stops(t) == int(n)),
    ("paragraphs", r"(\d+) paragraphs", lambda t, n: paragraphs(t) == int(n)),
    ("bullets", r"list of (\d+) lines|(\d+) bullet points", lambda t, n: bullets(t) == int(n)),
    ("keyword_times", r'"(\w+)" (?:exactly|occurs) (\d+) times', lambda t, w, n: occurrences(t, w) == int(n)),
    ("without", r'(?:Do not use the word|Avoid the word|Never mention) "(\w+)"', lambda t, w: not occurrences(t, w)),
    ("keyword", r'(?:Use the word|Mention) "(\w+)"\.|"(\w+)" must occur', lambda t, w: occurrences(t, w) > 0),
    ("starts", r'(?:Begin with the word|The first word must be) "(\w+)"', lambda t, w: first(t) == w.casefold()),
    (
        "ends",
        r'(?:End with the sentence|last sentence reads) "([^"]+)"',
        lambda t, s: t[-len(s) :].casefold() == s.casefold(),
    ),
    ("lowercase", r"no capital letters|lowercase", lambda t: not any(ch.isupper() for ch in t)),
    ("uppercase", r"capital letters only|uppercase", lambda t: not any(ch.islower() for ch in t)),
    ("quotes", r"double quot", lambda t: t.startswith('"') and t.endswith('"')),
    ("no_commas", r"no commas|without commas", lambda t: t.count(",") == 0),
    ("title", r"<<like this>>|<<title>>", lambda t: t.startswith("<<") and t.splitlines()[0].endswith(">>")),
]


def judged(prompt: str, text: str) -> dict[str, bool]:
    """Kind -> kept, for every constraint that the prompt's words state."""
    found = {}
    for kind, pattern, check in READINGS:
        if m := re.search(pattern, prompt):
            found[kind] = bool(check(text, *(g for g in m.groups() if g)))
    return found


def rows(pool: Pool) -> list[tuple[str, str, dict[str, Any]]]:
    turns, truth = pool.column("messages").to_pylist(), pool.column("truth").to_pylist()
    return [(m[0]["content"], m[1]["content"], t) for m, t in zip(turns, truth, strict=True)]


def parts(world: World) -> tuple[Pool, Pool, Pool]:
    assert world.goal is not None
    return world.pool, world.goal.target, world.goal.holdout


@pytest.fixture(scope="module")
def world() -> World:
    return Constraints(most=5, test_most=5, wrong=0.25, items=200).build(1200, Run(seed=1))


def test_answers_keep_all_or_break_the_one_that_is_named(world: World) -> None:
    for pool in parts(world):
        for prompt, answer, truth in rows(pool):
            found = judged(prompt, answer)
            asked = json.loads(truth["constraints"])
            assert sorted(found) == sorted(c["kind"] for c in asked) == truth["composition"].split("+")
            assert len(asked) == truth["count"]
            assert [kind for kind, fine in found.items() if not fine] == [truth["violated"]] * (
                truth["violated"] is not None
            )
            assert all(str(c["n"]) in prompt for c in asked if c["n"])
            assert all(f'"{c["word"]}"' in prompt for c in asked if c["word"])
            assert truth["topic"] in prompt
    violated = [truth["violated"] is not None for *_, truth in rows(world.pool)]
    assert sum(violated) == 300


def test_pairs_differ_in_one_constraint_and_a_few_words(world: World) -> None:
    pairs = world.more["pairs"].table(["prompt", "chosen", "rejected", "truth"]).to_pylist()
    assert [p["prompt"] for p in pairs] == [prompt for prompt, *_ in rows(world.pool)]
    near, apart = [], []
    for pair, other in zip(pairs, [*pairs[1:], pairs[0]], strict=True):
        assert all(judged(pair["prompt"], pair["chosen"]).values())
        broken = [kind for kind, fine in judged(pair["prompt"], pair["rejected"]).items() if not fine]
        assert broken == [pair["truth"]["violated"]]
        near.append(SequenceMatcher(None, pair["chosen"].split(), pair["rejected"].split(), autojunk=False).ratio())
        apart.append(SequenceMatcher(None, pair["chosen"].split(), other["chosen"].split(), autojunk=False).ratio())
    assert np.mean(near) > 0.93
    assert 1 - np.mean(apart) > 5 * (1 - np.mean(near))
    counts = Counter(p["truth"]["violated"] for p in pairs)
    asked = Counter(kind for p in pairs for kind in p["truth"]["composition"].split("+"))
    assert len(counts) == len(READINGS)
    shares = [counts[kind] / asked[kind] for kind in asked]
    assert 0.2 < min(shares) <= max(shares) < 0.6, "some constraint is hardly ever, or nearly always, the broken one"


def test_splits_share_no_prompt_and_no_composition(world: World) -> None:
    prompts = [[prompt for prompt, *_ in rows(pool)] for pool in parts(world)]
    assert not {*prompts[0], *prompts[1]} & {*prompts[2]}
    assert not {*prompts[0]} & {*prompts[1]}
    told = [(prompt, answer) for pool in parts(world) for prompt, answer, _ in rows(pool)]
    assert len(set(told)) == len(told) == 1200 + 2 * 200
    composed = [{t["composition"] for *_, t in rows(pool) if t["count"] > 1} for pool in parts(world)]
    assert not (composed[0] | composed[1]) & composed[2]
    singles = [{t["composition"] for *_, t in rows(pool) if t["count"] == 1} for pool in parts(world)]
    assert singles[0] == {kind for kind, *_ in READINGS}
    assert singles[2] <= singles[0], "the holdout has a kind that training lacks"


def test_numbers_of_constraints_are_as_asked() -> None:
    pool, target, holdout = parts(Constraints(least=3, most=5, test_most=2).build(300, Run()))
    assert {t["count"] for *_, t in [*rows(pool), *rows(target)]} == {3, 4, 5}
    assert {t["count"] for *_, t in rows(holdout)} == {1, 2}
    atomic, _, _ = parts(Constraints(most=1).build(3000, Run()))
    assert {t["count"] for *_, t in rows(atomic)} == {1}
    with pytest.raises(BadField, match="must not be more than"):
        Constraints(least=4, most=3)


def test_grading_answers_and_its_chance(world: World) -> None:
    probe = Constraints()
    _, _, holdout = parts(world)
    asked = rows(holdout)
    right = [answer for _, answer, _ in asked]
    assert probe.grade(world, right) == 1
    for text in ("", "   ", "Yes."):
        assert probe.grade(world, [text] * 200) < 0.15
    plain = ["The old lake belongs to the small shore. The old lake belongs to the small boat."] * 200
    judge = [all(judged(prompt, text).values()) for (prompt, *_), text in zip(asked, plain, strict=True)]
    assert probe.grade(world, plain) == pytest.approx(np.mean(judge))
    rates = kept(holdout, plain)
    assert rates["no_commas"] == 1
    assert rates["title"] == 0
    by_count: dict[int, list[int]] = {}
    for i, (*_, truth) in enumerate(asked):
        by_count.setdefault(truth["count"], []).append(i)
    swapped = [*right]
    for group in by_count.values():
        for i, j in zip(group, [*group[1:], group[0]], strict=True):
            swapped[i] = right[j]
    assert 0 < probe.grade(world, swapped) < 0.2
    with pytest.raises(DataError, match="one answer per record"):
        probe.grade(world, right[:-1])


def test_grading_plans(world: World) -> None:
    probe = Constraints()
    plan = Plan.everything(world.pool, Budget(10**9))
    wrong = np.array([t["violated"] is not None for *_, t in rows(world.pool)])

    def dropping(rows: Any) -> Plan:
        return plan.revised({"use": "test"}, "dropped by hand", keep=~rows)

    assert probe.grade(world, plan) == 0
    assert probe.grade(world, dropping(wrong)) == 1
    nearly_all = np.arange(1200) != np.flatnonzero(~wrong)[0]
    assert probe.grade(world, dropping(nearly_all)) == pytest.approx(2 * 0.25 / 1.25, abs=0.001)
    assert probe.grade(world, dropping(~wrong)) == 0


def test_the_checkers_here_can_fail() -> None:
    prompt = 'Describe a lake. Use at most 5 words. Use the word "boat" exactly 2 times. Use no commas.'
    assert judged(prompt, "a boat a boat") == {"words_most": True, "keyword_times": True, "no_commas": True}
    assert judged(prompt, "a, boat is a fine thing") == {
        "words_most": False,
        "keyword_times": False,
        "no_commas": False,
    }
