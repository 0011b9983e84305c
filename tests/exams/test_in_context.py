"""InContext: windows of one topic, every document once, no copies side by side, and the path done by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import MissingColumns
from tilth.kernels.order import walk
from tilth.policies.order.in_context import InContext

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def topics(n: int, groups: int, seed: int, width: int = 24) -> tuple[Floats, Ints]:
    rng = np.random.Generator(np.random.PCG64(seed))
    topic = rng.integers(0, groups, n)
    values = 2 * rng.standard_normal((groups, width))[topic] + rng.standard_normal((n, width))
    return values, topic


def pool_of(values: Any, sizes: Any = 100) -> TablePool:
    n = len(values)
    tokens = pa.StructArray.from_arrays([pa.array(np.broadcast_to(sizes, n).astype(int))], ["count"])
    rows = [None if row is None else list(map(float, row)) for row in values]
    return TablePool(pa.table({"text": ["x"] * n, "embedding": pa.array(rows), "tokens": tokens}))


def read(pool: TablePool, policy: InContext, seed: int = 0, start: Plan | None = None) -> tuple[Plan, Ints]:
    goal = Goal(pool, pool, Budget(10**9))
    plan = policy.revise(start or Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed))
    return plan, plan.reading_order(Run(seed=seed))[0]


def same_topic(topic: Ints, order: Ints, size: int) -> float:
    """How often two documents of a window have one topic."""
    windows = topic[order[: len(order) // size * size]].reshape(-1, size)
    pairs = windows[:, :, None] == windows[:, None, :]
    return float((pairs.sum() - windows.size) / (windows.size * (size - 1)))


@pytest.mark.parametrize("exact", [100_000, 0])
def test_windows_have_one_topic_and_nothing_is_lost(exact: int) -> None:
    values, topic = topics(3000, 30, 0)
    pool = pool_of(values)
    policy = InContext(window=1000, exact=exact, neighbours=10)
    plan, order = read(pool, policy)
    assert np.sort(order).tolist() == list(range(3000))
    assert np.unique(plan.rank).size == 3000
    lot = np.random.Generator(np.random.PCG64(9)).permutation(3000)
    assert same_topic(topic, order, 10) > 0.7
    assert same_topic(topic, lot, 10) < 0.06
    far, order_of_far = read(pool, policy.worst())
    assert same_topic(topic, order_of_far, 10) < same_topic(topic, lot, 10) + 0.01
    told, opposite = plan.decisions[-1].details, far.decisions[-1].details
    assert told["inside"] > 2 * max(told["random"], 0.05)
    assert opposite["inside"] < told["inside"] / 2
    unit = values / np.linalg.norm(values, axis=1, keepdims=True)
    windows = unit[order].reshape(-1, 10, values.shape[1])
    cosines = np.einsum("wid,wjd->wij", windows, windows)
    assert told["inside"] == pytest.approx((cosines.sum() - 3000) / (3000 * 9), abs=1e-5)
    assert not plan.decisions[-1].warnings


def test_windows_that_follow_each_other_are_shuffled() -> None:
    """The authors' warning: without the shuffle, the next window mostly goes on with the same topic."""
    values, topic = topics(3000, 10, 1)
    _, order = read(pool_of(values), InContext(window=1000, neighbours=10))
    first = topic[order].reshape(-1, 10)[:, 0]
    assert (first[1:] == first[:-1]).mean() < 0.3
    _, whole = read(pool_of(values), InContext(window=300_000, neighbours=10))
    assert (topic[whole][1:] == topic[whole][:-1]).mean() > 0.8, "one window is the path itself"


def test_seeds_and_repeatability() -> None:
    values, _ = topics(500, 5, 2)
    pool, policy = pool_of(values), InContext(window=1000)
    one, two, three = (read(pool, policy, seed)[1].tolist() for seed in (0, 0, 1))
    assert one == two
    assert one != three


