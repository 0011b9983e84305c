"""Bags against a plain count of the same n-grams."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from tilth.kernels.bags import bag_counts, bag_sums
from tilth.kernels.words import ngram_hashes, token_hashes

TEXTS = [
    "",
    " ",
    "A b a B",
    "don't,  stop!! a b a b a",
    "\x00nul\x00",
    "e\u0301 漢字 שלום 👩‍👩‍👧",
    "x" * 100_000,
    "x" * 100_001,
    None,
    "a\r\nb\tc d",
    "one",
    "sevenby sevenbyt sevenbytesandmore sevenbytesandmor sevenbytesandmorf ,,,,,,,, ,,,,,,, ,,,,,,,,,,,,,,,",
]
MANY = 1 << 22  # so many buckets that different n-grams do not share one


def ngrams(texts: pa.Array, n: int) -> list[Counter[tuple[int, int]]]:
    """Each text's n-grams by the words' hashes, which have tests of their own."""
    offsets, tokens = token_hashes(texts, "wordpunct")
    return [
        Counter(
            (size, int(h)) for size in range(1, n + 1) for h in ngram_hashes(tokens[offsets[i] : offsets[i + 1]], size)
        )
        for i in range(len(texts))
    ]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_counts(n: int) -> None:
    texts = pa.array(TEXTS)
    expected = sum(ngrams(texts, n), Counter())
    counts = bag_counts(texts, n, MANY)
    assert sorted(counts[counts > 0]) == sorted(expected.values())


@pytest.mark.parametrize("n", [1, 2, 3])
def test_equal_ngrams_meet_across_texts(n: int) -> None:
    texts = pa.array(TEXTS)
    each = [bag_counts(texts.slice(i, 1), n, MANY) > 0 for i in range(len(TEXTS))]
    grams = ngrams(texts, n)
    for a in range(len(TEXTS)):
        for b in range(a):
            assert (each[a] & each[b]).sum() == len(grams[a].keys() & grams[b].keys())


@pytest.mark.parametrize("n", [1, 2, 4])
def test_sums(n: int) -> None:
    texts = pa.array(TEXTS)
    values = np.random.default_rng(0).normal(size=1000)
    sums, counted = bag_sums(texts, n, values)
    assert counted.tolist() == [sum(grams.values()) for grams in ngrams(texts, n)]
    for i in range(len(TEXTS)):
        assert sums[i] == pytest.approx(bag_counts(texts.slice(i, 1), n, 1000) @ values, abs=1e-6)


def test_weights() -> None:
    texts = pa.array(["a b", "b c", "d"])
    each = [bag_counts(texts.slice(i, 1), 2, 1000) for i in range(3)]
    weighted = bag_counts(texts, 2, 1000, np.array([0.5, 2.0, 0.0]))
    assert (weighted == 0.5 * each[0] + 2 * each[1]).all()


def test_buckets_are_in_range_and_even() -> None:
    counts = bag_counts(pa.array([" ".join(f"w{i}" for i in range(20_000))]), 2, 100)
    assert counts.sum() == 39_999
    assert ((counts - 399.99) ** 2 / 399.99).sum() < 150  # chi square with 99 degrees of freedom: p = 0.0007


def test_slices_chunks_and_empty_columns() -> None:
    whole, values = pa.array(TEXTS), np.arange(100.0)
    sums, _ = bag_sums(whole, 2, values)
    assert (bag_sums(whole.slice(2, 3), 2, values)[0] == sums[2:5]).all()
    assert (bag_sums(pa.chunked_array([TEXTS[:4], TEXTS[4:]], pa.string()), 2, values)[0] == sums).all()
    assert bag_sums(pa.array([], pa.string()), 2, values)[0].size == 0
    assert bag_counts(pa.array([], pa.string()), 2, 10).tolist() == [0.0] * 10
