"""SkillMix: readers of their own find every skill, word by word and without the probe's patterns."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import BadField, DataError
from tilth.probes.skill_mix import CATEGORIES, SkillMix, full_marks, shown

SKILLS = {s for skills in CATEGORIES.values() for s in skills}
TWICE = [("again", "again"), ("on", "on"), ("over", "over"), ("round", "round")]
RHYMES = [("slow", "low"), ("bright", "light"), ("dim", "grim"), ("old", "cold")]


def seen(text: str) -> set[str]:
    """The skills of a text, found by walking over its words."""
    words = "".join(ch if ch.isalpha() else " " for ch in text).split()
    joined = [(a, c) for a, b, c in zip(words, words[1:], words[2:], strict=False) if b == "and"]
    found = {
        "negation": "never" in words or ("hardly", "ever") in pairwise(words) or ("no", "longer") in pairwise(words),
        "condition": "," in text and bool({"if", "unless"} & set(words)),
        "doubt": bool({"perhaps", "maybe", "possibly"} & set(words)),
        "simile": "like" in words,
        "rhyme": any(pair in RHYMES for pair in joined),
        "alliteration": any(a[0] == b[0] and min(len(a), len(b)) >= 4 for a, b in pairwise(words)),
        "exclamation": "!" in text,
        "quotation": text.count('"') == 2 and "says" in words,
        "repetition": any(pair in TWICE for pair in joined),
        "number": bool({"two", "three", "seven", "twelve"} & set(words)),
        "place": bool({"bridge", "mill", "moon", "village"} & set(words)),
        "time": bool({"dawn", "noon", "winter", "evening"} & set(words)),
    }
    assert set(found) == SKILLS
    return {skill for skill, there in found.items() if there}


def rows(pool: Pool) -> list[tuple[str, str, dict[str, Any]]]:
    turns, truth = pool.column("messages").to_pylist(), pool.column("truth").to_pylist()
    return [(m[0]["content"], m[1]["content"], t) for m, t in zip(turns, truth, strict=True)]


def parts(world: World) -> dict[str, Pool]:
    assert world.goal is not None
    return {"pool": world.pool, "target": world.goal.target, "holdout": world.goal.holdout, **world.more}


def sets(pool: Pool) -> set[frozenset[str]]:
    return {frozenset(t["skills"]) for *_, t in rows(pool)}


@pytest.mark.parametrize("fields", [{}, {"most": 6, "test_most": 6}, {"hidden": "form", "most": 2}])
def test_texts_show_exactly_the_skills_asked_for(fields: dict[str, Any]) -> None:
    world = SkillMix(**fields).build(1000, Run(seed=1))
    assert world.pool.count == 1000
    for pool in parts(world).values():
        for prompt, answer, truth in rows(pool):
            topic, skills = (line.split(": ")[1] for line in prompt.splitlines())
            assert topic == truth["topic"]
            assert skills.split(", ") == truth["skills"]
            assert seen(answer) == set(truth["skills"]) == shown(answer)
            assert topic in answer
            assert len(answer.split()) <= truth["most"] == 3 + 3 * truth["count"]
        assert full_marks(pool, [answer for _, answer, _ in rows(pool)])["all"] == 1


@pytest.mark.parametrize("hidden", [*CATEGORIES])
def test_what_is_hidden_is_never_composed_and_no_tested_set_is_trained(hidden: Any) -> None:
    world = SkillMix(hidden=hidden, test_least=2).build(2000, Run(seed=2))
    pools = parts(world)
    apart = set(CATEGORIES[hidden])
    trained = sets(pools["pool"]) | sets(pools["target"])
    assert {s for group in trained for s in group} == SKILLS, "a skill is missing from training"
    assert all(len(group) == 1 for group in trained if group & apart)
    assert not any(group & apart for group in sets(pools["holdout"]))
    assert all(group & apart for group in sets(pools["hidden"]))
    assert not trained & (sets(pools["holdout"]) | sets(pools["hidden"]))
    alone = [t for *_, t in rows(pools["pool"]) if set(t["skills"]) & apart]
    assert len(alone) == 200


def test_numbers_of_skills_are_as_asked() -> None:
    for least, most in ((1, 1), (1, 2), (1, 3)):
        pools = parts(SkillMix(least=least, most=most, alone=0, items=80).build(600, Run()))
        counts = Counter(t["count"] for *_, t in rows(pools["pool"]))
        assert counts == dict.fromkeys(range(least, most + 1), 600 // (most - least + 1))
        for name in ("holdout", "hidden"):
            assert Counter(t["count"] for *_, t in rows(pools[name])) == dict.fromkeys((2, 3, 4, 5), 20)
    with pytest.raises(BadField, match="must not be more than"):
        SkillMix(least=3, most=2)


def test_grading_and_its_chance() -> None:
    probe = SkillMix(items=800)
    world = probe.build(50, Run())
    asked = rows(parts(world)["holdout"])
    right = [answer for _, answer, _ in asked]
    assert probe.grade(world, right) == 1
    other = {n: [i for i, (*_, t) in enumerate(asked) if t["count"] == n] for n in (2, 3, 4, 5)}
    swapped = [*right]
    for group in other.values():
        for i, j in zip(group, np.roll(group, 1).tolist(), strict=True):
            swapped[i] = right[j]
    assert probe.grade(world, swapped) < 0.02
    assert max(probe.grade(world, [text] * 800) for text in right[:200]) < 0.02
    everything = (
        'the poet says: "if we ask, perhaps two brave boats never drift on and on under the moon at noon '
        'slow and low like a feather!"'
    )
    assert seen(everything) == shown(everything) == SKILLS
    assert probe.grade(world, [everything.replace("boats", t["topic"] + "s") for *_, t in asked]) == 0, "too long"
    marks = full_marks(parts(world)["holdout"], [a if t["count"] < 4 else "" for _, a, t in asked])
    assert marks == {"2": 1, "3": 1, "4": 0, "5": 0, "all": 0.5}
    with pytest.raises(DataError, match="one answer per record"):
        probe.grade(world, right[1:])


@pytest.mark.parametrize("skill", sorted(SKILLS - {"exclamation"}))
def test_a_skill_left_out_costs_the_mark(skill: str) -> None:
    """A text with every skill but one shows all but that one."""
    pieces = {
        "condition": "if it rains,",
        "doubt": "maybe",
        "number": "two",
        "alliteration": "blue",
        "boats": "boats",
        "negation": "never",
        "drift": "drift",
        "repetition": "on and on",
        "place": "near the bridge",
        "time": "at dawn",
        "rhyme": "old and cold",
        "simile": "like an echo",
    }
    text = " ".join(piece for name, piece in pieces.items() if name != skill) + "!"
    text = text if skill == "quotation" else f'the judge says: "{text}"'
    assert shown(text) == seen(text) == SKILLS - {skill}