def test_copies_are_not_side_by_side() -> None:
    values, topic = topics(600, 6, 3)
    noise = 0.03 * np.random.Generator(np.random.PCG64(4)).standard_normal(values.shape)
    twice = np.concatenate([values, values + noise])
    plan, order = read(pool_of(twice), InContext(window=1000, neighbours=12))
    place = np.empty(1200, int)
    place[order] = np.arange(1200) // 10
    assert (place[:600] == place[600:]).mean() < 0.02
    assert plan.decisions[-1].details["near_duplicates"] >= 600
    assert same_topic(np.tile(topic, 2), order, 10) > 0.7
    _, careless = read(pool_of(twice), InContext(window=1000, neighbours=12, duplicate=1.0))
    place[careless] = np.arange(1200) // 10
    assert (place[:600] == place[600:]).mean() > 0.5, "joined, they would lie in one window"


def test_the_path_by_hand() -> None:
    """0-1 (.9), 1-2 (.5), 1-3 (.7), 3-4 (.8); 5 alone. Begins at 5, then at the first of degree 1 in the order."""
    neighbours = {0: [1], 1: [0, 3, 2], 2: [1], 3: [4, 1], 4: [3], 5: []}
    indptr = np.cumsum([0, *(len(v) for v in neighbours.values())])
    joined = np.array([j for v in neighbours.values() for j in v])
    nothing = (np.zeros(7, np.int64), np.zeros(0, np.int64))
    path, jumps = walk(indptr, joined, np.array([5, 2, 0, 4, 3, 1]), *nothing, np.full(6, 10), 100)
    assert path.tolist() == [5, 2, 1, 0, 4, 3]
    assert jumps == 3
    like = (np.array([0, 1, 1, 2, 2, 2, 2]), np.array([2, 0]))  # 0 and 2 must lie apart
    path, _ = walk(indptr, joined, np.array([5, 2, 0, 4, 3, 1]), *like, np.full(6, 10), 100)
    assert path.tolist() == [5, 2, 1, 3, 4, 0]
    path, _ = walk(indptr, joined, np.array([5, 2, 0, 4, 3, 1]), *like, np.full(6, 10), 10)
    assert path.tolist() == [5, 2, 1, 0, 4, 3], "far enough from each other"


def test_sizes_make_windows_and_documents_without_an_embedding_come_last() -> None:
    values, _ = topics(400, 4, 4)
    sizes = np.random.Generator(np.random.PCG64(0)).integers(0, 700, 400)
    some = [None if i % 10 == 0 else row for i, row in enumerate(values)]
    plan, order = read(pool_of(some, sizes), InContext(window=2000))
    assert sorted(order[-40:].tolist()) == list(range(0, 400, 10))
    assert np.sort(order).tolist() == list(range(400))
    total = sizes[np.arange(400) % 10 != 0].sum()
    assert plan.decisions[-1].details["windows"] == pytest.approx(total / 2000, abs=2)
    assert "40 without an embedding" in plan.decisions[-1].note


def test_what_should_not_be_trusted_is_told() -> None:
    rng = np.random.Generator(np.random.PCG64(0))
    alike = pool_of(rng.standard_normal((300, 8)) + 5)
    plan, _ = read(alike, InContext(window=3000, duplicate=1.0))
    assert "hardly more alike" in plan.decisions[-1].warnings[0]
    pool = pool_of(topics(200, 5, 0)[0])
    goal = Goal(pool, pool, Budget(5000))
    small = InContext(window=1000).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert "more than its budget" in small.decisions[-1].warnings[0]
    several = Plan.everything(pool, Budget(10**6)).revised({"use": "test"}, "twice", repeats=np.full(200, 2))
    assert "several times" in read(pool, InContext(window=1000), start=several)[0].decisions[-1].warnings[0]
    bare = TablePool(pa.table({"text": ["x"], "embedding": [[1.0]]}))
    goal = Goal(bare, bare, Budget(1, "records"))
    with pytest.raises(MissingColumns, match=r"tokens\.count"):
        InContext().revise(Plan.everything(bare, goal.budget), bare, goal, Run())


def test_phases_are_ordered_apart() -> None:
    values, topic = topics(1000, 5, 5)
    pool = pool_of(values)
    phase = np.random.Generator(np.random.PCG64(0)).integers(0, 2, 1000)
    start = Plan.everything(pool, Budget(10**9)).revised({"use": "test"}, "two phases", phase=phase)
    plan, order = read(pool, InContext(window=1000), start=start)
    assert plan.phase.tolist() == phase.tolist()
    assert (np.diff(phase[order]) >= 0).all()
    for number in (0, 1):
        assert same_topic(topic, order[phase[order] == number], 10) > 0.45  # 0.2 by lot
