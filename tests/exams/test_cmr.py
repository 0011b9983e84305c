"""Cmr must find the measured critical ratio: above it the tolerance breaks, below it the domain learns less."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool, groups
from tilth.core.errors import UsageError
from tilth.policies.mix.cmr import Cmr
from tilth.proofs.ngram import Ngram

LENGTH = 60
PROOF = Ngram(tokens=30_000)
POLICY = Cmr(domain="new", tolerance=0.1, cap=20, proof=PROOF)
Floats = npt.NDArray[np.float64]


def world(seed: int, n: int = 1500, limits: Limits | None = None) -> tuple[TablePool, Goal, Plan, Run]:
    """Two general sources and a new domain that shares some of their words; the target is of the domain."""
    rng = np.random.default_rng(seed)
    common = rng.dirichlet(np.full(300, 0.3))
    topics = {name: 0.3 * common + 0.7 * rng.dirichlet(np.full(300, 0.2)) for name in ("old1", "old2", "new")}

    def table(names: list[str], part: str) -> pa.Table:
        texts = [" ".join(f"w{w}" for w in rng.choice(300, LENGTH, p=topics[name])) for name in names]
        sizes = pa.array([{"count": LENGTH}] * len(names), pa.struct([("count", pa.int32())]))
        ids = [f"{part}{i}" for i in range(len(names))]
        return pa.table({"id": ids, "text": texts, "source": names, "tokens": sizes})

    pool = TablePool(table(["old1"] * (n // 2) + ["old2"] * (n // 4) + ["new"] * (n // 4), "pool"))
    target = TablePool(table(["new"] * 40, "target"))
    general = table(["old1"] * 60 + ["old2"] * 30, "general")
    goal = Goal(target, TablePool(general), Budget(int(n * LENGTH * 0.2)), limits or Limits())
    return pool, goal, Plan.everything(pool, goal.budget, limits), Run(seed=seed)


def curve(pool: TablePool, items: TablePool, goal: Goal, plan: Plan, run: Run, ratios: Floats) -> Floats:
    """Losses of items never seen by the policy, at each ratio."""
    by = groups(pool)
    shares = np.stack([[r, 2 / 3 * (1 - r), 1 / 3 * (1 - r)] for r in ratios])  # new, old1, old2
    asked = Goal(items, items, goal.budget)
    return np.asarray(PROOF.mixtures(shares, by, plan, pool, asked, run.at("check")).mean(1))


@pytest.mark.parametrize("seed", range(3))
def test_finds_the_measured_ratio(seed: int) -> None:
    pool, goal, start, run = world(seed)
    plan = POLICY.revise(start, pool, goal.blind(), run)
    told = plan.decisions[-1].details
    grid = np.linspace(0, 1, 101)
    assert isinstance(goal.holdout, TablePool)
    assert isinstance(goal.target, TablePool)
    general = curve(pool, goal.holdout, goal, start, run, grid)
    measured = grid[general <= general[0] + POLICY.tolerance].max()
    assert told["critical"] == pytest.approx(measured, abs=0.1)
    assert plan.mixture()["new"] == pytest.approx(told["critical"], abs=0.01)
    assert told["left_out_error"]["general"] < 0.02
    assert told["left_out_error"]["domain"] < 0.02
    above, at, below = told["critical"] + 0.15, told["critical"], told["critical"] - 0.15
    forgot = curve(pool, goal.holdout, goal, start, run, np.array([0.0, above]))
    assert forgot[1] - forgot[0] > POLICY.tolerance, "above the ratio the tolerance is broken"
    learned = curve(pool, goal.target, goal, start, run, np.array([at, below]))
    assert learned[0] < learned[1], "below it domain loss is wasted"
    assert plan.mixture()["old1"] / plan.mixture()["old2"] == pytest.approx(2, abs=0.1)
    low, high = told["interval"]
    assert low <= told["critical"] <= high


def test_general_items_of_the_target_and_a_stated_base() -> None:
    pool, goal, start, run = world(0)
    names = pa.array(["domain"] * goal.target.count + ["general"] * goal.holdout.count)
    both = pa.concat_tables([p.table(["id", "text"]) for p in (goal.target, goal.holdout)])
    items = TablePool(both.append_column("goal", names))
    asked = Goal(items, items, goal.budget)
    policy = POLICY.model_copy(update={"general": "general", "seeds": 1})
    told = policy.revise(start, pool, asked, run).decisions[-1].details
    held_out = POLICY.revise(start, pool, goal.blind(), run).decisions[-1].details
    assert told["critical"] == pytest.approx(held_out["critical"], abs=0.1)
    assert told["interval"] is None
    base = told["measured"][0]["general"] + 0.1
    easier = policy.model_copy(update={"base": base}).revise(start, pool, asked, run).decisions[-1].details
    assert easier["critical"] > told["critical"] + 0.05
    with pytest.raises(UsageError, match="needs a column `goal`"):
        policy.revise(start, pool, goal.blind(), run)


def test_larger_tolerance_larger_share_and_limits_hold() -> None:
    pool, goal, start, run = world(0)
    found = [
        POLICY.model_copy(update={"tolerance": t, "seeds": 1}).revise(start, pool, goal.blind(), run).mixture()["new"]
        for t in (0.03, 0.1, 0.3)
    ]
    assert found == sorted(found)
    assert found[0] < found[2] - 0.2
    pool, goal, start, run = world(0, limits=Limits(ceiling={"new": 0.2}))
    policy = POLICY.model_copy(update={"ratios": (0.02, 0.05, 0.1, 0.2), "seeds": 1})
    assert policy.revise(start, pool, goal.blind(), run).mixture()["new"] <= 0.21


def test_worst_is_far_and_errors_say_what_to_do() -> None:
    pool, goal, start, run = world(0)
    best, worst = (p.revise(start, pool, goal.blind(), run).mixture()["new"] for p in (POLICY, POLICY.worst()))
    assert abs(best - worst) > 0.4
    with pytest.raises(UsageError, match="there are new, old1, old2"):
        POLICY.model_copy(update={"domain": "nothing"}).revise(start, pool, goal.blind(), run)
    tight, asked = Budget(83_500), Goal(goal.target, goal.target, Budget(83_500))  # of 84,000 tokens not held out
    once = POLICY.model_copy(update={"cap": 1.0, "seeds": 1})
    with pytest.raises(UsageError, match="Raise `cap`"):
        once.revise(Plan.everything(pool, tight), pool, asked, run)
    tight = Budget(80_000)  # general data alone are 67,500
    told = once.revise(Plan.everything(pool, tight), pool, Goal(goal.target, goal.target, tight), run).decisions[-1]
    assert any("the reference has 2" in warning for warning in told.warnings)
