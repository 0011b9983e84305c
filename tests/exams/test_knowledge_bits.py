"""knowledge_bits: exposures and junk as stated, the counted characters read back, and marks of models of our own."""

from __future__ import annotations

import re
from collections import Counter
from math import log
from typing import Any

import numpy as np
import pytest

from tilth.core import Run, World
from tilth.core.errors import DataError
from tilth.models.knowledge import NAMES, VALUES
from tilth.probes.knowledge_bits import KNOWN, TAG, KnowledgeBits, spans

SIZES = {
    "pronoun": 2,
    "birth_date": 12 * 28 * 200,
    "birth_city": 200,
    "university": 300,
    "major": 100,
    "employer": 263,
}


def rows_of(pool: Any) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.table(["text", "source", "truth"]).to_pylist()
    return rows


@pytest.mark.parametrize(
    ("junk_ratio", "junk_people", "told"), [(0.0, 0, set()), (7 / 8, 0, {1}), (7 / 8, 50, {56}), (0.5, 30, {13, 14})]
)
def test_exposures_and_junk(junk_ratio: float, junk_people: int, told: set[int]) -> None:
    probe = KnowledgeBits(exposures=20, junk_ratio=junk_ratio, junk_people=junk_people)
    size = 3200 if junk_ratio == 7 / 8 else 800
    world = probe.build(size, Run(seed=1))
    rows = rows_of(world.pool)
    assert len(rows) == size
    useful = Counter(r["truth"]["person"] for r in rows if r["truth"]["useful"])
    junk = Counter(r["truth"]["person"] for r in rows if not r["truth"]["useful"])
    assert set(useful.values()) == {20}
    assert sum(useful.values()) == pytest.approx(size * (1 - junk_ratio))
    assert set(junk.values()) == told
    if junk_people:
        assert len(junk) == junk_people
    assert not set(useful) & set(junk)
    assert len({r["truth"]["name"] for r in rows}) == len(useful) + len(junk)
    assert len({r["text"] for r in rows}) == size, "every text has words of its own"
    assert {(r["source"], r["truth"]["useful"]) for r in rows} <= {("almanac", True), ("junk", False)}
    places = np.flatnonzero([r["truth"]["useful"] for r in rows])
    assert abs(places.mean() / size - 0.5) < 0.05, "useful texts are spread over the pool"
    assert world.goal is not None
    asked = rows_of(world.goal.holdout)
    assert Counter(r["truth"]["person"] for r in asked) == Counter(dict.fromkeys(useful, 1))
    assert all(r["truth"]["useful"] for r in asked)
    texts = [r["text"] for r in asked + rows_of(world.goal.target)]
    assert not {r["text"] for r in rows} & set(texts)
    assert len(set(texts)) == 2 * len(useful)


@pytest.mark.parametrize("tag", [True, False])
def test_the_counted_characters(tag: bool) -> None:
    world = KnowledgeBits(exposures=5, junk_ratio=0.5, tag=tag).build(400, Run(seed=2))
    assert world.goal is not None
    for pool, asked in ((world.pool, False), (world.goal.target, True), (world.goal.holdout, True)):
        for row in rows_of(pool):
            text, truth = row["text"], row["truth"]
            assert text.startswith(TAG) == (tag and truth["useful"])
            assert TAG not in text[len(TAG) :]
            (begin, end), values = spans(truth)
            assert text[begin:end] == truth["name"]
            assert text.index(truth["name"]) == begin
            assert [text[a:b] for a, b in values[1:]] == [truth[k] for k in KNOWN[1:]]
            first = re.search(r"\b(he|she|him|his|her)\b", text, re.IGNORECASE)
            assert first is not None
            assert first.start() == values[0][0]
            assert first.group().lower() in {"he": ("he", "him", "his"), "she": ("she", "her")}[truth["pronoun"]]
            if asked:
                assert text[: values[0][0]].endswith(" that ")
                assert first.group() == truth["pronoun"]


def losses(world: World, knows: dict[str, float]) -> tuple[float, float]:
    """p1 and p2 of a model that has each attribute by heart of a share of the people, and guesses evenly otherwise."""
    assert world.goal is not None
    people = [r["truth"] for r in rows_of(world.goal.holdout)]
    n = len(people)
    p2 = [sum(0.0 if i < knows.get(a, 0.0) * n else log(SIZES[a]) for a in SIZES) for i in range(n)]
    name = [log(n) if i < knows.get("name", 0.0) * n else log(NAMES) for i in range(n)]
    return float(np.mean(name)), float(np.mean(p2))


def test_marks() -> None:
    probe = KnowledgeBits(exposures=5)
    world = probe.build(500, Run(seed=3))
    assert probe.grade(world, losses(world, dict.fromkeys(("name", *SIZES), 1.0))) == 1.0
    assert probe.grade(world, losses(world, {})) == pytest.approx(0.0, abs=1e-12)
    assert probe.grade(world, (log(NAMES) + 5, log(VALUES))) == 0.0
    half = probe.grade(world, losses(world, dict.fromkeys(("name", *SIZES), 0.5)))
    assert half == pytest.approx(0.5)
    more = probe.grade(world, losses(world, {**dict.fromkeys(("name", *SIZES), 0.5), "university": 1.0}))
    assert more - half == pytest.approx(0.5 * np.log2(300) / (np.log2(NAMES / 100) + np.log2(VALUES)))
    with pytest.raises(DataError, match="two finite losses"):
        probe.grade(world, (float("nan"), 0.0))
