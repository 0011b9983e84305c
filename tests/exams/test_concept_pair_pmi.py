"""Planted attraction of concepts is recovered whatever their frequency, which a count of the pair confuses with it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from tilth.core import Run, TablePool
from tilth.core.errors import BadField
from tilth.engine.apply import score_in_memory
from tilth.signals.difficulty.concept_pair_pmi import ConceptPairPmi, PairTable

Floats = npt.NDArray[np.float64]


def pool_of(texts: Sequence[str | None], fragment: int = 1000) -> TablePool:
    return TablePool(pa.table({"text": pa.array(texts, pa.string())}), fragment=fragment)


def planted(seed: int, texts: int = 20_000) -> tuple[TablePool, Floats, list[tuple[str, str]]]:
    """Disjoint pairs of concepts: frequencies and PMI drawn independently, each pair's joint share made to fit."""
    rng = np.random.default_rng(seed)
    lift = rng.uniform(-1.2, 1.5, 24)
    single = np.exp(rng.uniform(np.log(0.05), np.log(0.22), 24))
    columns = []
    for pmi, p in zip(lift, single, strict=True):
        both = p * p * np.exp(pmi)
        kind = rng.choice(4, texts, p=[both, p - both, p - both, 1 - 2 * p + both])
        columns.append((np.isin(kind, (0, 1)), np.isin(kind, (0, 2))))
    names = [(f"a{i}", f"b{i}") for i in range(24)]
    rows = [
        " ".join(["so", *(n for i in range(24) for n, there in zip(names[i], columns[i], strict=True) if there[t])])
        for t in range(texts)
    ]
    return pool_of(rows), lift, names


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_recovers_what_was_planted_and_the_count_does_not(seed: int) -> None:
    pool, lift, names = planted(seed)
    table = ConceptPairPmi(concepts=tuple(n for pair in names for n in pair)).fit(pool, None, Run())
    place = np.arange(0, 48, 2)
    found, count = table.pmi[place, place + 1], table.counts[place, place + 1]
    assert found == pytest.approx(lift, abs=0.5)
    assert spearmanr(found, lift).statistic > 0.97
    assert spearmanr(count, lift).statistic < 0.85, "the naive rival mixes in how frequent the concepts are"
    single = np.diag(table.counts)[place]
    assert abs(spearmanr(found, single).statistic) < abs(spearmanr(count, single).statistic)


def plain(texts: Sequence[str], concepts: Sequence[str], s: float) -> dict[tuple[int, int], float]:
    have = [{i for i, c in enumerate(concepts) if {*c.split("|")} & {*t.lower().split()}} for t in texts]
    n = len(texts) + s

    def p(*some: int) -> float:
        return (sum({*some} <= h for h in have) + s) / n

    return {(a, b): log(p(a, b) / (p(a) * p(b))) for a, b in combinations(range(len(concepts)), 2)}


@pytest.mark.parametrize("fragment", [11, 1000])
def test_equals_the_definition(fragment: int) -> None:
    rng = np.random.default_rng(3)
    concepts = ("a", "b|bb", "c", "never", "d")
    texts = [" ".join(rng.choice(["A", "b", "bb", "c", "d", "x"], int(rng.integers(0, 5)))) for _ in range(300)]
    signal = ConceptPairPmi(concepts=concepts, smoothing=0.7)
    wanted = plain(texts, concepts, 0.7)
    table = signal.fit(pool_of(texts, fragment), None, Run())
    assert table.units == 300
    for (a, b), value in wanted.items():
        assert table.pmi[a, b] == pytest.approx(value)
        assert table.pmi[b, a] == pytest.approx(value)
    scored = score_in_memory(signal, pool_of(texts, fragment)).column("concept_pair_pmi").to_pylist()
    for text, row in zip(texts, scored, strict=True):
        present = [i for i, c in enumerate(concepts) if {*c.split("|")} & {*text.lower().split()}]
        values = [wanted[pair] for pair in combinations(present, 2)]
        assert row["pairs"] == len(values)
        assert row["lowest"] == (pytest.approx(min(values), rel=1e-5) if values else None)
        assert row["mean"] == (pytest.approx(np.mean(values), rel=1e-5) if values else None)


def test_sentences() -> None:
    texts = ["A b. C d! a c?\nb", "a b. a b", "e.g. a", None]
    table: PairTable = ConceptPairPmi(concepts=("a", "b", "c", "d"), window="sentence").fit(pool_of(texts), None, Run())
    assert table.counts[0].tolist() == [5, 3, 1, 0]
    assert table.counts[1, 2] == 0, "b and c share a record, not a sentence"
    signal = ConceptPairPmi(concepts=("a", "b", "c", "d"), window="sentence")
    scored = score_in_memory(signal, pool_of(texts)).column("concept_pair_pmi.pairs").to_pylist()
    assert scored == [3, 1, 0, 0], "a pair counts once in a record"


def test_long_records_bring_everything_together() -> None:
    """Independent concepts in sentences, half of the records of one and half of 30: by record all attract."""
    rng = np.random.default_rng(1)
    sentences = ["x " + " ".join(c for c in "abc" if rng.random() < 0.1) + "." for _ in range(12_000)]
    texts = [" ".join(sentences[i : i + 30]) if i % 60 == 0 else sentences[i] for i in range(0, 12_000, 30)]
    by = {w: ConceptPairPmi(concepts=("a", "b", "c"), window=w).fit(pool_of(texts), None, Run())
          for w in ("record", "sentence")}  # fmt: skip
    off = ~np.eye(3, dtype=bool)
    assert by["record"].pmi[off].min() > 0.4
    assert abs(by["sentence"].pmi[off]).max() < 0.3


def test_needs_two_concepts() -> None:
    with pytest.raises(BadField, match="concepts"):
        ConceptPairPmi(concepts=("a",))


def golden() -> list[Any]:
    texts = ["Warm soil and rain.", "Seeds, rain", "soil with a seed", "rain on soil", "nothing", "SOIL SEED RAIN"]
    signal = ConceptPairPmi(concepts=("soil", "rain", "seed|seeds"))
    rows = score_in_memory(signal, pool_of(texts)).column("concept_pair_pmi").to_pylist()
    return [
        [row["pairs"], *(row[k] if row[k] is None else round(row[k], 5) for k in ("lowest", "mean"))] for row in rows
    ]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "concept_pair_pmi.json").read_text(encoding="utf-8"))
    assert golden() == kept
