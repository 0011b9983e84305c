from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.core import Budget, Groups, Plan, Run, TablePool, groups, take_budget, take_budgets
from tilth.core.errors import EmptyPlan, PoolCorrupt

SAY = {"use": "test"}


def pool(sizes: dict[str, int], tokens: int = 10) -> TablePool:
    """Records of `tokens` tokens each, so many per source."""
    names = [name for name, n in sizes.items() for _ in range(n)]
    table = pa.table({"text": [f"{n} {i}" for i, n in enumerate(names)], "source": names})
    counts = pa.array([{"count": tokens}] * len(names), pa.struct([("count", pa.int32())]))
    return TablePool(table).with_column("tokens", counts)


def keys(plan: Plan, seed: int = 0) -> np.ndarray:
    return Run(seed=seed).uniform(plan.ids, "key")


def test_everything_is_every_record_once() -> None:
    plan = Plan.everything(pool({"a": 3, "b": 2}), Budget(20))
    assert plan.amount == 50
    assert plan.mixture() == {"a": 0.6, "b": 0.4}


def test_mixture_is_filled_to_the_token() -> None:
    plan = Plan.everything(pool({"a": 1000, "b": 1000}), Budget(5000))
    made = plan.mixed(SAY, "n", {"a": 0.3, "b": 0.7}, plan.sources, keys(plan))
    assert made.amount == 5000
    assert made.mixture() == {"a": 0.3, "b": 0.7}
    assert set(made.repeats.tolist()) == {0, 1}
    assert made.requested == {"a": 0.3, "b": 0.7}


def test_small_groups_are_repeated_up_to_the_cap_and_the_rest_goes_to_others() -> None:
    plan = Plan.everything(pool({"a": 10, "b": 1000}), Budget(1000))
    made = plan.mixed(SAY, "n", {"a": 0.5, "b": 0.5}, plan.sources, keys(plan), cap=3)
    assert made.epochs()["a"] == 3.0
    assert made.amount == 1000
    assert made.mixture() == {"a": 0.3, "b": 0.7}
    assert made.requested == {"a": 0.5, "b": 0.5}  # what was asked for stays on record


@pytest.mark.parametrize("budget", [1200, 2600, 3990])
def test_many_small_groups_do_not_miss_the_budget_together(budget: int) -> None:
    """To the nearest record, 0.6 of one in each of 200 groups would be 200 records for 120."""
    plan = Plan.everything(pool({f"g{i:03d}": 5 for i in range(200)}), Budget(budget))
    made = plan.mixed(SAY, "n", dict.fromkeys(plan.sources.names, 1.0), plan.sources, keys(plan))
    assert abs(made.amount - budget) <= 10
    each = plan.sources.sums(made.repeats)
    assert np.ptp(each) <= 1
    first = each[:100].sum() / each.sum()
    assert 0.4 < first < 0.6, "names decide nothing"
    for row in np.flatnonzero(made.kept):
        rivals = (plan.sources.index == plan.sources.index[row]) & ~made.kept
        assert (keys(plan)[rivals] < keys(plan)[row]).all()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 60), min_size=60, max_size=60), st.integers(0, 1000), st.floats(0.2, 2.5))
def test_the_budget_is_kept_to_within_a_record(sizes: list[int], seed: int, part: float) -> None:
    names = [f"s{i // 3:02d}" for i in range(60)]
    counts = pa.array([{"count": n} for n in sizes], pa.struct([("count", pa.int32())]))
    table = pa.table({"text": [f"{i}" for i in range(60)], "source": names}).append_column("tokens", counts)
    budget = max(1, int(part * sum(sizes)))
    plan = Plan.everything(TablePool(table), Budget(budget))
    shares = dict(zip(plan.sources.names, np.random.default_rng(seed).dirichlet(np.ones(20)), strict=True))
    made = plan.mixed(SAY, "n", shares, plan.sources, keys(plan, seed), cap=50)
    assert abs(made.amount - budget) <= max(sizes)


def test_a_few_groups_are_each_rounded_to_the_nearest_record() -> None:
    ends = np.array([0, 5, 10])
    assert take_budgets([10] * 10, ends, [26, 14], np.arange(10.0)).tolist() == [3, 1]
    assert take_budgets([10] * 10, ends, [26, 26], np.arange(10.0)).tolist() == [3, 3]
    assert take_budgets([10] * 10, ends, [80, 4], np.arange(10.0)).tolist() == [5, 0], "others make up for nothing"


def test_values_are_kept_with_the_keys() -> None:
    plan = Plan.everything(pool({"a": 10}), Budget(50))
    made = plan.mixed(SAY, "n", {"a": 1.0}, plan.sources, keys(plan), values={"topic": np.arange(10)})
    assert made.values["0.topic"].tolist() == list(range(10))
    assert "0.key" in made.values


def test_when_everything_is_capped_the_plan_stays_below_its_budget() -> None:
    plan = Plan.everything(pool({"a": 10, "b": 10}), Budget(10_000))
    made = plan.mixed(SAY, "n", {"a": 0.9, "b": 0.1}, plan.sources, keys(plan), cap=2)
    assert made.amount == 400
    assert made.epochs() == {"a": 2.0, "b": 2.0}


