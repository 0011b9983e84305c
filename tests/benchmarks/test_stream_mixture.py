"""What the stream's mixture and repeats are counted from: right on a real stream, and wrong ones are seen."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Plan, TablePool
from tilth.engine.stream import PACKINGS, Packing, Step, Stream
from tilth.models.tokenizer import Tokenizer

FOLDER = Path(__file__).parents[2] / "benchmarks"
WORDS = ["soil", "seed", "field", "plough", "rain", "root", "leaf", "grain"]


@pytest.fixture(scope="module")
def benchmark() -> Any:
    """The benchmark as a module, which finds its neighbours as a command does."""
    sys.path.insert(0, str(FOLDER))
    try:
        spec = importlib.util.spec_from_file_location("stream_mixture", FOLDER / "stream_mixture.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(FOLDER))


RNG = np.random.default_rng(0)
TEXTS = [" ".join(RNG.choice(WORDS, RNG.integers(1, 90))) for _ in range(200)]
TOKENIZER = Tokenizer.train(TEXTS, vocab=300)
POOL = TablePool(
    pa.table({"text": TEXTS, "source": ["ab"[i % 3 > 1] for i in range(200)],
              "tokens": [{"count": int(n)} for n in TOKENIZER.count(TEXTS)]})
)  # fmt: skip
REPEATS = np.arange(200) % 4
PLAN = Plan.everything(POOL, Budget(10**9)).revised({"use": "test"}, "some twice", repeats=REPEATS)


@pytest.mark.parametrize("packing", PACKINGS)
def test_a_stream_reads_every_record_as_often_as_planned(benchmark: Any, tmp_path: Path, packing: Packing) -> None:
    stream = Stream(PLAN, POOL, TOKENIZER, batch=4, context=64, packing=packing, cache=tmp_path, prefetch=0)
    count = benchmark.Count(POOL.count, TOKENIZER.eod)
    for step in stream:
        count.add(step)
    whole, cut = benchmark.encoded(TEXTS, TOKENIZER, 64)
    truth = cut if packing == "none" else whole
    assert count.wrong(*truth, REPEATS).size == 0
    assert count.sizes.sum() == (truth.tokens * REPEATS).sum()
    if packing == "none":
        assert count.wrong(*whole, REPEATS).size > 0, "cut off is not whole"
    by_hand = [TOKENIZER.encode_batch([TEXTS[i]])[1] for i in count.pieces[:3].tolist()]
    if packing == "none":
        assert count.sizes[:3].tolist() == [min(ids.size, 64) for ids in by_hand]


def test_what_is_read_otherwise_is_seen(benchmark: Any, tmp_path: Path) -> None:
    stream = Stream(PLAN, POOL, TOKENIZER, batch=4, context=64, packing="best_fit", cache=tmp_path, prefetch=0)
    steps = [*stream]
    truth, _ = benchmark.encoded(TEXTS, TOKENIZER, 64)

    def wrong(read: list[Step]) -> list[int]:
        count = benchmark.Count(POOL.count, TOKENIZER.eod)
        for step in read:
            count.add(step)
        found: list[int] = count.wrong(*truth, REPEATS).tolist()
        return found

    assert wrong(steps) == []
    assert wrong([*steps, steps[0]]) == np.unique(steps[0].records).tolist(), "a step twice"
    assert wrong(steps[1:]) == np.unique(steps[0].records).tolist(), "a step left out"
    turned = steps[0].input_ids.copy()
    place = np.argwhere((steps[0].segment_ids == 0) & (turned != TOKENIZER.eod))[0]
    turned[tuple(place)] += 1
    assert wrong([replace(steps[0], input_ids=turned), *steps[1:]]) == [steps[0].records[0]], "another token"
    swapped = steps[0].records.copy()
    swapped[0] = next(i for i in range(1, 200) if i != swapped[0] and REPEATS[i])
    assert set(wrong([replace(steps[0], records=swapped), *steps[1:]])) == {steps[0].records[0], swapped[0]}


def test_the_largest_deviation_is_that_of_the_worst_stretch(benchmark: Any) -> None:
    rng = np.random.default_rng(1)
    group, sizes = rng.integers(0, 3, 60), rng.integers(0, 9, 60)
    shares = np.array([0.5, 0.3, 0.2])
    for records in (1, 7, 60, 100):
        worst = 0.0
        for start in range(max(1, 60 - records + 1)):
            some = slice(start, start + records)
            total = max(int(sizes[some].sum()), 1)
            part = [sizes[some][group[some] == g].sum() / total for g in range(3)]
            worst = max(worst, float(np.abs(np.array(part) - shares).max()))
        assert benchmark.largest_deviation(group, sizes, shares, records) == pytest.approx(worst)


def test_pieces_count_for_the_part_of_a_record_that_they_are(benchmark: Any) -> None:
    """Two records whole, one in four pieces: three stretches of two records, the last of them shifted by pieces."""
    group, sizes, weights = np.array([0, 1, 0, 0, 0, 0]), np.ones(6, int), np.array([1.0, 1.0, 0.25, 0.25, 0.25, 0.25])
    even = np.array([0.5, 0.5])
    assert benchmark.largest_deviation(group, sizes, even, 2, weights) == pytest.approx(4 / 5 - 0.5)
    assert benchmark.largest_deviation(group, sizes, even, 1, weights) == pytest.approx(0.5)
