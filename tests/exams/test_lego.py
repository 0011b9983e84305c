"""lego: every reply found again by a solver of our own; skills and values balanced; no chain in two splits."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run
from tilth.core.errors import BadField, DataError
from tilth.probes.lego import Lego


def solved(prompt: str) -> tuple[str, int, frozenset[str]]:
    """The asked value, how many clauses it takes, and the clauses, by looking up one clause after another."""
    *clauses, ask = prompt.split("; ")
    means = {}
    for clause in clauses:
        match = re.fullmatch(r"([a-z]) = (val|not) ([a-z01])", clause)
        assert match is not None
        assert match[1] not in means
        means[match[1]] = (match[2], match[3])
    name, steps, flips = ask.removesuffix(" ?"), 0, 0
    while name not in "01":
        how, name = means[name]
        steps, flips = steps + 1, flips + (how == "not")
    return str(int(name) ^ flips % 2), steps, frozenset(clauses)


def rows_of(pool: Pool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.table(["messages", "source", "truth"]).to_pylist()
    return rows


@pytest.mark.parametrize(("variables", "size"), [(3, 600), (5, 2000), (12, 1200)])
def test_replies_skills_and_splits(variables: int, size: int) -> None:
    probe = Lego(variables=variables, items=10)
    world = probe.build(size, Run(seed=variables))
    assert world.goal is not None
    assert world.pool.count == size
    seen: list[frozenset[str]] = []
    for pool in (world.pool, world.goal.target, world.goal.holdout):
        rows = rows_of(pool)
        counts: Counter[tuple[int, str]] = Counter()
        for row in rows:
            (ask, reply), truth = row["messages"], row["truth"]
            value, steps, clauses = solved(ask["content"])
            assert (value, steps) == (truth["answer"], truth["skill"])
            assert reply["content"] == value
            assert row["source"] == f"skill{steps}"
            assert truth["needs"] == [*range(1, steps)]
            assert len(clauses) == variables
            seen.append(clauses)
            counts[(steps, value)] += 1
        assert len(counts) == 2 * variables
        assert max(counts.values()) - min(counts.values()) <= 1
    assert len(set(seen)) == len(seen), "a chain is told twice"


def test_deep_replies_cannot_be_read_off() -> None:
    """Neither the given value, nor the place or the wording of the asked clause, tells a deep reply."""
    rows = [r for r in rows_of(Lego().build(6000, Run(seed=1)).pool) if r["truth"]["skill"] > 1]
    prompts = [r["messages"][0]["content"] for r in rows]
    answers = np.array([r["truth"]["answer"] == "1" for r in rows])
    given = np.array([re.search(r"val 1", p) is not None for p in prompts])
    negated = np.array([re.search(rf"{p[-3]} = not", p) is not None for p in prompts])
    many = np.array([p.count("not") % 2 == 1 for p in prompts])
    for cue in (given, negated, many):
        assert 0.47 < (cue == answers).mean() < 0.53
    where = np.array([p.index(f"{p[-3]} = ") for p in prompts])
    early = answers[where < np.median(where)].mean()
    assert 0.47 < early < 0.53
    assert 0.48 < np.mean([p.count("not") / 4 for p in prompts]) < 0.52


def test_marks() -> None:
    probe = Lego()
    world = probe.build(200, Run(seed=2))
    assert world.goal is not None
    rows = rows_of(world.goal.holdout)
    replies = [solved(r["messages"][0]["content"])[0] for r in rows]
    assert probe.grade(world, replies) == 1.0
    shallow = [a if r["truth"]["skill"] < 3 else "0" for a, r in zip(replies, rows, strict=True)]
    assert probe.grade(world, shallow) == pytest.approx(0.4 + 0.6 * 0.5)
    assert probe.grade(world, [None] * len(rows)) == 0.0
    chain = np.eye(5) + np.diag(np.ones(4), 1)  # only the step before is seen to help
    assert 0.5 < probe.grade(world, chain) < 1.0
    assert probe.grade(world, np.ones((5, 5))) == 0.5
    assert probe.grade(world, probe.graph() * 0.3 + 0.1) == 1.0
    with pytest.raises(DataError, match="5 by 5"):
        probe.grade(world, np.ones((4, 4)))
    with pytest.raises(DataError, match="Got 1 for 100"):
        probe.grade(world, ["1"])
    with pytest.raises(DataError, match="tells no chain twice"):
        Lego(variables=3).build(100_000, Run())
    with pytest.raises(BadField, match="variables"):
        Lego(variables=2)
