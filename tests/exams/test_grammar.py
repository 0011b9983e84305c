"""The grammar: a parser of its own finds the main verb, and both rules are carried out word by word."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes.grammar import Grammar, rules

AUXILIARIES = {"do", "does", "don't", "doesn't"}
PLACES = {"near", "behind", "by", "above", "below", "with"}
DETERMINERS = {"the", "some", "my", "your", "our", "her"}
NOUNS = {"newt", "yak", "walrus", "zebra", "raven", "salamander", "orangutan", "quail", "vulture", "xylophone"}


def singular(word: str) -> str:
    return word if word in NOUNS else word.removesuffix("es" if word == "walruses" else "s")


class Parser:
    """Recursive descent; notes for every verb or auxiliary the noun that is its subject, and which of them is main."""

    def __init__(self, words: list[str]) -> None:
        self.words, self.at = words, 0
        self.subjects: dict[int, int] = {}
        subject = self.noun_phrase()
        self.main = self.at
        self.predicate(subject)
        assert self.at == len(words), words[self.at :]

    def peek(self) -> str:
        return self.words[self.at] if self.at < len(self.words) else ""

    def noun_phrase(self) -> int:
        assert self.peek() in DETERMINERS, self.peek()
        self.at += 1
        while singular(self.peek()) not in NOUNS:
            self.at += 1
        noun = self.at
        self.at += 1
        if self.peek() in PLACES:
            self.at += 1
            self.noun_phrase()
        elif self.peek() == "that":
            self.at += 1
            if self.peek() in DETERMINERS:
                self.verb(self.noun_phrase())
            else:
                self.predicate(noun)
        return noun

    def verb(self, subject: int) -> None:
        self.subjects[self.at] = subject
        self.at += 2 if self.peek() in AUXILIARIES else 1

    def predicate(self, subject: int) -> None:
        self.verb(subject)
        if self.peek() in PLACES:
            self.at += 1
        if self.peek() in DETERMINERS:
            self.noun_phrase()


def many(noun: str) -> bool:
    return noun not in NOUNS


def inflected(words: list[str], subjects: dict[int, int]) -> list[str]:
    """Past to present, each verb agreeing with the word its subject stands at."""
    made = [*words]
    for at, subject in subjects.items():
        stem = words[at].removesuffix("ed")
        base = stem if stem.endswith(("y", "d", "t", "n", "h", "ss", "l", "ber", "mble")) else stem + "e"
        base = {"mumbl": "mumble", "giggl": "giggle", "smil": "smile"}.get(stem, base)
        made[at] = base if many(words[subject]) else base + ("es" if base.endswith("ss") else "s")
    return made


def nearest(words: list[str], subjects: dict[int, int]) -> dict[int, int]:
    return {at: max(i for i in range(at) if singular(words[i]) in NOUNS) for at in subjects}


def both_rules(words: list[str], task: str) -> tuple[str, str]:
    """The answer by structure and the answer by words."""
    found = Parser(words)
    if task == "tense":
        near = nearest(words, found.subjects)
        return " ".join([*inflected(words, found.subjects), "."]), " ".join([*inflected(words, near), "."])
    first = next(i for i, w in enumerate(words) if w in AUXILIARIES)
    made = [[words[i], *words[:i], *words[i + 1 :], "?"] for i in (found.main, first)]
    return " ".join(made[0]), " ".join(made[1])


def rows(pool: Pool) -> list[tuple[list[str], str, str, dict[str, Any]]]:
    turns, truth = pool.column("messages").to_pylist(), pool.column("truth").to_pylist()
    made = []
    for m, t in zip(turns, truth, strict=True):
        *words, stop, mark = m[0]["content"].split()
        assert stop == "."
        made.append((words, mark, m[1]["content"], t))
    return made


def parts(world: World) -> tuple[Pool, Pool, Pool]:
    assert world.goal is not None
    return world.pool, world.goal.target, world.goal.holdout


@pytest.mark.parametrize("task", ["question", "tense"])
def test_training_fits_both_rules_and_the_holdout_one(task: str) -> None:
    world = Grammar(task=task, p_center=0.5, depth=3).build(1500, Run(seed=2))
    pool, target, holdout = parts(world)
    seen: list[set[str]] = []
    for part in (pool, target, holdout):
        sentences = set()
        for words, mark, answer, truth in rows(part):
            sentences.add(" ".join(words))
            if mark in ("DECL", "PAST"):
                assert answer == " ".join([*words, "."])
                assert truth["rule"] == "copy"
                continue
            assert mark == ("QUEST" if task == "question" else "PRESENT")
            structure, linear = both_rules(words, task)
            assert answer == structure
            decisive = [a.split()[truth["place"]] for a in (structure, linear)]
            assert decisive == [truth["main"], truth["linear"]]
            assert (structure == linear) == (decisive[0] == decisive[1]) == (part is not holdout)
            assert truth["rule"] == ("main" if part is holdout else "both")
            if task == "question" and part is not holdout:  # no question shows a clause inside its subject
                assert "that" not in words[: Parser(words).main]
        assert len(sentences) == part.count
        seen.append(sentences)
    assert not seen[0] & seen[1]
    assert not (seen[0] | seen[1]) & seen[2]
    vocabulary = [{w for s in group for w in s.split()} for group in seen]
    assert vocabulary[2] <= vocabulary[0], "the holdout has words that training lacks"


@pytest.mark.parametrize("task", ["question", "tense"])
@pytest.mark.parametrize("p_center", [0.0, 0.3, 1.0])
def test_shares_are_as_asked(task: str, p_center: float) -> None:
    pool, _, holdout = parts(Grammar(task=task, p_center=p_center, copied=0.4).build(1000, Run()))
    copies = [words for words, _, _, truth in rows(pool) if truth["rule"] == "copy"]
    assert len(copies) == 400
    inside = [("that" in s or (task == "tense" and bool(PLACES & set(s)))) for s in map(subject_of, copies)]
    assert sum(inside) == pytest.approx(400 * p_center)
    assert sum(pool.column("truth.center").to_pylist()) >= 400 * p_center
    assert all(holdout.column("truth.center").to_pylist())


def subject_of(words: list[str]) -> list[str]:
    return words[: Parser(words).main]


def test_trees_and_repeats_are_as_asked() -> None:
    for trees, unique in ((5, 1.0), (50, 0.25)):
        pool, target, _ = parts(Grammar(trees=trees, unique=unique, p_center=0.5).build(2000, Run(seed=1)))
        shapes: dict[bool, set[str]] = {True: set(), False: set()}
        for row in [*pool.column("truth").to_pylist(), *target.column("truth").to_pylist()]:
            shapes[row["center"]].add(row["tree"])
        assert {len(s) for s in shapes.values()} == {trees}
        prompts = [" ".join(words) for words, *_ in rows(pool)]
        assert len(set(prompts)) == 2000 * unique
        assert max(map(prompts.count, set(prompts))) == 1 / unique
        assert max(pool.column("truth.copy").to_pylist()) == 1 / unique - 1
    with pytest.raises(DataError, match="of the 5000 distinct trees"):
        Grammar(trees=5000, depth=1).build(10, Run())


def test_tree_diversity_is_seen_in_the_words() -> None:
    """Counted by a reading of the sentences that knows nothing of trees: the sequence of word classes."""

    def classes(fields: dict[str, int]) -> int:
        pool, _, _ = parts(Grammar(depth=3, **fields).build(1500, Run()))
        return len({tuple(map(kind, words)) for words, *_ in rows(pool)})

    assert classes({"trees": 10}) <= 20 < 200 < classes({"trees": 200}) <= 400 < classes({})


def kind(word: str) -> str:
    groups = {"aux": AUXILIARIES, "place": PLACES, "det": DETERMINERS, "that": {"that"}}
    adjectives = {"old", "shy", "tall", "quiet", "clever", "green"}
    groups |= {"noun": NOUNS | {word} if singular(word) in NOUNS else NOUNS, "adjective": adjectives}
    return next((name for name, group in groups.items() if word in group), "verb")


@pytest.mark.parametrize(("task", "chance"), [("question", 0.25), ("tense", 0.5)])
def test_grading_and_its_chance(task: str, chance: float) -> None:
    probe = Grammar(task=task, items=400)
    world = probe.build(100, Run())
    _, _, holdout = parts(world)
    asked = rows(holdout)
    by_structure, by_words = zip(*(both_rules(words, task) for words, *_ in asked), strict=True)
    assert probe.grade(world, by_structure) == 1
    assert probe.grade(world, by_words) == 0
    assert rules(holdout, by_words) == {"main": 0, "linear": 1, "neither": 0}
    assert rules(holdout, [""] * 400) == {"main": 0, "linear": 0, "neither": 1}
    rng = np.random.default_rng(0)
    if task == "question":
        guesses = [str(g) for g in rng.choice(sorted(AUXILIARIES), 400)]
    else:
        guesses = [
            pair[int(i)]
            for pair, i in zip(zip(by_structure, by_words, strict=True), rng.integers(2, size=400), strict=True)
        ]
    assert probe.grade(world, guesses) == pytest.approx(chance, abs=0.08)
    mains = holdout.column("truth.main").to_pylist()
    if task == "question":
        assert all(60 < mains.count(a) < 140 for a in AUXILIARIES)
