"""FladUcb1: its closed form, the entry's 20 arms, and a cost that does not grow with them."""

from __future__ import annotations

import numpy as np
import pytest
from tests.exams.test_flad_exp3 import Arms, Linear, accuracy, helpful
from tests.exams.test_steered import plan_of, trial, world

from tilth.core import Run
from tilth.models.influence import Known
from tilth.policies.mix.flad_ucb1 import FladUcb1, State


def fresh(arms: Arms | Linear) -> State:
    return State(tuple(arms.domains))


def test_closed_form() -> None:
    """Cosines 1, .6 and 0; b was read, of a mean of .2, with 3, 4 and 9 looks."""
    asked = Known.of({"a": [1, 0], "b": [3, 4], "c": [0, 1]}, {"goal": [1, 0]})
    shares, first = FladUcb1().step(State(("a", "b", "c")), {"step": 0, "influence": asked}, Run())
    assert first.means == pytest.approx((1, 0.6, 0))
    assert first.tried == (1, 1, 1)
    assert shares == {"a": 1.0, "b": 0.0, "c": 0.0}
    state = State(("a", "b", "c"), (0.1, 0.2, 0.3), (3, 4, 9), 1)
    shares, after = FladUcb1(beta=0.25).step(state, {"step": 9, "influence": asked}, Run())
    assert after.means == pytest.approx((0.1, 0.75 * 0.2 + 0.25 * 0.6, 0.3))
    assert after.tried == (3, 5, 9)
    bound = np.array([0.1, 0.3, 0.3]) + np.sqrt(2 * np.log(17) / np.array([3, 5, 9]))
    assert shares[["a", "b", "c"][int(bound.argmax())]] == 1
    greedy, _ = FladUcb1(beta=0.25, explore=0).step(state, {"step": 9, "influence": asked}, Run())
    assert greedy["a"] == 0
    _, half = FladUcb1(positive=True).step(State(("a", "b", "c")), {"step": 0, "influence": asked}, Run())
    assert half.means == pytest.approx((1, 0.8, 0.5))


def test_finds_the_arms_that_help() -> None:
    """The entry's number: 40 %, where chance gives 15 %; and with the last reward alone it knows less."""
    told = helpful(FladUcb1(), fresh)
    assert told > 0.37
    assert helpful(FladUcb1(beta=1), fresh) < told
    assert helpful(FladUcb1(explore=0.3), fresh) > told


def test_the_target_is_learned_better_than_with_shares_that_stay() -> None:
    """By the paper's bonus better than in equal shares; by a smaller one, as cosines are small, than by alignment."""
    even, by_alignment = accuracy(None), accuracy(None, aligned=True)
    assert accuracy(FladUcb1(), fresh) > even + 0.03
    assert accuracy(FladUcb1(explore=0.3), fresh) > by_alignment + 0.03


def test_asks_for_everyone_once_and_then_for_one() -> None:
    for count in (20, 200):
        arms = Arms(count, np.random.default_rng(0))
        state = fresh(arms)
        for step in range(50):
            _, state = FladUcb1().step(state, {"step": step, "influence": arms}, Run())
        assert arms.asked == count + 49


def test_it_steers_a_trial() -> None:
    made = world()
    curve = trial(plan_of(made, policy={"use": "flad_ucb1", "explore": 0.1}, every=1), made)
    late = [shares for step, shares in curve.shares if step > 30]
    assert np.mean([shares["a"] for shares in late]) > np.mean([shares["d"] for shares in late]) + 0.05
