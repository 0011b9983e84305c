"""perplexity_slice: ranks by hand, and the low slice of a pool that is two fifths garbled: clean, useful, and dull."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import rankdata

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.policies.select.sample import Sample
from tilth.proofs.ngram import Ngram
from tilth.signals.quality.perplexity import Perplexity
from tilth.signals.quality.perplexity_slice import PerplexitySlice


def ranked(values: list[float | None], words: list[int], source: list[str | None]) -> TablePool:
    table = pa.table({"text": ["x"] * len(values), "source": pa.array(source, pa.string())})
    kind = pa.struct([("bits_per_token", pa.float32()), ("tokens", pa.int32())])
    rows = [{"bits_per_token": v, "tokens": w} for v, w in zip(values, words, strict=True)]
    return score_in_memory(PerplexitySlice(), TablePool(table).with_column("perplexity", pa.array(rows, kind)))


def test_ranks_by_hand() -> None:
    made = ranked([3.0, 1.0, None, 2.0, 2.0, 9.0], [4, 7, 5, 8, 3, 15], ["a", "a", "a", "b", None, "b"])
    rows = made.column("perplexity_slice").to_pylist()
    assert [r["pool"] for r in rows] == pytest.approx([0.7, 0.1, None, 0.4, 0.4, 0.9])
    assert [r["source"] for r in rows] == pytest.approx([0.75, 0.25, None, 0.25, 0.5, 0.75])
    assert [r["length"] for r in rows] == pytest.approx([0.75, 0.25, None, 0.25, 0.5, 0.75])  # 4 7 | 8 15 | 3


def test_is_scipys_mean_rank() -> None:
    values = np.random.default_rng(0).integers(0, 50, 300).astype(float)
    made = ranked(values.tolist(), [10] * 300, ["a"] * 300).column("perplexity_slice.pool").to_numpy()
    assert made == pytest.approx((rankdata(values) - 0.5) / 300, abs=1e-6)


def world(seed: int, size: int = 1000) -> tuple[TablePool, Goal, npt.NDArray[np.bool_]]:
    """Sentences of a small grammar, long and short; two fifths of them with their words in any order."""
    rng = np.random.default_rng(seed)

    def text() -> list[str]:
        at, words = int(rng.zipf(1.5)) % 300, []
        for _ in range(int(rng.choice([8, 30, 90]))):
            words.append(f"w{at}")
            at = (at * 7 + int(rng.integers(4))) % 300
        return words

    garbled = rng.permutation(size) < 0.4 * size
    sound = [text() for _ in range(size)]
    texts = [" ".join(rng.permutation(words) if bad else words) for bad, words in zip(garbled, sound, strict=True)]
    pool = TablePool(pa.table({"id": [f"r{i}" for i in range(size)], "text": texts, "source": ["a"] * size}))
    counts = pa.array([{"count": len(t.split())} for t in texts], pa.struct([("count", pa.int32())]))
    pool = pool.with_column("tokens", counts)
    side = [TablePool(pa.table({"text": [" ".join(text()) for _ in range(150)]})) for _ in range(2)]
    goal = Goal(side[0], side[1], Budget(int(0.2 * sum(len(t.split()) for t in texts))))
    return score_in_memory(Perplexity(), pool, goal), goal, garbled


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_lowest_fifth_is_clean_and_teaches_more_and_is_duller(seed: int) -> None:
    pool, goal, garbled = world(seed)
    scored = score_in_memory(PerplexitySlice(), pool)
    length = scored.column("perplexity_slice.length").to_numpy()
    low = length < 0.2
    assert low.mean() == pytest.approx(0.2, abs=0.02)
    assert garbled[low].mean() <= 0.05
    words = scored.column("tokens.count").to_numpy()
    raw = scored.column("perplexity_slice.pool").to_numpy() < 0.2
    assert abs(words[low].mean() / words.mean() - 1) < abs(words[raw].mean() / words.mean() - 1), "lengths stay"
    start, proof = (
        Plan.everything(scored, goal.budget),
        Ngram(order=3, tokens=20_000, vocab=1024),
    )  # a word is two tokens
    chosen = Sample(by="perplexity_slice.length", high=False).revise(start, scored, goal, Run())
    chance = Sample().revise(start, scored, goal, Run())
    losses = [proof.trial(plan, scored, goal, Run()).mean() for plan in (chosen, chance)]
    assert losses[0] < 0.9 * losses[1]
    texts = scored.column("text").to_pylist()

    def variety(kept: npt.NDArray[np.bool_]) -> float:
        pairs = [p for t, k in zip(texts, kept, strict=True) if k for p in zip(t.split(), t.split()[1:], strict=False)]
        return len(set(pairs)) / len(pairs)

    assert variety(chosen.kept) < 0.67 * variety(chance.kept), "what it costs: fewer different pairs of words"


def golden() -> list[list[float | None]]:
    rng = np.random.default_rng(1)
    values = [None if i == 3 else round(float(v), 2) for i, v in enumerate(rng.exponential(5, 9))]
    made = ranked(values, rng.integers(1, 40, 9).tolist(), [*"abcabcabc"]).column("perplexity_slice").to_pylist()
    return [[row[k] and round(row[k], 5) for k in ("pool", "source", "length")] for row in made]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "perplexity_slice.json").read_text(encoding="utf-8"))
    assert golden() == kept
