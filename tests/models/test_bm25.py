"""BM25 against its definition over words."""

from __future__ import annotations

import re
from collections import Counter
from math import log

import numpy as np
import pyarrow as pa
import pytest

from tilth.models import bm25
from tilth.models.bm25 import BM25


def plain(texts: list[str], query: str, k1: float, b: float) -> list[float]:
    bags = [Counter(re.findall(r"\w+", text.lower())) for text in texts]
    mean = sum(sum(bag.values()) for bag in bags) / len(bags)
    scores = []
    for bag in bags:
        total = 0.0
        for word in re.findall(r"\w+", query.lower()):
            have = sum(word in other for other in bags)
            slow = k1 * (1 - b + b * sum(bag.values()) / mean)
            total += log(1 + (len(bags) - have + 0.5) / (have + 0.5)) * bag[word] * (k1 + 1) / (bag[word] + slow)
        scores.append(total)
    return scores


@pytest.mark.parametrize(("k1", "b"), [(1.2, 0.75), (0.9, 0.0), (2.0, 1.0)])
def test_equals_the_definition(k1: float, b: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bm25, "BLOCK", 100)  # three queries at a time
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(40)]
    share = 1 / np.arange(1, 41)
    share /= share.sum()
    texts = [" ".join(rng.choice(words, int(rng.integers(1, 30)), p=share)) for _ in range(30)]
    queries = [" ".join(rng.choice(words, 4)) + " W1 w1, unknown" for _ in range(8)]
    rows, scores = BM25.of(texts, k1, b).search(queries, 30)
    for query, found, got in zip(queries, rows, scores, strict=True):
        wanted = plain(texts, query, k1, b)
        count = sum(s > 0 for s in wanted)
        assert got[:count] == pytest.approx(sorted(wanted, reverse=True)[:count])
        assert got[:count] == pytest.approx([wanted[i] for i in found[:count]])
        assert (found[count:] == -1).all()


def test_ties_keep_the_order_of_the_index() -> None:
    rows, _ = BM25.of(["a b"] * 50 + ["a a"]).search(["a", "b"], 3)
    assert rows.tolist() == [[50, 0, 1], [0, 1, 2]]


def test_empty_things() -> None:
    assert BM25.of([]).search(["a"], 2)[0].tolist() == [[-1, -1]]
    assert BM25.of(["", " "]).search(["a", ""], 1)[0].tolist() == [[-1], [-1]]
    assert BM25.of(["a"]).search([], 2)[0].shape == (0, 2)
    assert BM25.of(pa.array(["a", None])).search(pa.chunked_array([["a"]]), 2)[0].tolist() == [[0, -1]]
