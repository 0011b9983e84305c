"""Hashes: against a plain reading of their rule, and as good as chance at telling strings apart."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import hash_bytes, hash_span, hash_strings

MASK = (1 << 64) - 1
M1, M2, GOLD = 0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53, 0x9E3779B97F4A7C15
LENGTHS = [*range(100), 127, 128, 129, 1000, 4097]


def mix(x: int) -> int:
    x = ((x ^ (x >> 33)) * M1) & MASK
    x = ((x ^ (x >> 33)) * M2) & MASK
    return x ^ (x >> 33)


def reference(data: bytes, seed: int) -> int:
    """Four hashes side by side from 64 bytes on, then eight bytes a step, then the rest."""
    h = seed ^ (len(data) * GOLD & MASK)
    if len(data) >= 64:
        four = [h, h ^ M1, h ^ M2, h ^ GOLD]
        while len(data) >= 32:
            for i in range(4):
                x = (four[i] ^ int.from_bytes(data[8 * i : 8 * i + 8], "little")) * M1 & MASK
                four[i] = ((x << 31) | (x >> 33)) & MASK
            data = data[32:]
        a, b, c, d = four
        h = mix(a + mix(b + mix(c + mix(d) & MASK) & MASK) & MASK)
    while len(data) >= 8:
        h = (mix(h ^ int.from_bytes(data[:8], "little")) + GOLD) & MASK
        data = data[8:]
    return mix(h ^ int.from_bytes(data, "little"))


@pytest.mark.parametrize("seed", [0, 1, MASK])
def test_strings_by_the_rule(seed: int) -> None:
    rng = np.random.default_rng(0)
    texts = [rng.integers(0, 256, n, np.uint8).tobytes() for n in LENGTHS]
    assert hash_strings(pa.array(texts, pa.binary()), seed).tolist() == [reference(t, seed) for t in texts]


@pytest.mark.parametrize("which", ["bytes", "span"])
def test_every_byte_counts(which: str) -> None:
    """Change any one bit of a string of any length, and about half of the hash changes."""
    rng = np.random.default_rng(1)
    for length in LENGTHS[1:]:
        data = rng.integers(0, 256, length, np.uint8)
        flipped = []
        for place in {0, length - 1, *rng.integers(0, length, 12).tolist()}:
            other = data.copy()
            other[place] ^= np.uint8(1 << int(rng.integers(8)))
            made = [
                int(hash_bytes(d, 0, length, np.uint64(0)) if which == "bytes" else hash_span(d, 0, length))
                for d in (data, other)
            ]
            flipped.append((made[0] ^ made[1]).bit_count())
        assert min(flipped) > 8, (length, flipped)
        assert 22 < np.mean(flipped) < 42, (length, flipped)


def test_spans_of_one_text() -> None:
    """A span's hash is that of the same bytes elsewhere, and only of those."""
    offsets, data = string_buffers(pa.array(["a line of text\nanother\n\na line of text\n" + "\x00" * 40]))
    assert offsets.tolist() == [0, 79]
    assert hash_span(data, 0, 14) == hash_span(data, 24, 38)
    zeros = {int(hash_span(data, 39, 39 + n)) for n in range(41)}
    assert len(zeros) == 41, "the length is part of the hash"


def test_no_collisions_among_many() -> None:
    texts = [f"{i:x}" * k for k in (1, 8, 20) for i in range(100_000)]
    assert np.unique(hash_strings(pa.array(texts))).size == len(set(texts))
