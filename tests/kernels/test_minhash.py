"""The MinHash kernel against a plain reference, and its statistics against theory."""

from __future__ import annotations

import re

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Run
from tilth.kernels.hashing import mix64
from tilth.kernels.minhash import band_hashes, lanes, signatures, star

MASK = (1 << 64) - 1


def reference(text: bytes, ngram: int, a: npt.NDArray[np.uint32], b: npt.NDArray[np.uint32]) -> tuple[list[int], bool]:
    """What the module says, one word at a time."""
    words = []
    for word in re.findall(rb"[0-9A-Za-z_\x80-\xff]+", text):
        h = 0
        for byte in word.lower():
            h = ((h << 5 | h >> 59) + int(mix64(np.uint64((byte + 1) * 0x9E3779B97F4A7C15 & MASK)))) & MASK
        words.append(h)
    if not words:
        return [0xFFFFFFFF] * len(a), False
    found = []
    for i in range(max(1, len(words) - ngram + 1)):
        h = 0
        for word in words[i : i + ngram]:
            h = (h * 0x9E3779B97F4A7C15 + word) & MASK
        found.append(int(mix64(np.uint64(h))) >> 32)
    return [min((int(x) * h + int(y)) % 2**32 for h in found) for x, y in zip(a, b, strict=True)], True


TORTURE = [
    "", " ", "a", "one two three four", "one two three four five", "One TWO three_four 5 five; six, seven",
    "\x00nul\x00 bytes\x00", "e\u0301 combining \u0301", "\u202eשלום عربي\u202c", "emoji 👩‍👩‍👧‍👦 x",
    "a\r\nb\r\nc\r\nd\r\ne\r\nf",
    "x" * 100_000, "word " * 3000, " ".join(f"w{i}" for i in range(9001)), "İstanbul ß ﬁ Ǆ @[`{ AZ az 09",
]  # fmt: skip


@pytest.mark.parametrize("ngram", [1, 2, 5])
def test_agrees_with_the_reference(ngram: int) -> None:
    a, b = lanes(16)
    column = pa.array([*TORTURE, None], pa.string())
    expected = [reference((text or "").encode(), ngram, a, b) for text in column.to_pylist()]
    for texts in (column, column.cast(pa.large_string()), pa.chunked_array([column.slice(0, 3), column.slice(3)])):
        made, filled = signatures(texts, ngram, a, b)
        assert made.tolist() == [signature for signature, _ in expected]
        assert filled.tolist() == [words for _, words in expected]
    part, _ = signatures(column.slice(3, 5), ngram, a, b)
    assert part.tolist() == [signature for signature, _ in expected[3:8]]


def pairs(similarity: float, count: int, size: int) -> tuple[pa.Array, pa.Array, float]:
    """Two columns of texts of `size` distinct one-word shingles, and the exact similarity of row i to row i."""
    common = round(2 * size * similarity / (1 + similarity))
    one = [" ".join(f"p{p}w{i}" for i in range(size)) for p in range(count)]
    two = [" ".join(f"p{p}w{i + size - common}" for i in range(size)) for p in range(count)]
    return pa.array(one), pa.array(two), common / (2 * size - common)


@pytest.mark.parametrize("size", [40, 400])
@pytest.mark.parametrize("similarity", [0.25, 0.5, 0.8])
def test_lanes_agree_as_often_as_sets_overlap(similarity: float, size: int) -> None:
    a, b = lanes(128)
    one, two, exact = pairs(similarity, 300, size)
    share = (signatures(one, 1, a, b)[0] == signatures(two, 1, a, b)[0]).mean(axis=1)
    error = np.sqrt(similarity * (1 - similarity) / 128)
    assert abs(share.mean() - exact) < 0.01
    assert 0.85 * error < share.std() < 1.15 * error, "lanes are not independent"


@pytest.mark.parametrize(("bands", "rows"), [(32, 4), (14, 9), (25, 5)])
def test_collision_curve_is_the_one_of_theory(bands: int, rows: int) -> None:
    a, b = lanes(128)
    for similarity in (0.3, 0.5, 0.6, 0.7, 0.8, 0.9):
        *texts, exact = pairs(similarity, 800, 190)
        one, two = (band_hashes(signatures(column, 1, a, b)[0], bands, rows) for column in texts)
        met = (one == two).any(axis=0).mean()
        assert abs(met - (1 - (1 - exact**rows) ** bands)) < 0.05, similarity


def test_star_compares_with_keepers_only() -> None:
    signed = np.zeros((5, 8), np.uint32)
    for i in range(5):
        signed[i, : 2 * i] = 100 + i  # the first two agree in 6 lanes, the next in 4, 2, 0
        signed[i, 2 * i :] = 7
    everyone = np.arange(5, dtype=np.int32)
    one_bucket = np.zeros(5, np.int32)
    order = np.arange(5)
    keeper, share = star(everyone, one_bucket, order, signed, 6, 99)
    assert keeper.tolist() == [0, 0, 2, 3, 4]
    assert share.tolist() == [1, 0.75, 1, 1, 1]
    keeper, _ = star(everyone, one_bucket, order[::-1].copy(), signed, 6, 99)
    assert keeper.tolist() == [1, 1, 2, 3, 4], "the first in order is kept"
    keeper, _ = star(everyone, everyone, order, signed, 1, 99)
    assert keeper.tolist() == [0, 1, 2, 3, 4], "without a common bucket nothing is compared"


def test_words_split_over_chunks_of_shingles_are_seen_once() -> None:
    a, b = lanes(8)
    rng = Run(seed=1).rng("text")
    for size in (4095, 4096, 4097, 8200):
        text = " ".join(f"w{i}" for i in rng.integers(0, 1 << 30, size + 4))
        assert signatures(pa.array([text]), 5, a, b)[0][0].tolist() == reference(text.encode(), 5, a, b)[0]
