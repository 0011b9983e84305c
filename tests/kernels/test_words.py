"""Tokens and n-grams, bit for bit, against a plain Python reading of the documented rules."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from tilth.kernels.words import Cut, ngram_hashes, token_hashes

MASK = (1 << 64) - 1
ROLL = 0x9E3779B97F4A7C15
WORD = rb"[A-Za-z0-9_\x80-\xff]+"
OTHER = rb"[^A-Za-z0-9_\x80-\xff \t\n\r\x0b\x0c]+"
PATTERNS: dict[Cut, bytes] = {"words": WORD, "wordpunct": WORD + b"|" + OTHER, "exact": rb"[^ \t\n\r\x0b\x0c]+"}
CUTS: list[Cut] = ["words", "wordpunct", "exact"]

TORTURE = [
    "",
    " \t\r\n\x0b\x0c",
    "Don't stop -- 3.5e-7, OK?!",
    "snake_case CamelCase ALLCAPS",
    "\x00nul\x00 \x1c\x1d\x7f",
    "e\u0301 É é İ ß",
    "漢字 かな。שלום عليكم",
    "👩‍👩‍👧 🏴 \ufeff\u00a0\u2028x",
    "x" * 1_000_000,
    "!" * 1001,
    "a,b;" * 500,
    None,
    "one\r\ntwo\n\nthree",
]


def mix(x: int) -> int:
    x = ((x ^ (x >> 33)) * 0xFF51AFD7ED558CCD) & MASK
    x = ((x ^ (x >> 33)) * 0xC4CEB9FE1A85EC53) & MASK
    return x ^ (x >> 33)


def hashed(token: bytes) -> int:
    h = 0
    for byte in token:
        h = ((h << 5 | h >> 59) + mix((byte + 1) * ROLL & MASK)) & MASK
    return mix(h)


def tokens_of(text: str | None, cut: Cut) -> list[int]:
    found = re.findall(PATTERNS[cut], (text or "").encode())
    return [hashed(t if cut == "exact" else t.lower()) for t in found]  # bytes.lower is ASCII only, as documented


def ngrams_of(tokens: list[int], n: int) -> list[int]:
    rolled = []
    for i in range(len(tokens) - n + 1):
        h = 0
        for token in tokens[i : i + n]:
            h = (h * ROLL + token) & MASK
        rolled.append(mix(h))
    return rolled


@pytest.mark.parametrize("cut", CUTS)
def test_bit_for_bit_on_torture(cut: Cut) -> None:
    offsets, hashes = token_hashes(pa.array(TORTURE), cut)
    assert offsets.dtype == np.int64
    assert hashes.dtype == np.uint64
    got = [hashes[offsets[i] : offsets[i + 1]].tolist() for i in range(len(TORTURE))]
    assert got == [tokens_of(text, cut) for text in TORTURE]


@pytest.mark.parametrize("cut", CUTS)
def test_bit_for_bit_on_random_bytes_of_every_class(cut: Cut) -> None:
    rng = np.random.default_rng(0)
    alphabet = [*(chr(c) for c in range(128)), "é", "漢", "👧"]
    texts = ["".join(rng.choice(alphabet, int(rng.integers(0, 200)))) for _ in range(200)]
    offsets, hashes = token_hashes(pa.array(texts), cut)
    assert hashes.tolist() == [h for text in texts for h in tokens_of(text, cut)]
    assert np.diff(offsets).tolist() == [len(tokens_of(text, cut)) for text in texts]


def test_what_each_cut_keeps() -> None:
    """How many tokens, and which are equal: the three rules told apart by hand."""
    text = pa.array(["Stop, stop! STOP,"])

    def shape(cut: Cut) -> list[int]:
        hashes = token_hashes(text, cut)[1].tolist()
        return [hashes.index(h) for h in hashes]

    assert shape("words") == [0, 0, 0]
    assert shape("wordpunct") == [0, 1, 0, 3, 0, 1]
    assert shape("exact") == [0, 1, 2]


def test_a_token_hash_is_not_its_neighbours() -> None:
    """The same word hashes the same wherever it stands, and in whatever batch."""
    alone = token_hashes(pa.array(["river"]))[1][0]
    offsets, hashes = token_hashes(pa.array(["the River, a", "", "river"]))
    assert hashes[1] == hashes[offsets[2]] == alone


@pytest.mark.parametrize("cut", CUTS)
def test_slices_chunks_wide_offsets_and_empty_columns(cut: Cut) -> None:
    whole = pa.array(TORTURE)
    offsets, hashes = token_hashes(whole, cut)
    for other in (
        pa.chunked_array([TORTURE[:5], [], TORTURE[5:]], pa.string()),
        whole.cast(pa.large_string()),
        whole.dictionary_encode(),
    ):
        mine, same = token_hashes(other, cut)
        assert (mine == offsets).all()
        assert (same == hashes).all()
    mine, part = token_hashes(whole.slice(3, 4), cut)
    assert (mine == offsets[3:8] - offsets[3]).all()
    assert (part == hashes[offsets[3] : offsets[7]]).all()
    assert token_hashes(pa.array([], pa.string()), cut)[0].tolist() == [0]


@pytest.mark.parametrize("n", [1, 2, 3, 8, 40])
def test_ngrams_bit_for_bit(n: int) -> None:
    tokens = tokens_of("the quick brown fox jumps over the lazy dog and the quick brown cat " * 2, "words")
    got = ngram_hashes(np.array(tokens, np.uint64), n).tolist()
    assert got == ngrams_of(tokens, n)
    if n == 3:
        assert got[0] == got[10]  # "the quick brown", twice
        assert len(set(got[:10])) == 10


def test_too_few_tokens_have_no_ngram() -> None:
    tokens = np.arange(3, dtype=np.uint64)
    assert ngram_hashes(tokens, 4).size == 0
    assert ngram_hashes(tokens[:0], 1).size == 0
    assert ngram_hashes(tokens, 3).size == 1


def test_order_matters_in_an_ngram() -> None:
    a, b = token_hashes(pa.array(["left right"]))[1]
    assert ngram_hashes(np.array([a, b]), 2)[0] != ngram_hashes(np.array([b, a]), 2)[0]


def test_no_collisions_among_many_words() -> None:
    words = " ".join(f"w{i}" for i in range(200_000))
    assert np.unique(token_hashes(pa.array([words]))[1]).size == 200_000
