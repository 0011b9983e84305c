from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest

from tilth.engine.evidence.halving import Halving, rungs, successive_halving


def test_rounds_cost_alike_and_never_more_than_trying_everyone() -> None:
    assert rungs(32, 6) == [(32, 4), (16, 3), (8, 2), (4, 1), (2, 0)]
    assert rungs(9, 6) == [(9, 3), (5, 2), (3, 1), (2, 0)]
    assert rungs(3, 6) == [(3, 0)]
    assert rungs(1, 6) == [(1, 0)]
    assert rungs(8, 0) == [(8, 0)]
    for count in range(1, 70):
        for deepest in range(7):
            found = rungs(count, deepest)
            assert found[-1][1] == 0
            assert [h for _, h in found] == sorted((h for _, h in found), reverse=True)
            assert len(found) - 1 <= deepest
            assert sum(Fraction(n, 2**h) for n, h in found) <= count


def planted(seed: int) -> tuple[Halving, str, Fraction]:
    """32 candidates of known worth, the best of them by 0.15; what halving found, the best, and what was asked for."""
    rng = np.random.default_rng(seed)
    truth = dict(zip((f"c{i}" for i in range(32)), rng.permutation(np.linspace(1.0, 2.0, 32)), strict=True))
    best = min(truth, key=lambda n: truth[n])
    truth[best] -= 0.15
    asked: list[Fraction] = []

    def evaluate(names: Sequence[str], halvings: int) -> dict[str, float]:
        asked.append(Fraction(len(names), 2**halvings))
        noise = 0.05 * 2 ** (halvings / 2)  # a trial with half the data is noisier
        return {n: truth[n] + rng.normal(0, noise) for n in names}

    made = successive_halving(evaluate, [*truth], 6)
    assert set(made.out) | set(made.kept) == set(truth)
    assert all(name not in made.rungs[number].kept for name, (number, _) in made.out.items())
    return made, best, sum(asked, Fraction(0))


def test_the_planted_best_is_found_for_a_fraction_and_every_trial_is_accounted_for() -> None:
    found = 0
    for seed in range(200):
        made, best, cost = planted(seed)
        found += made.kept[0] == best
        assert made.spent == cost == 10
    assert found >= 195
    assert made.saved == pytest.approx(1 - 10 / 32)


def test_ties_go_by_order_and_failures_are_named_and_not_replaced() -> None:
    def evaluate(names: Sequence[str], halvings: int) -> dict[str, float]:
        return {n: 1.0 for n in names if not (n == "b" and halvings == 1)}

    made = successive_halving(evaluate, [*"abcdefgh"], 6)
    assert [len(r.scores) for r in made.rungs] == [8, 3, 2]
    assert made.rungs[0].kept == ("a", "b", "c", "d")
    assert made.rungs[1].failed == ("b",)
    assert made.kept == ("a", "c")
    assert made.spent == Fraction(8, 4) + Fraction(4, 2) + 2
    assert successive_halving(lambda names, halvings: {}, ["a"], 3).kept == ()
    with pytest.raises(ValueError, match="at least one"):
        successive_halving(evaluate, [], 3)
