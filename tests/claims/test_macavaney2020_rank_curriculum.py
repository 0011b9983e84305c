"""The claim about easy pairs first in miniature: the world's truth, the weights that were used, and the judgement."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import macavaney2020_rank_curriculum as claim

TOY = claim.Scale(things=12, passages=60, held=20, epochs=4, end=2.0, batch=8, width=32)


def test_hard_queries_share_one_name_and_mean_one_passage() -> None:
    made = claim.world(Run(), TOY)
    hard = np.concatenate(made.hard)
    queries = [*made.pool.column("query").to_pylist(), *made.asked]
    assert len(queries) == len(made.passages) == 80
    means = [{word[1:] for word in text.split() if word[0] in "ab"} for text in queries]
    told = [{word[1:] for word in text.split() if word[0] == "a"} for text in made.passages]
    assert all(sum(mine == other for other in told) == 1 for mine in means), "one passage has a query's three things"
    assert means == told
    shared = [len({*q.split()} & {*p.split()}) for q, p in zip(queries, made.passages, strict=True)]
    assert [3 - 2 * h for h in hard.tolist()] == shared
    assert not any(word.startswith("b") for text in made.passages for word in text.split())
    for own, wrong in zip(made.passages, made.pool.column("negatives").to_pylist(), strict=False):
        assert wrong != [own]


def test_all_arms_learn_and_the_weights_are_those_told() -> None:
    found = claim.measured(Run(), TOY)
    assert found.keys() == set(claim.ARMS)
    assert found["none"]["easiness, easy"] > found["none"]["easiness, hard"] + 0.1
    for arm in claim.ARMS:
        assert 0 < found[arm]["end"] <= 1
        assert found[arm]["weights as they should be"] == 1
    assert found["curriculum"]["end"] != found["none"]["end"]


def test_weights_that_break_the_formula_are_noticed() -> None:
    first = np.array([0.2, 1.0])
    both = np.arange(2)
    good = [(both, np.array([0.2, 1.0])), (both, np.array([0.6, 1.0])), (both, np.array([1.0, 1.0]))]
    assert claim.as_told(first, good, 2, 2, 2)
    falls = [good[1], good[0], good[2]]
    low = [(both, np.array([0.1, 1.0])), *good[1:]]
    late = [good[0], good[1], (both, np.array([0.9, 1.0]))]
    for bad in (falls, low, late, []):
        assert not claim.as_told(first, bad, 2, 2, 2)


def test_statements_hold_where_they_should() -> None:
    def holds(curriculum: float, steps: float, anti: float, right: float) -> list[str]:
        def arm(end: float, steps: float) -> dict[str, float]:
            rest = dict.fromkeys(("easy", "hard", "half way", "easiness, easy", "easiness, hard", "BM25"), 0.5)
            return {"end": end, "steps": steps, "weights as they should be": right, **rest}

        found = {"none": arm(0.5, 100), "curriculum": arm(curriculum, steps), "anti": arm(anti, 100)}
        return [row["holds"] for row in claim.statements([found] * 3)[:4]]

    assert holds(0.55, 80, 0.4, 1) == ["yes"] * 4
    assert holds(0.505, 110, 0.52, 0) == ["no"] * 4
