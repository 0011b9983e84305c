"""Llkd with a teacher that errs on a quarter of the pool: less read, fewer of its mistakes, no worse a student."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.worlds import table_of

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.models.linear import Rows, encode_labels, epochs
from tilth.policies.select.llkd import Llkd
from tilth.probes.label_noise import LabelNoise
from tilth.proofs.classify import Classify

POLICY = Llkd(confidence="sure", uncertainty="open", label="label")
BUCKETS = 1 << 14


def taught(seed: int) -> tuple[TablePool, Goal, np.ndarray[tuple[int], np.dtype[np.bool_]]]:
    """A pool labelled by a teacher that knows how sure it is, a student's first pass over it, and who is wrong where.

    The teacher's confidence is right on average: it errs as often as it says.
    """
    probe = LabelNoise(flip=0.001, words=16, clarity=0.25)
    pool, held = (table_of(probe.build(n, Run(seed=10 * seed + i))) for i, n in enumerate((2500, 800)))
    names = sorted(set(held.column("label").to_pylist()))
    truth = encode_labels([t["label"] for t in pool.column("truth").to_pylist()], names)[0]
    rng = np.random.Generator(np.random.PCG64(seed))
    sure = 0.3 + 0.7 * rng.beta(1.5, 0.6, len(truth))
    wrong = rng.random(len(truth)) > sure
    label = np.where(wrong, (truth + rng.integers(1, len(names), len(truth))) % len(names), truth)
    rows = Rows.of(pool.column("text"), 1, BUCKETS)
    student = [*epochs(rows, label, len(names), 1, rng, rate=0.3)][-1].probabilities(rows)
    columns = {"text": pool.column("text"), "label": pa.array(np.array(names)[label]), "sure": sure}
    made = TablePool(pa.table({**columns, "open": 1 - student.max(1)}), "labeled")
    return made, Goal(held, held, Budget(2500, "records")), wrong


def accuracy(plan: Plan, pool: TablePool, goal: Goal, seed: int) -> float:
    log, names = Classify(ngrams=1).predict(plan, pool, goal, Run(seed=seed))
    truth = encode_labels(goal.holdout.column("label").to_pylist(), names)[0]
    return float((log.argmax(1) == truth).mean())


def test_reads_less_errs_less_and_is_no_worse() -> None:
    rows = []
    for seed in range(3):
        pool, goal, wrong = taught(seed)
        start = Plan.everything(pool, goal.budget)
        plan = POLICY.revise(start, pool, goal, Run(seed=seed))
        by_student = pool.column("open").to_numpy() >= np.sort(pool.column("open").to_numpy())[-int(plan.kept.sum())]
        worst = POLICY.worst().revise(start, pool, goal, Run(seed=seed))
        rows.append(
            [
                wrong.mean(),
                plan.kept.mean(),
                wrong[plan.kept].mean(),
                wrong[by_student].mean(),
                *(accuracy(p, pool, goal, seed) for p in (start, plan, worst)),
            ]
        )
    pool_error, share, kept_error, naive_error, full, ours, opposite = np.mean(rows, 0)
    assert 0.12 < pool_error < 0.35, "the world: the teacher errs, and not always"
    assert share <= 0.4
    assert kept_error <= 0.65 * pool_error
    assert naive_error > pool_error, "the trap: what the student is unsure of is what the teacher gets wrong"
    assert ours > full - 0.01
    assert ours > opposite


def test_each_class_has_its_threshold() -> None:
    """A class that is harder throughout keeps records; one threshold for all would starve it."""
    sure = [0.9, 0.8, 0.95, 0.85, 0.5, 0.4, 0.55, 0.45]
    open_ = [0.1, 0.1, 0.2, 0.2, 0.5, 0.5, 0.6, 0.6]
    label = ["a"] * 4 + ["b"] * 4
    pool = TablePool(pa.table({"text": ["x"] * 8, "label": label, "sure": sure, "open": open_}), "labeled")
    goal = Goal(pool, pool, Budget(8, "records"))
    start = Plan.everything(pool, goal.budget)
    plan = POLICY.revise(start, pool, goal, Run())
    # by hand: means .675 and .3375; classes .875 and .475, .15 and .55
    cut = plan.decisions[0].threshold
    assert cut["confidence:a"] == pytest.approx(0.675)
    assert cut["confidence:b"] == pytest.approx(0.675 * 0.475 / 0.875)
    assert cut["uncertainty:a"] == pytest.approx(0.35 * 0.15 / 0.55)
    assert cut["uncertainty:b"] == pytest.approx(0.35)
    assert plan.kept.tolist() == [True] * 8
    with pytest.raises(DataError, match="none of 8 records is learnable"):
        POLICY.model_copy(update={"label": ""}).revise(start, pool, goal, Run())


def test_a_small_budget_takes_the_most_worth_and_saturation_is_told() -> None:
    columns = {"sure": [0.99, 0.9, 0.95, 0.2], "open": [0.5, 0.9, 0.6, 0.01], "label": ["a"] * 4}
    pool = TablePool(pa.table({"text": ["x"] * 4, **columns}), "labeled")
    goal = Goal(pool, pool, Budget(2, "records"))
    plan = POLICY.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert np.flatnonzero(plan.kept).tolist() == [1, 2]  # .9 * 1.9 and .95 * 1.6
    flat = pool.with_column("sure", pa.array([1.0] * 4))
    assert POLICY.revise(Plan.everything(flat, goal.budget), flat, goal, Run()).decisions[0].warnings
    empty = pool.with_column("sure", pa.nulls(4, pa.float64()))
    with pytest.raises(DataError, match="no record of the plan has both sure and open"):
        POLICY.revise(Plan.everything(empty, goal.budget), empty, goal, Run())
