"""RegSet: labels by `re`, languages by enumeration, splits that share no language."""

from __future__ import annotations

import re
from collections import Counter
from itertools import product
from math import log2
from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes._automata import Automaton, Expression, automaton, expression, positions, render, star_free
from tilth.probes.regset import RegSet, solved

SPLITS = ["new", "more_operators", "larger_alphabet", "longer_strings"]


def every(letters: str, longest: int) -> list[str]:
    return ["".join(s) for n in range(longest + 1) for s in product(letters, repeat=n)]


def parts(world: World) -> dict[str, Pool]:
    assert world.goal is not None
    return {"pool": world.pool, "target": world.goal.target, "holdout": world.goal.holdout}


def truths(pool: Pool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.column("truth").to_pylist()
    return rows


@pytest.mark.parametrize("split", SPLITS)
def test_labels_balance_and_splits(split: str) -> None:
    world = RegSet(split=split, items=8, strings=16, alphabet=3, hard=split == "new").build(320, Run(seed=3))
    expressions: dict[str, set[str]] = {}
    for name, pool in parts(world).items():
        rows = truths(pool)
        assert pool.count == {"pool": 320, "target": 128, "holdout": 128}[name]
        lengths: dict[str, Counter[tuple[str, int]]] = {}
        for row, turns in zip(rows, pool.column("messages").to_pylist(), strict=True):
            regex, string = (line.split(": ")[1].replace(" ", "") for line in turns[0]["content"].splitlines())
            assert (regex, string) == (row["regex"], row["string"])
            assert turns[1]["content"] == row["answer"] == ("yes" if re.fullmatch(regex, string) else "no")
            lengths.setdefault(row["set"], Counter())[row["answer"], len(string)] += 1
        for count in lengths.values():  # what a string's length says about its label: nothing
            assert sum(count.values()) == 16
            assert all(count["yes", n] == count["no", n] for _, n in count)
        pairs = [(r["set"], r["string"]) for r in rows]
        assert len(set(pairs)) == len(pairs)
        assert all(set(r["string"]) <= set(r["regex"]) for r in rows), "a letter gives a negative away"
        expressions[name] = {r["regex"] for r in rows}
    strings = every("abcde", 5)
    seen = {tuple(map(bool, map(re.compile(r).fullmatch, strings))): r for group in expressions.values() for r in group}
    # Languages that differ on short strings are different languages; all of them do.
    assert len(seen) == sum(map(len, expressions.values())) == 20 + 8 + 8
    longest = {name: max(len(r["string"]) for r in truths(pool)) for name, pool in parts(world).items()}
    most = {name: max(r["operators"] for r in truths(pool)) for name, pool in parts(world).items()}
    held = truths(world.goal.holdout) if world.goal else []
    assert longest["pool"] <= 12
    assert most["pool"] <= 7
    assert (min(r["operators"] for r in held) > 7) == (split == "more_operators")
    assert (min(len(r["string"]) for r in held) > 12) == (split == "longer_strings")
    assert all((set(r["regex"]) & {"d", "e"} != set()) == (split == "larger_alphabet") for r in held)
    assert not {"d", "e"} & set("".join(expressions["pool"]))
    if split == "new":
        assert min(r["states"] for r in truths(world.pool)) >= 5


def test_attributes_are_those_of_the_language() -> None:
    world = RegSet(length=8, items=1).build(800, Run(seed=4))
    suffixes = every("ab", 7)
    for row in {r["set"]: r for r in truths(world.pool)}.values():
        match = re.compile(row["regex"]).fullmatch
        letters = "".join(sorted(set(row["regex"]) & {"a", "b"}))
        found = sum(bool(match(s)) for s in every(letters, 8) if s)
        assert row["size"] == pytest.approx(log2(found))
        own = [s for s in suffixes if set(s) <= set(letters)]
        residuals = {tuple(bool(match(s + t)) for t in own) for s in own}
        assert row["states"] == len(residuals), row["regex"]  # Myhill-Nerode, on short strings
        stripped = re.sub(r"[^ab*]", "", row["regex"])
        assert row["operators"] == row["regex"].count("*") + len(stripped.replace("*", "")) - 1


def machine(regex: str) -> tuple[Automaton, bool, bool]:
    tree = parse(regex)
    assert render(tree) == regex
    found = positions(tree)
    made = automaton(found, 100)
    assert made is not None
    monoid = made.monoid(1000)
    assert monoid is not None
    return made, star_free(monoid), found.ambiguous


def parse(regex: str) -> Expression:
    """A recursive-descent reader, so that known expressions can be written down."""
    rest = [*regex]

    def union() -> Expression:
        left = chain()
        while rest and rest[0] == "|":
            rest.pop(0)
            left = ("alt", left, chain())
        return left

    def chain() -> Expression:
        left = star()
        while rest and rest[0] not in "|)":
            left = ("cat", left, star())
        return left

    def star() -> Expression:
        letter = rest.pop(0)
        inner: Expression = ("lit", letter)
        if letter == "(":
            inner = union()
            assert rest.pop(0) == ")"
        while rest and rest[0] == "*":
            rest.pop(0)
            inner = ("star", inner)
        return inner

    return union()


def test_textbook_languages() -> None:
    assert machine("(a|b)*")[0] == machine("(a*b)*a*")[0] == machine("(b*a)*b*")[0]
    assert machine("aa*")[0] == machine("a*a")[0] != machine("a*")[0]
    assert machine("(ab)*a")[0] == machine("a(ba)*")[0]
    for regex, star_is_free, ambiguous in (
        ("(aa)*", False, False),
        ("(ab)*", True, False),
        ("a*b", True, False),
        ("(b|ab*a)*", False, False),  # an even number of a
        ("(b|ab*ab*a)*", False, False),  # a multiple of three
        ("a*a*", True, True),
        ("(a|ab)(c|bc)", True, True),
        ("(a|b)*a(a|b)*", True, True),
    ):
        assert machine(regex)[1:] == (star_is_free, ambiguous), regex
    assert [len(machine(r)[0].moves) for r in ("(aa)*", "(ab)*", "(a|b)*a(a|b)(a|b)")] == [2, 3, 8]


def test_draws_are_uniform_and_rendering_keeps_the_operators() -> None:
    rng = np.random.default_rng(0)
    made, _, _ = machine("(ab|b)*")
    counts = made.counts(8)
    drawn = Counter(made.draw(counts, 8, rng) for _ in range(3400))
    assert len(drawn) == counts[8][0] == 34
    assert max(drawn.values()) < 160
    assert min(drawn.values()) > 55
    for count in range(1, 12):
        tree = expression(count, "ab", rng)
        assert len(re.findall(r"[ab]", render(tree))) - 1 + render(tree).count("*") == count
        assert parse(render(tree))


def test_shortcuts_do_not_pay() -> None:
    from sklearn.feature_extraction.text import CountVectorizer
    from sklearn.linear_model import LogisticRegression

    world = RegSet(items=60).build(4000, Run(seed=5))
    pools = parts(world)
    texts = {n: [m[0]["content"] for m in p.column("messages").to_pylist()] for n, p in pools.items()}
    strings = {n: [r["string"] for r in truths(p)] for n, p in pools.items()}
    labels = {n: [r["answer"] for r in truths(p)] for n, p in pools.items()}
    for data in (texts, strings):
        bag = CountVectorizer(analyzer="char", ngram_range=(1, 3), lowercase=False)
        model = LogisticRegression(max_iter=300).fit(bag.fit_transform(data["pool"]), labels["pool"])
        accuracy = model.score(bag.transform(data["holdout"]), labels["holdout"])
        assert accuracy < 0.7


def test_grading_and_its_chance() -> None:
    probe = RegSet(items=30)
    world = probe.build(60, Run())
    assert world.goal is not None
    right = [r["answer"] for r in truths(world.goal.holdout)]
    assert probe.grade(world, right) == solved(world.goal.holdout, right) == 1
    for constant in ("yes", "no"):
        assert probe.grade(world, [constant] * len(right)) == 0.5
        assert solved(world.goal.holdout, [constant] * len(right)) == 0
    assert probe.grade(world, ["perhaps"] * len(right)) == 0
    with pytest.raises(DataError, match="one answer per record"):
        probe.grade(world, right[1:])


def test_a_world_that_cannot_be_is_refused() -> None:
    with pytest.raises(DataError, match="found no new language"):
        RegSet(operators=3, items=500, length=4).build(20, Run())
