"""RankEasiness: planted easy and hard pairs are told apart, as by hand, and what is not found counts as hardest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.bm25 import BM25
from tilth.models.easiness import kde, normalised
from tilth.signals.difficulty.rank_easiness import RankEasiness

GOLDEN = Path(__file__).parents[1] / "golden" / "rank_easiness.json"


def retrieval(query: Sequence[str | None], positive: Sequence[str | None], negatives: list[Any]) -> TablePool:
    wrong = pa.array(negatives, pa.list_(pa.string()))
    return TablePool(pa.table({"query": query, "positive": positive, "negatives": wrong}), "retrieval")


def world(seed: int, count: int = 400) -> tuple[TablePool, np.ndarray]:
    """Passages of three words; queries repeat two of them, or (hard) one and a name that no passage has."""
    rng = np.random.default_rng(seed)
    words = np.array([rng.choice(60, 3, replace=False) for _ in range(count)])
    passages = [" ".join(f"w{w}" for w in row) for row in words]
    hard = rng.random(count) < 0.5
    queries = [f"w{a} {'n' if h else 'w'}{b}" for (a, b, _), h in zip(words.tolist(), hard, strict=True)]
    wrong = [[passages[int(rng.integers(0, count))]] for _ in range(count)]
    return retrieval(queries, passages, wrong), hard


@pytest.mark.parametrize("heuristic", ["reciprocal", "normalised", "kde"])
def test_tells_planted_easy_pairs_from_hard_ones(heuristic: Any) -> None:
    pool, hard = world(0)
    scored = score_in_memory(RankEasiness(heuristic=heuristic), pool)
    found = scored.column("rank_easiness.easiness").to_numpy()
    assert ((found >= 0) & (found <= 1)).all()
    assert roc_auc_score(hard, -found) > 0.9
    length = np.array([len(text) for text in pool.column("query").to_pylist()])
    assert roc_auc_score(hard, -found) > roc_auc_score(hard, length) + 0.2, "better than the naive rival"


def test_is_what_is_counted_by_hand() -> None:
    pool, _ = world(1, 30)
    wrong_ones = [one for some in pool.column("negatives").to_pylist() for one in some]
    passages = [*dict.fromkeys([*pool.column("positive").to_pylist(), *wrong_ones])]
    index = BM25.of(passages)
    makes: dict[Any, Callable[[Any], Any]] = {
        "reciprocal": lambda s: 1 / np.arange(1, len(s) + 1),
        "normalised": lambda s: normalised(s, np.zeros(len(s))),
        "kde": lambda s: kde(s, np.zeros(len(s))),
    }
    for heuristic, easy in makes.items():
        scored = score_in_memory(RankEasiness(heuristic=heuristic, depth=4), pool)
        for row, query, right, wrong in zip(
            scored.column("rank_easiness").to_pylist(),
            *(pool.column(name).to_pylist() for name in ("query", "positive", "negatives")),
            strict=True,
        ):
            places, scores = (part[0] for part in index.search([query], 4))
            said = dict(zip((passages[p] for p in places if p >= 0), easy(scores[places >= 0]), strict=True))
            assert row["rank"] == ([*said].index(right) + 1 if right in said else None)
            assert row["positive"] == pytest.approx(said.get(right, 0.0))
            assert row["negative"] == pytest.approx(said.get(wrong[0], 0.0))
            assert row["easiness"] == pytest.approx((said.get(right, 0.0) - said.get(wrong[0], 0.0) + 1) / 2)


def test_the_hardest_negative_counts_and_nothing_is_made_up() -> None:
    pool = retrieval(
        ["red oak", "red oak", "red oak", "steam", None, "red oak"],
        ["red oak", "red oak", "red oak", "red oak", "red oak", None],
        [["blue elm", "red elm"], [], [None], ["blue elm"], ["blue elm"], ["blue elm"]],
    )
    rows = score_in_memory(RankEasiness(), pool).column("rank_easiness").to_pylist()
    assert rows[0]["rank"] == 1
    assert rows[0]["negative"] == pytest.approx(1 / 2)
    assert [row["negative"] for row in rows[1:3]] == [None, None]
    assert [row["easiness"] for row in rows[1:3]] == [1.0, 1.0], "without negatives it is the positive's"
    assert rows[3] == {"rank": None, "positive": 0.0, "negative": 0.0, "easiness": 0.5}
    assert [row["easiness"] for row in rows[4:]] == [None, None]


def golden() -> list[list[float]]:
    table = score_in_memory(RankEasiness(heuristic="kde"), world(2, 12)[0], run=Run()).column("rank_easiness")
    return [[row["rank"], round(row["easiness"], 5)] for row in table.to_pylist()]


def test_golden() -> None:
    assert golden() == json.loads(GOLDEN.read_text(encoding="utf-8"))
