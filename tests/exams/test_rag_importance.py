"""Sources that answer wrongly are found, by less evidence than rivals need, and pruning them helps unseen queries."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import MissingColumns, UsageError
from tilth.engine.apply import score_in_memory
from tilth.kernels.multilinear import gains
from tilth.signals.influence.rag_importance import RagImportance

SOURCES, BAD = 40, 12
Floats = npt.NDArray[np.float64]


def retrieval(query: list[str], positive: list[str], **more: object) -> TablePool:
    return TablePool(
        pa.table({"query": query, "positive": positive, "negatives": [[""]] * len(query), **more}), "retrieval"
    )


def world(seed: int, facts: int = 300, bad: int = BAD) -> tuple[TablePool, TablePool, TablePool]:
    """Passages about towns, three sources each, and queries, seen and unseen; the first `bad` sources are wrong."""
    rng = np.random.default_rng(seed)
    numbers = rng.integers(10_000, 99_999, facts)
    rows = []
    for town, number in enumerate(numbers):
        for source in rng.choice(SOURCES, 3, replace=False):
            said = int(rng.integers(10_000, 99_999)) if source < bad else number
            padding = " ".join(rng.choice(["old", "green", "famous", "quiet"], int(rng.integers(0, 6))))
            rows.append((f"The {padding} town t{town} has {said} inhabitants.", f"s{source:02d}", source >= bad))
    text, source, good = (list(column) for column in zip(*rows, strict=True))
    pool = retrieval([""] * len(text), text, source=source, good=good)
    asked = [f"How many inhabitants has t{town}?" for town in range(facts)]
    known = [f"{number} inhabitants" for number in numbers]
    return pool, retrieval(asked[::2], known[::2]), retrieval(asked[1::2], known[1::2])


def by_source(pool: TablePool, what: str = "importance") -> dict[str, float]:
    return dict(zip(pool.column("source").to_pylist(), pool.column(f"rag_importance.{what}").to_pylist(), strict=True))


@pytest.mark.parametrize("k", [1, 2])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_bad_sources_and_pruning_helps_unseen_queries(seed: int, k: int) -> None:
    pool, asked, unseen = world(seed)
    signal = RagImportance(k=k, depth=10)
    found = by_source(score_in_memory(signal, pool, Goal(asked, asked, Budget(1, "pairs"))))
    bad = [name < f"s{BAD:02d}" for name in found]
    assert roc_auc_score(bad, [-v for v in found.values()]) >= 0.95
    names, units, utility = signal.ranked(pool, unseen)
    everyone, kept = np.ones(len(names)), np.array([found[name] >= 0.3 for name in names], float)
    before, after = (gains(units, utility, keep, k)[1].mean() for keep in (everyone, kept))
    assert after > before + 0.05


def test_leaving_one_passage_out_sees_only_what_is_used() -> None:
    """The naive rival, one passage left out of all: nothing for what stands below k; the importance judges it."""
    pool, asked, _ = world(3, facts=200)
    signal = RagImportance(k=1, depth=10, by="id", steps=3)
    names, units, utility = signal.ranked(pool, asked)
    one_out, _ = gains(units, utility, np.ones(len(names)), 1)
    assert (one_out[:, 1:] == 0).all()
    scored = score_in_memory(signal, pool, Goal(asked, asked, Budget(1, "pairs")))
    seen = units[:, 1][units[:, 1] >= 0]
    value = np.array(scored.column("rag_importance.importance").to_pylist(), float)[seen]
    good = np.array(scored.column("good").to_pylist())[seen]
    subject = np.array([str(t).split("town ")[1].split()[0] for t in pool.column("positive").to_pylist()])[seen]
    wanted = np.array([q.split()[-1].rstrip("?") for q in asked.column("query").to_pylist()])[units[:, 1] >= 0]
    about = subject == wanted
    assert roc_auc_score(good[about], value[about]) > 0.9


def test_chance_without_bad_sources() -> None:
    pool, asked, _ = world(4, bad=0)
    found = by_source(score_in_memory(RagImportance(k=1, depth=10), pool, Goal(asked, asked, Budget(1, "pairs"))))
    bad = [name < f"s{BAD:02d}" for name in found]
    assert 0.25 < roc_auc_score(bad, [-v for v in found.values()]) < 0.75


def test_unknown_is_null_and_evidence_is_counted() -> None:
    pool = retrieval(["", "", ""], ["rain is wet", "rain is dry", "stones"], source=["a", "b", None])
    asked = retrieval(["Is rain dry?"], ["wet"])
    scored = score_in_memory(RagImportance(k=1), pool, Goal(asked, asked, Budget(1, "pairs")))
    assert scored.column("rag_importance.retrieved").to_pylist() == [1, 1, 0]
    a, b, stones = scored.column("rag_importance.importance").to_pylist()
    assert a == 1.0
    assert b < 0.5
    assert stones is None


def test_queries_count_by_their_weight() -> None:
    pool = retrieval([""] * 2, ["rain and snow are wet", "rain and snow are cold indeed"], source=["a", "b"])
    asked = ["Is rain", "Is snow"]

    def lead(weight: list[float]) -> float:
        target = retrieval(asked, ["wet", "cold"], weight=weight)
        found = by_source(score_in_memory(RagImportance(k=1, steps=1), pool, Goal(target, target, Budget(1, "pairs"))))
        return found["a"] - found["b"]

    assert lead([3, 1]) > lead([1, 1]) > lead([1, 3])
    assert lead([30, 10]) == pytest.approx(lead([3, 1]))


def test_a_pool_of_texts_and_errors() -> None:
    texts = TablePool(pa.table({"text": ["rain is wet", "rain is dry"], "source": ["a", "b"]}))
    asked = retrieval(["Is rain dry or wet?"], ["wet"])
    goal = Goal(asked, asked, Budget(1, "pairs"))
    found = by_source(score_in_memory(RagImportance(k=1, passage="text"), texts, goal))
    assert found["a"] == 1.0
    with pytest.raises(MissingColumns, match="target needs query, positive"):
        RagImportance(passage="text").fit(texts, Goal(texts, texts, Budget(1)), Run())
    with pytest.raises(UsageError, match="state a goal"):
        RagImportance().fit(texts, None, Run())
    nobody = retrieval([], [])
    nothing = score_in_memory(RagImportance(passage="text"), texts, Goal(nobody, nobody, Budget(1)))
    assert nothing.column("rag_importance.importance").to_pylist() == [None, None]


def golden() -> list[list[object]]:
    pool, asked, _ = world(9, facts=30)
    scored = score_in_memory(RagImportance(k=2, depth=8, steps=5), pool, Goal(asked, asked, Budget(1, "pairs")))
    found, seen = by_source(scored), by_source(scored, "retrieved")
    return [[name, found[name] and round(found[name], 5), seen[name]] for name in sorted(found)]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "rag_importance.json").read_text(encoding="utf-8"))
    assert golden() == kept
