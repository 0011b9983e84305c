"""glicko2: finds planted difficulty from attempts, agrees with irt, and knows no order within a period."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from tilth.core import Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.signals.difficulty.glicko2 import Glicko2
from tilth.signals.difficulty.irt import Irt

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "glicko2.json").read_text(encoding="utf-8"))
PERIODS, PLAYERS, ITEMS = 15, 120, 300


def world(choice: float = 0.0, learning: float = 0.0, seed: int = 0) -> tuple[Any, list[list[dict[str, Any]]]]:
    """Difficulties, and 4 attempts a period at each item by players who seek what fits them, and may learn."""
    rng = np.random.default_rng(seed)
    able, hard = rng.normal(size=PLAYERS), rng.normal(size=ITEMS)
    rows: list[list[dict[str, Any]]] = []
    for item in range(ITEMS):
        liked = np.exp(choice * able * hard[item])
        rows.append([])
        for period in range(PERIODS):
            for player in rng.choice(PLAYERS, 4, replace=False, p=liked / liked.sum()).tolist():
                now = able[player] + learning * period / PERIODS
                right = int(rng.random() < expit(now - hard[item]))
                rows[-1].append({"player": f"p{player}", "right": right, "period": period})
    return hard, rows


def pool_of(rows: list[Any], **columns: Any) -> TablePool:
    meta = [None if row is None else json.dumps({"attempts": row}) for row in rows]
    return TablePool(pa.table({"text": ["..."] * len(rows), "meta": pa.array(meta, pa.string()), **columns}))


def column(pool: TablePool, name: str = "rating", signal: Glicko2 | None = None) -> Any:
    scored = score_in_memory(signal or Glicko2(), pool, run=Run())
    return scored.column(f"glicko2.{name}").to_numpy()


def share_wrong(rows: list[list[dict[str, Any]]]) -> list[float]:
    return [1 - float(np.mean([a["right"] for a in row])) for row in rows]


def by_irt(rows: list[list[dict[str, Any]]]) -> Any:
    """Difficulty from the last answer of each player."""
    meta = [json.dumps({a["player"]: a["right"] for a in row}) for row in rows]
    pool = TablePool(pa.table({"text": ["..."] * len(rows), "meta": meta}))
    return score_in_memory(Irt(systems=("p*",)), pool).column("irt.difficulty").to_numpy()


def test_finds_the_truth_agrees_with_irt_and_becomes_certain() -> None:
    hard, rows = world()
    pool = pool_of(rows)
    found = column(pool)
    assert spearmanr(found, hard).statistic > 0.9
    assert spearmanr(found, by_irt(rows)).statistic > 0.9
    early = column(pool_of([[a for a in row if a["period"] < 3] for row in rows]), "deviation")
    late = column(pool, "deviation")
    assert late.max() < early.min() < early.max() < 350
    scaled = (found - found.mean()) / 173.7178 - (hard - hard.mean())
    assert np.mean(np.abs(scaled) < 1.96 * late / 173.7178) > 0.85


def test_beats_the_share_of_wrong_answers_where_players_choose() -> None:
    hard, rows = world(choice=1.5)
    found, naive = (spearmanr(v, hard).statistic for v in (column(pool_of(rows)), share_wrong(rows)))
    assert found > 0.85
    assert found > naive + 0.15


def test_order_within_a_period_is_nothing() -> None:
    _, rows = world()
    rng = np.random.default_rng(5)
    mixed = [[row[i] for i in rng.permutation(len(row))] for row in rows]
    for name in ("rating", "deviation", "volatility"):
        assert (column(pool_of(mixed), name) == column(pool_of(rows), name)).all()
    turned = [[{**a, "period": -a["period"]} for a in row] for row in rows]  # the order of periods is something
    assert np.abs(column(pool_of(turned)) - column(pool_of(rows))).max() > 1


def test_golden() -> None:
    pool = pool_of(GOLDEN["attempts"])
    for drift in (False, True):
        scored = score_in_memory(Glicko2(drift=drift), pool)
        for name, want in GOLDEN[f"drift {drift}"].items():
            got = scored.column(f"glicko2.{name}").to_pylist()
            assert [v if v is None else pytest.approx(v, rel=1e-5) for v in want] == got, name


def test_quantiles_put_sources_on_one_scale() -> None:
    hard, rows = world()
    source = ["a" if i % 3 else "b" for i in range(ITEMS)]
    pool = pool_of(rows, source=pa.array(source))
    rating, quantile = column(pool), column(pool, "quantile", Glicko2(by="source"))
    for name in "ab":
        at = np.array([s == name for s in source])
        assert spearmanr(rating[at], quantile[at]).statistic > 0.999
        assert quantile[at].mean() == pytest.approx(0.5, abs=1e-6)
        bins = [hard[at & (quantile > low / 5) & (quantile <= (low + 1) / 5)].mean() for low in range(5)]
        assert bins == sorted(bins)
        assert bins[4] - bins[0] > 2
        assert (quantile[at].min(), quantile[at].max()) == pytest.approx((0.5 / at.sum(), 1 - 0.5 / at.sum()), abs=1e-6)


def test_outcomes_without_attempts_are_one_period() -> None:
    rng = np.random.default_rng(2)
    able, hard = rng.normal(size=60), rng.normal(size=200)
    right = (rng.random((200, 60)) < expit(able - hard[:, None])).astype(int).tolist()
    pool = TablePool(pa.table({"text": ["..."] * 200, "meta": [json.dumps({"outcomes": row}) for row in right]}))
    signal = Glicko2(systems=("outcomes",))
    assert spearmanr(column(pool, signal=signal), hard).statistic > 0.9
    assert spearmanr(column(pool, signal=signal), score_in_memory(Irt(), pool).column("irt.difficulty")).statistic > 0.9


def test_records_without_attempts_are_unknown() -> None:
    _, rows = world()
    pool = pool_of([None, [], *rows])
    for name in Glicko2().makes:
        values = score_in_memory(Glicko2(), pool).column(f"glicko2.{name}").to_pylist()
        assert values[:2] == [None, None]
        assert None not in values[2:]


def test_what_cannot_be_read_is_told() -> None:
    with pytest.raises(UsageError, match=r"glicko2 found no attempts in meta\. It looks for fields named attempts"):
        column(pool_of([[], []]))
    with pytest.raises(UsageError, match=r"expected attempts of player, right and period \(or none\); got"):
        column(pool_of([[{"who": "p1", "right": 1}]]))
    with pytest.raises(UsageError, match="periods that are all numbers or all text"):
        column(pool_of([[{"player": "a", "right": 1, "period": p} for p in (1, "2024-01-01")]]))
