"""data_filter_network: mismatched pairs score low, a few trusted pairs do better than none and than the length."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import MissingColumns, UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.alignment import Alignment
from tilth.models.encoder import encoder
from tilth.signals.target.data_filter_network import DataFilterNetwork, sides

TOPICS = 12


def pairs(n: int, wrong: float, rng: np.random.Generator) -> tuple[list[str], list[str], npt.NDArray[np.bool_]]:
    """Questions in some words, answers in others: which of them are of one topic must be learnt from pairs."""
    topic = rng.integers(0, TOPICS, n)
    bad = rng.permutation(n) < round(wrong * n)
    other = np.where(bad, (topic + rng.integers(1, TOPICS, n)) % TOPICS, topic)

    def text(kind: str, t: int) -> str:
        own = [f"{kind}{t}x{w}" for w in rng.integers(0, 8, 5)]
        return " ".join(rng.permutation([*own, *(f"{kind}{w}" for w in rng.integers(0, 60, 10))]))

    return [text("q", int(t)) for t in topic], [text("a", int(t)) for t in other], bad


def retrieval(asked: list[str | None], said: list[str | None]) -> TablePool:
    columns: dict[str, Any] = {"id": [f"r{i}" for i in range(len(asked))], "query": pa.array(asked, pa.string())}
    columns |= {"positive": pa.array(said, pa.string()), "negatives": [[""]] * len(asked)}
    return TablePool(pa.table(columns), "retrieval")


def goal(target: TablePool) -> Goal:
    return Goal(target, target, Budget(1, "pairs"))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mismatched_pairs_are_found_from_few_trusted_ones(seed: int) -> None:
    rng = np.random.default_rng(seed)
    asked, said, bad = pairs(1500, 0.5, rng)
    pool, target = retrieval([*asked], [*said]), retrieval(*map(list, pairs(300, 0.0, rng)[:2]))  # type: ignore[arg-type]
    found = score_in_memory(DataFilterNetwork(), pool, goal(target))
    score = found.column("data_filter_network.score").to_numpy()
    assert roc_auc_score(~bad, score) > 0.8
    assert roc_auc_score(~bad, found.column("data_filter_network.centred").to_numpy()) > 0.8
    untrained = score_in_memory(DataFilterNetwork(steps=0), pool, goal(target))
    assert roc_auc_score(~bad, untrained.column("data_filter_network.score").to_numpy()) < 0.7, "the naive rival"
    noisy = retrieval(*map(list, pairs(300, 0.9, rng)[:2]))  # type: ignore[arg-type]
    worse = score_in_memory(DataFilterNetwork(), pool, goal(noisy)).column("data_filter_network.score").to_numpy()
    assert roc_auc_score(~bad, worse) < roc_auc_score(~bad, score) - 0.05, "what it is trained on decides"


def test_is_the_alignment_of_the_encoders_vectors() -> None:
    rng = np.random.default_rng(3)
    asked, said, _ = pairs(60, 0.5, rng)
    good = pairs(40, 0.0, rng)
    pool, target = retrieval([*asked], [*said]), retrieval([*good[0]], [*good[1]])
    made = score_in_memory(DataFilterNetwork(steps=30), pool, goal(target))
    run = Run(place=("signal", "data_filter_network"))
    reader = encoder("static", [*asked, *said, *good[0], *good[1]], run)
    model = Alignment.train(reader.encode(good[0]), reader.encode(good[1]), run.rng("align"), steps=30)
    u, v = model.vectors(reader.encode(asked), reader.encode(said))
    score = made.column("data_filter_network.score").to_numpy()
    assert score == pytest.approx((u * v).sum(1), abs=1e-5)
    centred = made.column("data_filter_network.centred").to_numpy()
    mine, theirs = model.vectors(reader.encode(good[0]), reader.encode(good[1]))
    assert centred == pytest.approx(score - u @ theirs.mean(0) - v @ mine.mean(0), abs=1e-5)


def test_instructions_have_sides_too() -> None:
    turns = [("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d")]
    talk = [{"role": role, "content": said} for role, said in turns]
    pool = TablePool(pa.table({"messages": [talk, talk[:1], []]}), "instruction")
    left, right = sides(pool, "instruction")
    assert left.to_pylist() == ["a\n\nb\n\nc", "a", ""]
    assert right.to_pylist() == ["d", "", ""]
    rng = np.random.default_rng(4)

    def talks(wrong: float) -> tuple[TablePool, npt.NDArray[np.bool_]]:
        asked, said, bad = pairs(600, wrong, rng)
        rows = [
            [{"role": "user", "content": a}, {"role": "assistant", "content": b}]
            for a, b in zip(asked, said, strict=True)
        ]
        return TablePool(pa.table({"messages": rows}), "instruction"), bad

    (pool, bad), (target, _) = talks(0.5), talks(0.0)
    made = score_in_memory(DataFilterNetwork(pair="instruction"), pool, goal(target))
    assert roc_auc_score(~bad, made.column("data_filter_network.score").to_numpy()) > 0.8


def test_unknown_and_errors() -> None:
    good = pairs(40, 0.0, np.random.default_rng(5))
    target = retrieval([*good[0]], [*good[1]])
    pool = retrieval([good[0][0], None, "", good[0][1]], [good[1][0], "a", good[1][2], "never seen"])
    made = score_in_memory(DataFilterNetwork(), pool, goal(target)).column("data_filter_network.score").to_pylist()
    assert [v is None for v in made] == [False, True, True, True]
    one = retrieval(["a"], ["b"])
    assert score_in_memory(DataFilterNetwork(), pool, goal(one)).column("data_filter_network.score").null_count == 4
    with pytest.raises(UsageError, match="state a goal"):
        DataFilterNetwork().fit(pool, None, Run())
    talk = TablePool(pa.table({"messages": [[{"role": "user", "content": "a"}]]}), "instruction")
    with pytest.raises(MissingColumns, match="query"):
        score_in_memory(DataFilterNetwork(), pool, goal(talk))


def golden() -> list[list[float]]:
    rng = np.random.default_rng(6)
    asked, said, _ = pairs(6, 0.5, rng)
    good = pairs(60, 0.0, rng)
    pool, target = retrieval([*asked], [*said]), retrieval([*good[0]], [*good[1]])
    made = score_in_memory(DataFilterNetwork(steps=50), pool, goal(target)).column("data_filter_network").to_pylist()
    return [[round(row["score"], 4), round(row["centred"], 4)] for row in made]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "data_filter_network.json").read_text(encoding="utf-8"))
    assert golden() == pytest.approx(np.array(kept), abs=2e-3)
