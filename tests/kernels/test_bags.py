"""Buckets and sums against the token hashes they are defined by."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.kernels.bags import bag, bag_sums
from tilth.kernels.words import ngram_hashes, token_hashes

TEXTS = [
    "",
    " ",
    "A b a B",
    "don't,  stop!!",
    "\x00nul\x00",
    "e\u0301 漢字 שלום 👩‍👩‍👧",
    "x" * 100_000,
    None,
    "a\r\nb\tc d",
    "one",
]


@pytest.mark.parametrize("n", [1, 2, 3])
def test_same_ngrams_as_the_token_hashes(n: int) -> None:
    """Equal n-grams fall into one bucket, and, with this many buckets, only equal ones do."""
    texts = pa.array(TEXTS)
    starts, ids = bag(texts, n, 1 << 30)
    offsets, tokens = token_hashes(texts, "wordpunct")
    known: dict[tuple[int, int], int] = {}
    for i in range(len(TEXTS)):
        mine = tokens[offsets[i] : offsets[i + 1]]
        expected = [
            (size, int(ngram_hashes(mine, size)[end - size]))
            for end in range(1, mine.size + 1)
            for size in range(1, min(n, end) + 1)
        ]
        got = ids[starts[i] : starts[i + 1]].tolist()
        assert len(got) == len(expected)
        for gram, bucket in zip(expected, got, strict=True):
            assert known.setdefault(gram, bucket) == bucket
    assert len(set(known.values())) == len(known)


def test_buckets_are_in_range_and_even() -> None:
    text = pa.array([" ".join(f"w{i}" for i in range(20_000))])
    counts = np.bincount(bag(text, 2, 100)[1], minlength=100)
    assert counts.size == 100
    assert counts.sum() == 39_999
    assert ((counts - 399.99) ** 2 / 399.99).sum() < 150  # chi square with 99 degrees of freedom: p = 0.0007


def test_slices_chunks_and_empty_columns() -> None:
    whole = pa.array(TEXTS)
    starts, ids = bag(whole, 2, 1000)
    part, mine = bag(whole.slice(2, 3), 2, 1000)
    assert (mine == ids[starts[2] : starts[5]]).all()
    assert (part == starts[2:6] - starts[2]).all()
    chunked, all_ids = bag(pa.chunked_array([TEXTS[:4], TEXTS[4:]], pa.string()), 2, 1000)
    assert (chunked == starts).all()
    assert (all_ids == ids).all()
    assert bag(pa.array([], pa.string()), 2, 10)[0].tolist() == [0]


def test_sums() -> None:
    starts, ids = np.array([0, 2, 2, 5]), np.array([0, 1, 1, 1, 2], np.int32)
    assert bag_sums(starts, ids, np.array([1.0, 10.0, 100.0])).tolist() == [11.0, 0.0, 120.0]
