"""sample: budgets, unknown scores, determinism by record id, and what it writes down."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import BadField, DataError, EmptyPlan, MissingColumns
from tilth.policies.select.sample import Sample


def table(n: int = 40) -> pa.Table:
    scores: list[float | None] = [float(i) for i in range(n)]
    scores[3], scores[7] = None, float("nan")
    tokens = pa.StructArray.from_arrays([pa.array(np.full(n, 10))], ["count"])
    flags = [i % 2 == 0 for i in range(n)]
    return pa.table(
        {"id": [f"id{i}" for i in range(n)], "text": ["x"] * n, "tokens": tokens, "s": scores, "flag": flags}
    )


def draw(on: TablePool, budget: Budget, plan: Plan | None = None, seed: int = 0, **fields: Any) -> Plan:
    return Sample(**fields).revise(plan or Plan.everything(on, budget), on, Goal(on, on, budget), Run(seed=seed))


def test_fills_a_token_budget() -> None:
    pool = TablePool(table())
    plan = draw(pool, Budget(104), by="s")
    assert (plan.amount, int(plan.kept.sum())) == (100, 10)
    assert draw(pool, Budget(10**6)).kept.all()


def test_uniform_draw_depends_on_seed_and_id_only() -> None:
    pool = TablePool(table())
    plan = draw(pool, Budget(10, "records"))
    again = draw(TablePool(table(), fragment=3), Budget(10, "records"))
    other = draw(pool, Budget(10, "records"), seed=1)
    shuffled = TablePool(table().take(pa.array(range(39, -1, -1))))
    assert plan.kept.tolist() == again.kept.tolist() != other.kept.tolist()
    assert draw(shuffled, Budget(10, "records")).kept.tolist()[::-1] == plan.kept.tolist()


def test_records_without_a_score() -> None:
    pool = TablePool(table())
    dropped = draw(pool, Budget(40, "records"), by="s")
    assert np.flatnonzero(~dropped.kept).tolist() == [3, 7]
    assert dropped.decisions[0].details["unknown"] == 2
    kept = draw(pool, Budget(5, "records"), by="s", unknown="keep")
    assert np.flatnonzero(kept.kept).tolist() == [3, 7, 37, 38, 39]
    assert np.isnan(kept.values["0.key"][[3, 7]]).all()
    with pytest.raises(DataError, match="2 of 40 records have no s"):
        draw(pool, Budget(5, "records"), by="s", unknown="error")


def test_repeats_count_and_survive() -> None:
    pool, budget = TablePool(table()), Budget(60, "records")
    twice = Plan.everything(pool, budget).revised({"use": "x"}, "twice", repeats=np.full(40, 2))
    plan = draw(pool, budget, twice, fraction=0.25)
    assert (plan.amount, int(plan.kept.sum())) == (20, 10)


def test_a_true_false_column_and_ties_by_lot() -> None:
    plan = draw(TablePool(table()), Budget(10, "records"), by="flag")
    rows = np.flatnonzero(plan.kept)
    assert (rows % 2 == 0).all()
    assert rows.tolist() != list(range(0, 20, 2))


def test_constant_scores_and_one_record() -> None:
    same = TablePool(pa.table({"text": ["a", "b"], "s": [1.0, 1.0]}))
    assert draw(same, Budget(1, "records"), by="s").kept.sum() == 1
    one = TablePool(pa.table({"text": ["a"], "s": [1.0]}))
    assert draw(one, Budget(1, "records"), by="s", temperature=2.0).kept.tolist() == [True]


def test_nothing_to_draw_from_is_an_error() -> None:
    none = TablePool(pa.table({"text": ["a"], "s": pa.array([None], pa.float64())}))
    with pytest.raises(EmptyPlan, match="sample drops all"):
        draw(none, Budget(1, "records"), by="s")
    with pytest.raises(EmptyPlan, match="sample drops all 0"):
        draw(TablePool(table(40).slice(0, 0)), Budget(1, "records"))


def test_bounds_and_columns_are_checked() -> None:
    with pytest.raises(BadField, match="fraction"):
        Sample(fraction=0.0)
    with pytest.raises(BadField, match="temperature"):
        Sample(temperature=-1.0)
    with pytest.raises(MissingColumns, match="Did you mean flag"):
        draw(TablePool(table()), Budget(1, "records"), by="flags")
    assert Sample(by="s", stratify="g").needs == ("s", "g")
    assert Sample().worst() == Sample()
