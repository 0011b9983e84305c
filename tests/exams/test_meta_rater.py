"""MetaRater on six planted columns: two that matter, one that harms, three of noise."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import rankdata

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError
from tilth.policies.select.meta_rater import MetaRater
from tilth.policies.select.sample import Sample
from tilth.proofs.ngram import Ngram

Floats = npt.NDArray[np.float64]
NAMES = ("clean", "topical", "harmful", "noise1", "noise2", "noise3")
PROOF = Ngram(order=1, tokens=50_000, vocab=700)
POLICY = MetaRater(columns=NAMES, proof=PROOF)


def texts(clean: Floats, topical: Floats, rng: np.random.Generator) -> list[str]:
    """Words of the target's topic or another one, and words that are noise."""
    out = []
    for c, t in zip(clean, topical, strict=True):
        topic, noise = np.floor(80 ** rng.random(30)).astype(int), rng.integers(0, 400, 30)
        mine, fine = rng.random(30) < t, rng.random(30) < c
        words = zip(topic, noise, mine, fine, strict=True)
        out.append(" ".join(f"{'ab'[int(not m)]}{w}" if f else f"z{z}" for w, z, m, f in words))
    return out


@cache
def planted(seed: int) -> tuple[TablePool, Goal]:
    rng = np.random.Generator(np.random.PCG64(seed))
    n = 800
    clean, topical = rng.random(n), rng.random(n)
    good = (clean + topical) / 2
    columns = {
        "clean": clean + rng.normal(0, 0.1, n),
        "topical": 100 * (topical + rng.normal(0, 0.1, n)),  # another scale
        "harmful": -good + rng.normal(0, 0.2, n),
        **{f"noise{i}": rng.normal(0, 10.0**i, n) for i in (1, 2, 3)},
    }
    pool = TablePool(pa.table({"text": texts(clean, topical, rng), **columns}))
    sides = [TablePool(pa.table({"text": texts(np.ones(40), np.ones(40), rng)})) for _ in range(2)]
    return pool, Goal(sides[0], sides[1], Budget(120, "records"))


def loss(plan: Plan, pool: TablePool, goal: Goal) -> float:
    return float(PROOF.trial(plan, pool, goal, Run(seed=99)).mean())


def test_the_useful_columns_lead_and_the_choice_beats_each_alone_and_all_equally() -> None:
    won = 0
    for seed in range(5):
        pool, goal = planted(seed)
        start = Plan.everything(pool, goal.budget)
        plan = POLICY.revise(start, pool, goal.blind(), Run(seed=seed))
        weights = plan.decisions[0].details["weights"]
        assert min(weights["clean"], weights["topical"]) > max(weights[name] for name in NAMES[2:])
        ranks = sum(rankdata(pool.column(name).to_numpy()) for name in NAMES)
        equal = pool.with_column("equal", pa.array(np.asarray(ranks, float)))
        rivals = [Sample(by=name).revise(start, pool, goal, Run()) for name in NAMES]
        rivals.append(Sample(by="equal").revise(Plan.everything(equal, goal.budget), equal, goal, Run()))
        won += loss(plan, pool, goal) < min(loss(rival, pool, goal) for rival in rivals)
    assert won >= 4


def test_signs_use_a_harmful_column() -> None:
    pool, goal = planted(0)
    start = Plan.everything(pool, goal.budget)
    policy = POLICY.model_copy(update={"columns": ("harmful", "noise1", "noise2"), "signed": True})
    plan = policy.revise(start, pool, goal.blind(), Run())
    assert plan.decisions[0].details["weights"]["harmful"] < -0.4
    plain = policy.model_copy(update={"signed": False}).revise(start, pool, goal.blind(), Run())
    assert loss(plan, pool, goal) < loss(plain, pool, goal)


def test_worst_selects_worse_than_random_and_says_what_it_measured() -> None:
    pool, goal = planted(1)
    start = Plan.everything(pool, goal.budget)
    worst = POLICY.worst().revise(start, pool, goal.blind(), Run())
    drawn = Sample().revise(start, pool, goal, Run())
    assert loss(worst, pool, goal) > loss(drawn, pool, goal)
    told = POLICY.revise(start, pool, goal.blind(), Run()).decisions[0].details
    assert told["rank_agreement"] > 0.5
    assert told["measured"] < min(told["alone"].values())
    assert not told["warnings"]


def test_the_scale_of_a_column_does_not_matter() -> None:
    pool, goal = planted(2)
    policy = POLICY.model_copy(update={"trials": 8})
    start = Plan.everything(pool, goal.budget)
    grown = pool.with_column("noise3", pa.array(1e6 * pool.column("noise3").to_numpy()))
    one, two = (policy.revise(start, p, goal.blind(), Run()) for p in (pool, grown))
    assert one.kept.tolist() == two.kept.tolist()


def test_says_what_is_wrong() -> None:
    pool, goal = planted(3)
    with pytest.raises(BadField, match="different ones"):
        MetaRater(columns=("clean", "clean"))
    empty = pool.with_column("noise1", pa.nulls(800, pa.float64()))
    with pytest.raises(DataError, match="no record of the plan has noise1"):
        POLICY.revise(Plan.everything(empty, goal.budget), empty, goal.blind(), Run())
