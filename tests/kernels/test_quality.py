"""The quality kernel agrees exactly, number by number, with the plain Python statement of the same rules."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.kernels.quality import COUNTS, FRACTIONS, REPETITION, STOP_WORDS, quality, tables

NAMES = COUNTS + FRACTIONS + REPETITION


def _reference() -> Callable[[str], dict[str, float]]:
    """The reference lies beside this file, which is no package."""
    spec = importlib.util.spec_from_file_location("quality_reference", Path(__file__).with_name("quality_reference.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    found: Callable[[str], dict[str, float]] = module.reference
    return found


reference = _reference()
LONG = "the cat sat on the mat and the dog sat on the log. "
TORTURE = [
    "", " ", "\n", "\r\n\r\n", "a", ".", "...", "….", "......", ". . .", "....", "A", "É", "ß", "ẞ ǅ ǅA ᾼ",
    "İstanbul I ı",
    "\x00", "a\x00b \x00", "\u0301", "e\u0301 \u0301\u0301", "שלום עולם", "مرحبا، بالعالم؟",
    "🙂 🙂 👩‍👩‍👧 🇩🇪", "\ufeffBOM",
    "one\r\ntwo\r\none\r\n", "one\rtwo\rone", "one\n \t\none\n\u00a0\ntwo\x0bthree\x0cfour\x1cfive\x85six\u2028seven",
    "a\u1680b\u2003c\u202fd\u205fe\u3000f\u180eg\u200bh", "नमस्ते दुनिया १२३ ४", "漢字　かな。漢字　かな。",
    "𝒜𝒷 𝟘𝟙 𐐀𐐨", "½ ² Ⅷ ⅷ 三",
    "x" * 100_000, "é" * 50_001, "a " * 3000, LONG * 40, "a b c d e " * 3 + "z", "a a a a a a a a a a a a",
    "lorem ipsum Lorem Ipsum, LOREM, ipsum! loremipsum lorem\n\nipsum",
    "JavaScript: javascript;javaſcript JAVASCRIPTjavascript",
    "javascrip t java\nscript", "{ {} }", "# #hash ##", "- a\n* b\n• c\n– d\n— e\n-\n  - f",
    'He said "no"\n“Yes.”\nwhy?\nso!\nand',
    "end...\nend…\nend...\r\nend... \nend. ..", "don't dont DON'T well-known $5 a+b c^d ~ ` | <b>",
    "a\n\na\n\na\nb\n\na\nb\n\n\n",
    "ab\n\nab \n\n ab\r\n\r\nAB", "MIXED Case ABC123 123 A1b ÀÉ Ωm", "\u0378 \ue000 \U000e0001 \U0010ffff", "Ⓐ ⓐ ª º ʰ",
]  # fmt: skip


def agree(texts: list[str]) -> None:
    counts, shares = quality(pa.array(texts, pa.string()))
    for text, made in zip(texts, np.hstack([counts, shares]).tolist(), strict=True):
        want = reference(text)
        assert {n: v for n, v in zip(NAMES, made, strict=True) if v != want[n]} == {}, repr(text[:80])
        assert len(want) == len(NAMES)


def test_torture() -> None:
    agree(TORTURE)
    for text in TORTURE:  # a text's numbers do not depend on its neighbours
        agree([text])


SPICES = st.sampled_from([
    " ", " ", " ", "\n", "\n", "\r\n", "\n\n", "...", "…", ".", "!", "a", "b", "the", "The ", "be", "lorem ", "ipsum",
    "javascript", "JavaScript", "#", "{", "}", "- ", "• ", "É", "ß", "1", "٣", "漢", "\u0301", "\u00a0",
    "\u3000", "🙂", "”",
])  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.lists(st.text(max_size=60) | st.lists(SPICES, max_size=120).map("".join), max_size=5))
def test_any_text(texts: list[str]) -> None:
    agree(texts)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from("abc"), max_size=200), st.integers(1, 12))
def test_repetition(words: list[str], times: int) -> None:
    agree([" ".join(words * times)])


def test_buffers_of_every_shape() -> None:
    texts = ["The cat.", None, "", "Ω is the end of it", "the the the"]
    plain = quality(pa.array([t or "" for t in texts]))
    shapes: list[pa.Array | pa.ChunkedArray] = [
        pa.array(texts),
        pa.array(texts, pa.large_string()),
        pa.array(["skipped", *texts, "left out"]).slice(1, 5),
        pa.chunked_array([texts[:2], [], texts[2:]], pa.string()),
    ]
    for shape in shapes:
        counts, shares = quality(shape)
        assert np.array_equal(counts, plain[0])
        assert np.array_equal(shares, plain[1])
    assert quality(pa.array([], pa.string()))[0].shape == (0, len(COUNTS))


def test_without_repetition_the_rest_is_the_same() -> None:
    full, light = quality(pa.array(TORTURE)), quality(pa.array(TORTURE), repetition=False)
    assert np.array_equal(full[0], light[0])
    assert np.array_equal(full[1][:, : len(FRACTIONS)], light[1])


@pytest.mark.parametrize("bad", [b"\xff", b"a\xe2", b"\xf7\xbf\xbf\xbf", b"\xc3 \x80\x80", b"\xf4\x90\x80\x80 x"])
def test_bytes_that_are_no_text_do_no_harm(bad: bytes) -> None:
    counts, shares = quality(pa.array([bad, b"the end"], pa.binary()))
    assert counts[1].tolist() == quality(pa.array(["the end"]))[0][0].tolist()
    assert np.isfinite(shares).all()


def test_tables_know_every_character() -> None:
    kinds, lower = tables()
    assert kinds[0x40000:].max() == 0
    for point in range(0x40000, 0x110000):
        c = chr(point)
        assert not any((c.isalnum(), c.isspace()))
        assert c.lower() == c
    assert (lower[0x130], lower[0x41]) == (0x130, 0x61)


def test_stop_words_can_occur() -> None:
    assert all(word.isalpha() and word.islower() for word in STOP_WORDS)
    assert len(set(STOP_WORDS)) == len(STOP_WORDS)


def test_golden() -> None:
    """Values worked out by hand, as fractions; each is named by the end of the output's name."""
    cases = json.loads((Path(__file__).parents[1] / "golden" / "quality.json").read_text(encoding="utf-8"))
    counts, shares = quality(pa.array([case["text"] for case in cases]))
    looked_at = set()
    for case, row in zip(cases, np.hstack([counts, shares]).tolist(), strict=True):
        made = dict(zip(NAMES, row, strict=True))
        for short, want in case.items():
            if short != "text":
                (name,) = [n for n in NAMES if n.endswith(short)]
                looked_at.add(name)
                assert made[name] == pytest.approx(float(Fraction(want)), rel=1e-12), (case["text"], name)
    assert looked_at == set(NAMES)
