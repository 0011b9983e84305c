"""minhash: finds planted copies as theory says, is right about those it flags, and does not pass likeness on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Run, TablePool
from tilth.core.errors import BadField
from tilth.engine.apply import score_in_memory
from tilth.engine.local import Workers
from tilth.probes.planted_duplicates import PlantedDuplicates
from tilth.signals.duplicates.minhash import MinHash, best_split


def shingles(text: str, n: int = 5) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))}


def jaccard(one: str, two: str) -> float:
    a, b = shingles(one), shingles(two)
    return len(a & b) / len(a | b)


def scored(texts: list[str | None], signal: MinHash | None = None, **columns: Any) -> list[dict[str, Any]]:
    pool = TablePool(pa.table({"text": pa.array(texts, pa.string()), **columns}), fragment=7)
    rows: list[dict[str, Any]] = score_in_memory(signal or MinHash(), pool).column("minhash").to_pylist()
    return rows


def words(*spans: tuple[str, int, int]) -> str:
    return " ".join(f"{name}{i}" for name, start, stop in spans for i in range(start, stop))


def test_finds_planted_copies_and_is_right_about_them() -> None:
    world = PlantedDuplicates().build(1500, Run(seed=1))
    assert isinstance(world.pool, TablePool)
    made = score_in_memory(MinHash(threshold=0.5), world.pool)
    rows = made.table(["text", "truth", "minhash"]).to_pylist()
    for edit, least, most in ((0.0, 1, 1), (0.05, 0.95, 1), (0.3, 0, 0.01)):
        flags = [r["minhash"]["duplicate"] for r in rows if r["truth"]["base"] and r["truth"]["edit"] == edit]
        assert least <= np.mean(flags) <= most, edit
    keeper = {r["minhash"]["cluster"]: r["text"] for r in rows if r["minhash"]["copies"] > 1 and not
              r["minhash"]["duplicate"]}  # fmt: skip
    flagged = [r for r in rows if r["minhash"]["duplicate"]]
    true = np.array([jaccard(r["text"], keeper[r["minhash"]["cluster"]]) for r in flagged])
    estimate = np.array([r["minhash"]["similarity"] for r in flagged])
    assert true.min() >= 0.4
    assert abs(estimate - true).max() < 5 * 0.5 / np.sqrt(128)
    assert abs((estimate - true).mean()) < 0.01, "the estimate is biased"


def test_likeness_is_not_passed_on() -> None:
    chain: list[str | None] = [words(("w", i * 12, i * 12 + 100)) for i in range(6)]
    near, far = (jaccard(str(chain[0]), str(chain[i])) for i in (1, 2))
    assert near > 0.7 > 0.65 > far
    rows = scored(chain, MinHash(threshold=0.68, permutations=512))
    assert [row["duplicate"] for row in rows] == [False, True] * 3
    assert [row["cluster"] for row in rows] == [0, 0, 1, 1, 2, 2]
    assert [row["copies"] for row in rows] == [2] * 6


def test_keeps_the_record_it_is_told_to_and_joins_the_most_alike() -> None:
    a, b = words(("a", 0, 100)), words(("a", 0, 92), ("b", 0, 8))
    texts: list[str | None] = ["other text of no importance here", a, b, a, None]
    rows = scored(texts, MinHash(keep="by"), by=[1, 2, 3, None, 9])
    assert [row["duplicate"] for row in rows] == [False, True, False, True, False]
    low = scored(texts, MinHash(keep="by", keep_high=False), by=[1, 2, 3, None, 9])
    assert [row["duplicate"] for row in low] == [False, False, True, True, False]
    assert [row["similarity"] for row in low][1::2] == [1, 1]
    # The third is alike to both of the first two, which are not alike; it goes to the nearer one.
    two: list[str | None] = [
        words(("a", 0, 50), ("b", 0, 50)),
        words(("a", 30, 50), ("b", 0, 80)),
        words(("a", 20, 50), ("b", 0, 70)),
    ]
    assert [row["cluster"] for row in scored(two, MinHash(threshold=0.6, permutations=256))] == [None, 0, 0]


def test_short_and_empty_texts() -> None:
    rows = scored(["", None, "", " .,! ", " .,! ", "a b", "A, b.", "b a", "a b c", "ä", "Ä"])
    assert [row["duplicate"] for row in rows] == [False] * 6 + [True] + [False] * 4
    assert scored([None, ""]) == [{"cluster": None, "duplicate": False, "similarity": None, "copies": 1}] * 2


def test_equal_texts_agree_wherever_they_are() -> None:
    family = words(("f", 0, 60))
    rows = scored([family, *(f"{family} {i}" for i in range(40)), family, *(f"{family} {i}" for i in range(40))])
    assert [row["duplicate"] for row in rows] == [False] + [True] * 81
    assert {row["copies"] for row in rows} == {82}


def test_processes_scratch_and_batches_change_nothing(tmp_path: Path) -> None:
    world = PlantedDuplicates().build(300, Run(seed=5))
    table = world.pool.table(["id", "text"])
    signal, run = MinHash(threshold=0.5), Run()
    one = signal.fit(TablePool(table), None, run)
    with Workers(2, run.progress) as workers:
        mapped = Run(scratch=tmp_path, mapper=lambda f, items, label: workers.map(f, items, label, tmp_path / "work"))
        for _ in range(2):  # the second time everything is remembered
            other = signal.fit(TablePool(table, fragment=37), None, mapped)
            for name, values in vars(one).items():
                assert np.array_equal(values, getattr(other, name)), name


@pytest.mark.parametrize(("threshold", "found"), [(0.3, 0.9), (0.5, 0.94), (0.7, 0.95), (0.8, 0.95), (0.9, 0.95)])
def test_chosen_bands_miss_little_just_above_the_threshold(threshold: float, found: float) -> None:
    bands, rows = best_split(threshold, 128)
    assert bands * rows <= 128
    assert 1 - (1 - (threshold + 0.05) ** rows) ** bands > found
    assert 1 - (1 - (threshold - 0.25) ** rows) ** bands < 0.35


def test_bands_must_fit() -> None:
    assert MinHash(bands=16, rows=8).split == (16, 8)
    for wrong in ({"bands": 16}, {"rows": 8}, {"bands": 43, "rows": 3}):
        with pytest.raises(BadField, match="bands and rows"):
            MinHash(**wrong)
