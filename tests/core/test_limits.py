"""Limits on mixtures: the nearest allowed mixture, and plans that keep to it whoever asks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from tilth.core import Budget, Limits, Plan, Room, Run, TablePool, groups
from tilth.core.errors import BadRecipe, UsageError
from tilth.core.limits import divergence

SOURCES = ["a"] * 50 + ["b"] * 300 + ["c"] * 650
POOL = TablePool(pa.table({"text": ["x"] * 1000, "source": SOURCES, "topic": (["t", "u", "u", "u"] * 250)}))
BUDGET = Budget(200, "records")


def mixed(
    limits: Limits, shares: dict[str, float], by: str = "source", cap: float = 4.0, budget: Budget = BUDGET
) -> Plan:
    start = Plan.everything(POOL, budget, limits)
    return start.mixed({"use": "test"}, "test", shares, groups(POOL, by), Run().uniform(start.ids), cap)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000))
def test_nearest_minimises_the_divergence(seed: int) -> None:
    rng = np.random.default_rng(seed)
    natural, asked = rng.dirichlet(np.ones(4)), rng.dirichlet(np.ones(4))
    low, high = rng.uniform(0, 0.15, 4), rng.uniform(0.4, 1.0, 4)
    kl = float(rng.uniform(0.02, 0.5)) if seed % 2 else np.inf
    try:
        room = Room("abcd", natural, low, high, kl)
    except UsageError:
        return
    found = room.nearest(asked)
    assert found.sum() == pytest.approx(1, abs=1e-9)
    assert room.allows(found)
    bounds = list(zip(np.maximum(low, 1e-9), high, strict=True))
    constraints = [{"type": "eq", "fun": lambda p: p.sum() - 1}]
    if np.isfinite(kl):
        constraints.append({"type": "ineq", "fun": lambda p: kl - divergence(p, natural)})
    best = minimize(lambda p: divergence(p, asked), found, method="SLSQP", bounds=bounds, constraints=constraints)
    if best.success and room.allows(best.x / best.x.sum()):
        assert divergence(found, asked) <= best.fun + 1e-4


def test_what_is_allowed_stays_as_it_is() -> None:
    room = Room("ab", np.array([0.5, 0.5]), np.array([0.1, 0.1]), np.array([0.9, 0.9]), 0.5)
    assert room.nearest(np.array([0.3, 0.7])).tolist() == [0.3, 0.7]


def test_floor_ceiling_and_repeats_hold_in_the_plan() -> None:
    plan = mixed(Limits(floor={"a": 0.2}, ceiling={"c": 0.3}), {"c": 1.0})
    assert plan.mixture()["a"] >= 0.2 - 0.005
    assert plan.mixture()["c"] == pytest.approx(0.3, abs=0.005)
    assert plan.amount == pytest.approx(200, abs=1)
    assert "nearest mixture" in plan.decisions[0].note
    assert plan.decisions[0].details["asked"] == {"a": 0.0, "b": 0.0, "c": 1.0}
    assert mixed(Limits(repeats=1), {"a": 1.0}).epochs()["a"] == 1
    assert mixed(Limits(), {"a": 1.0}).epochs()["a"] == 4


def test_divergence_from_natural_shares_is_bounded() -> None:
    natural = np.array([0.05, 0.30, 0.65])
    for kl in (0.05, 0.3):
        made = mixed(Limits(kl=kl), {"a": 1.0}).mixture()
        found = float(divergence(np.array([made[n] for n in "abc"]), natural))
        assert found <= kl + 0.01
        assert found >= kl - 0.02, "it is used, not fled"


def test_shares_of_other_groups_keep_to_the_sources_limits() -> None:
    plan = mixed(Limits(floor={"a": 0.1}, ceiling={"c": 0.5}), {"t": 0.9, "u": 0.1}, by="topic")
    by_source, by_topic = plan.mixture(), plan.mixture(groups(POOL, "topic"))
    assert by_source["a"] >= 0.1 - 0.01
    assert by_source["c"] == pytest.approx(0.5, abs=0.01)
    assert by_topic["t"] > 0.8
    assert plan.by == "topic"


def test_shares_hold_before_the_budget_does() -> None:
    plan = mixed(Limits(ceiling={"b": 0.2, "c": 0.7}, repeats=1), {"a": 1.0}, budget=Budget(2000, "records"))
    assert plan.mixture()["c"] <= 0.71
    assert plan.amount < 1000


@pytest.mark.parametrize(
    ("given_limits", "says"),
    [
        ({"floor": {"a": 0.7, "b": 0.6}}, "130%"),
        ({"floor": {"a": 0.5}, "ceiling": {"a": 0.2}}, "floor above the ceiling"),
        ({"repeats": 0.5}, "at least 1"),
        ({"kl": 0}, "more than 0"),
        ({"ceiling": {"a": 1.5}}, "from 0 to 1"),
    ],
)
def test_limits_that_contradict_themselves_are_refused(given_limits: dict[str, object], says: str) -> None:
    with pytest.raises(BadRecipe, match=says):
        Limits(**given_limits)  # type: ignore[arg-type]


def test_limits_that_the_pool_cannot_keep_are_refused() -> None:
    with pytest.raises(UsageError, match=r"'a', and it has enough for 25\.0% of the budget"):
        mixed(Limits(floor={"a": 0.5}, repeats=1), {"c": 1.0})
    with pytest.raises(UsageError, match="'z'; there are a, b, c"):
        mixed(Limits(floor={"z": 0.5}), {"c": 1.0})
    with pytest.raises(UsageError, match=r"no more than 30\.0%"):
        mixed(Limits(ceiling={"a": 0.1, "b": 0.1, "c": 0.1}), {"c": 1.0})
    with pytest.raises(UsageError, match=r"limits\.kl"):
        mixed(Limits(floor={"a": 0.5}, kl=0.01), {"c": 1.0})


def test_a_mixture_of_one_group_is_called_collapsed() -> None:
    assert "collapsed" in mixed(Limits(), {"c": 1.0}).decisions[0].details["warnings"][0]
    assert "warnings" not in mixed(Limits(), {"c": 0.6, "b": 0.4}).decisions[0].details
