"""Mig covers planted tags that a random draw and the best by quality miss, and reaches nearly the best there is."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pyarrow as pa
import pytest
from tests.exams.vectors import clustered, planned, pool_of

from tilth.core import TablePool
from tilth.core.errors import BadInput, DataError, MissingColumns
from tilth.policies.select.mig import Mig
from tilth.policies.select.sample import Sample


def skewed(seed: int, records: int = 4000, tags: int = 150) -> tuple[TablePool, np.ndarray]:
    """Tags by a Zipf law, popular ones of higher quality, a tenth of the records copies; no names alike."""
    rng = np.random.default_rng(seed)
    share = 1 / np.arange(1, tags + 1) ** 1.6
    has = np.zeros((records, tags), bool)
    for row in has:
        row[rng.choice(tags, rng.integers(1, 4), p=share / share.sum(), replace=False)] = True
    has[rng.permutation(records)[: records // 10]] = has[0]
    quality = (has * share).sum(1) / share.max() + rng.random(records)
    names = [[f"t{t}" for t in np.flatnonzero(row)] for row in has]
    return TablePool(pa.table({"text": ["x"] * records, "tags": names, "quality": quality})), has


@pytest.mark.parametrize("seed", range(5))
def test_covers_planted_tags_that_others_miss(seed: int) -> None:
    pool, has = skewed(seed)
    there = has.any(0)
    ours, drawn, best, worst = (
        has[planned(policy, pool, 200, seed=seed).kept].any(0).sum() / there.sum()
        for policy in (
            Mig(tags="tags", quality="quality"),
            Sample(),
            Sample(by="quality"),
            Mig(tags="tags", quality="quality").worst(),
        )
    )
    assert ours >= 0.95
    assert drawn <= 0.7
    assert best < drawn
    assert worst < drawn


@pytest.mark.parametrize("seed", range(5))
def test_reaches_the_best_there_is_on_small_pools(seed: int) -> None:
    rng = np.random.default_rng(seed)
    has = rng.random((12, 6)) < 0.35
    has[np.arange(12), rng.integers(0, 6, 12)] = True
    quality = rng.random(12)
    quality[:2] = 0, 1  # as scaled
    names = [[f"t{t}" for t in np.flatnonzero(row)] for row in has]
    pool = TablePool(pa.table({"text": ["x"] * 12, "tags": names, "quality": quality}))

    def worth(chosen: object) -> float:
        return float(((has * quality[:, None])[list(chosen)].sum(0) ** 0.8).sum())  # type: ignore[call-overload]

    kept = planned(Mig(tags="tags", quality="quality"), pool, 4).kept
    assert worth(np.flatnonzero(kept)) >= 0.95 * max(worth(c) for c in combinations(range(12), 4))


def test_tags_alike_are_not_counted_twice() -> None:
    """Two names of one thing: with the graph, the third record is another thing; without, the other name."""
    warm = ["rain came down on warm soil", "showers came down on warm soil"] * 60
    cold = ["bonds fell in a cold market", "stocks fell in a cold market"] * 60
    table = {"text": [*warm, *cold], "tags": [["rain"], ["showers"]] * 60 + [["bonds"], ["stocks"]] * 60}
    quality = [1.0] * 119 + [0.0] + [0.9] * 120
    pool = TablePool(pa.table({**table, "quality": quality}))
    joined = planned(Mig(tags="tags", quality="quality", threshold=0.9), pool, 2)
    apart = planned(Mig(tags="tags", quality="quality", spread=0), pool, 2)
    assert joined.decisions[0].details["edges"] == 2
    assert [int(joined.kept[:120].sum()), int(joined.kept[120:].sum())] == [1, 1]
    assert [int(apart.kept[:120].sum()), int(apart.kept[120:].sum())] == [2, 0]


def test_copies_drop_in_rank() -> None:
    tags = [["a", "b"], ["a", "b"], ["c"]]
    kept = planned(Mig(tags="tags"), TablePool(pa.table({"text": ["x"] * 3, "tags": tags})), 2).kept
    assert kept.tolist() == [True, False, True]


@pytest.mark.parametrize("seed", range(3))
def test_clusters_stand_in_for_tags(seed: int) -> None:
    values, group = clustered([1500, 300, 100, 40, 20, 20, 10, 10], 16, seed)
    pool = pool_of(values)
    plan = planned(Mig(clusters=40), pool, 40, seed=seed)
    assert len(set(group[plan.kept])) == 8 > len(set(group[planned(Sample(), pool, 40, seed=seed).kept]))
    assert plan.decisions[0].note.startswith("40 records with")


def test_untagged_and_unscored_records() -> None:
    tags = pa.array([["a"], None, [], ["b", None]], pa.list_(pa.string()))
    pool = TablePool(pa.table({"text": ["x"] * 4, "tags": tags, "quality": [1.0, 0.5, None, 0.0], "n": [1, 2, 3, 4]}))
    told = planned(Mig(tags="tags", quality="quality"), pool, 4).decisions[0]
    assert told.note == "3 records with 3 of 3 tags; 1 without quality dropped"
    single = TablePool(pa.table({"text": ["x"] * 3, "tags": ["a", "a", None]}))
    assert planned(Mig(tags="tags"), single, 2).kept.tolist() == [True, False, True]
    with pytest.raises(BadInput, match="lists of strings"):
        planned(Mig(tags="n"), pool, 2)
    with pytest.raises(MissingColumns, match="no_such"):
        planned(Mig(tags="no_such"), pool, 2)
    with pytest.raises(BadInput, match="static, minilm or a model's folder"):
        planned(Mig(tags="tags", encoder="tags"), pool, 2)
    nothing = pool.with_column("void", pa.nulls(4, pa.float64()))
    with pytest.raises(DataError, match="no record has a void"):
        planned(Mig(tags="tags", quality="void"), nothing, 2)