@settings(max_examples=60, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=5),
    weights=st.lists(st.floats(0.01, 10), min_size=5, max_size=5),
    budget=st.integers(100, 4000),
    cap=st.floats(1, 5),
)
def test_mixed_never_exceeds_budget_or_cap(sizes: list[int], weights: list[float], budget: int, cap: float) -> None:
    plan = Plan.everything(pool({f"s{i}": n for i, n in enumerate(sizes)}), Budget(budget))
    shares = {f"s{i}": w for i, w in enumerate(weights[: len(sizes)])}
    made = plan.mixed(SAY, "n", shares, plan.sources, keys(plan), cap=cap)
    assert made.amount <= budget + 10 * len(sizes)  # one record per group may round up
    read = plan.sources.sums(made.sizes * made.repeats)
    assert (read <= plan.sources.sums(plan.sizes) * cap + 10).all()
    room = plan.sources.sums(plan.sizes).sum() * cap
    assert made.amount >= min(budget, room) - 10 * len(sizes)


def test_the_largest_keys_are_taken_and_the_cut_is_recorded() -> None:
    plan = Plan.everything(pool({"a": 100}), Budget(300))
    u = keys(plan)
    made = plan.mixed(SAY, "n", {"a": 1.0}, plan.sources, u)
    assert set(np.flatnonzero(made.kept)) == set(np.argsort(-u)[:30])
    cut = made.decisions[0].threshold["key:a"]
    assert cut == pytest.approx(np.sort(u)[-30])
    assert (made.dropped_by[~made.kept] == 0).all()


def test_decisions_are_kept_in_order_and_nothing_left_is_an_error() -> None:
    plan = Plan.everything(pool({"a": 4}), Budget(40))
    once = plan.revised(SAY, "first", keep=[True, True, False, True])
    twice = once.revised(SAY, "second", keep=[False, True, True, True])
    assert twice.dropped_by.tolist() == [1, -1, 0, -1]  # a record that is out stays out
    assert [d.records for d in twice.decisions] == [(4, 3), (3, 2)]
    with pytest.raises(EmptyPlan, match="drops all 2 records"):
        twice.revised(SAY, "third", keep=[False] * 4)


def test_parts_are_disjoint_cover_the_plan_and_pair_between_plans() -> None:
    run = Run(seed=3)
    plan = Plan.everything(pool({"a": 200, "b": 300}), Budget(4000))
    first = plan.mixed(SAY, "n", {"a": 0.5, "b": 0.5}, plan.sources, keys(plan, 1))
    second = plan.mixed(SAY, "n", {"a": 0.1, "b": 0.9}, plan.sources, keys(plan, 2))
    parts = [first.part(i, 5, run) for i in range(5)]
    assert (np.sum([p.repeats for p in parts], axis=0) == first.repeats).all()
    assert all(p.kept.sum() > 10 for p in parts)
    others = [second.part(i, 5, run) for i in range(5)]
    for i in range(5):
        for j in range(5):
            if i != j:
                assert not (parts[i].kept & others[j].kept).any()


def test_a_part_that_has_no_record_has_an_order_without_one() -> None:
    pool = TablePool(pa.table({"text": ["x"], "tokens": [{"count": 1}]}))
    parts = [Plan.everything(pool, Budget(9)).part(i, 3, Run()) for i in range(3)]
    assert sorted(part.reading_order(Run())[0].size for part in parts) == [0, 0, 1]


def test_every_window_of_the_reading_order_has_the_mixture() -> None:
    plan = Plan.everything(pool({"a": 200, "b": 4000}), Budget(20_000))
    made = plan.mixed(SAY, "n", {"a": 0.3, "b": 0.7}, plan.sources, keys(plan))
    rows, copies = made.reading_order(Run())
    assert len(rows) == made.repeats.sum() == 2000
    behind = np.cumsum(made.sources.index[rows] == 0) - 0.3 * np.arange(1, 2001)
    assert np.abs(behind).max() < 1
    seen: dict[int, int] = {}
    for row, copy in zip(rows.tolist(), copies.tolist(), strict=True):
        assert seen.get(row, -1) + 1 == copy  # copies come in order, each once
        seen[row] = copy


def test_phases_and_ranks_order_the_reading() -> None:
    plan = Plan.everything(pool({"a": 6}), Budget(60))
    made = plan.revised(SAY, "n", phase=[1, 0, 0, 1, 0, 1], rank=[2, 1, 0, 1, 2, 0])
    rows, _ = made.reading_order(Run())
    assert rows.tolist() == [2, 1, 4, 5, 3, 0]


def test_saved_plans_read_back_equal_and_half_written_ones_are_refused(tmp_path: Path) -> None:
    plan = Plan.everything(pool({"a": 50, "b": 50}), Budget(400))
    made = plan.mixed(SAY, "n", {"a": 0.2, "b": 0.8}, plan.sources, keys(plan))
    made.save(tmp_path)
    back = Plan.load(tmp_path)
    assert back.fingerprint == made.fingerprint
    assert back.table().equals(made.table())
    assert back.header() == made.header()
    (tmp_path / "plan.json").unlink()
    with pytest.raises(PoolCorrupt, match="no complete plan"):
        Plan.load(tmp_path)


def test_groups_by_any_column_with_nulls() -> None:
    table = pa.table({"text": ["x"] * 4, "lang": ["de", None, "en", "de"]})
    g = groups(TablePool(table), "lang")
    assert g.names == ("(none)", "de", "en")
    assert g.index.tolist() == [1, 0, 2, 1]
    assert isinstance(g, Groups)


def test_take_budget_lands_on_the_nearer_side() -> None:
    assert take_budget([10, 10, 10], 24) == 2
    assert take_budget([10, 10, 10], 26) == 3
    assert take_budget([10, 10], 0) == 0
    assert take_budget([], 5) == 0
    assert take_budget([10, 10], 500) == 2
