"""Phrases against a plain search for rows of words, and names by hand."""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pytest

from tilth.models.mentions import Phrases, names


def words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower(), re.ASCII)


def plain(spellings: list[list[str]], texts: list[str]) -> list[tuple[int, int]]:
    found = []
    for t, text in enumerate(texts):
        have = words(text)
        for i, some in enumerate(spellings):
            wanted = [words(one) for one in some]
            if any(w and have[j : j + len(w)] == w for w in wanted for j in range(len(have))):
                found.append((t, i))
    return found


def test_equals_a_plain_search() -> None:
    rng = np.random.default_rng(0)
    some = ["a", "b", "C", "d-e", "F.", "g"]
    spellings = [[" ".join(rng.choice(some, int(rng.integers(1, 4)))) for _ in range(2)] for _ in range(40)]
    spellings += [["a b", "zz"], ["A, B"], [], ["", "..."]]
    texts = [" ".join(rng.choice([*some, "x,"], int(rng.integers(0, 12)))) for _ in range(200)]
    found = Phrases.of(spellings).find(texts)
    assert [*zip(*(f.tolist() for f in found), strict=True)] == plain(spellings, texts)


def test_not_over_the_end_of_a_text_and_empty_things() -> None:
    phrases = Phrases.of([["new york"]])
    assert phrases.find(["so new", "York is"])[0].size == 0
    assert phrases.find(pa.array([None, "New York", ""]))[0].tolist() == [1]
    assert phrases.find([])[0].size == Phrases.of([]).find(["a"])[0].size == 0


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Who founded Dakoba?", ["Dakoba"]),
        ("Dakoba was founded by whom?", ["Dakoba"]),
        ("Did New Bilu, or Old Bilu, win in 1990?", ["New Bilu", "Old Bilu"]),
        ("The treaty of Apollo 11 and Apollo 11", ["Apollo 11"]),
        ("Where is Port-au-Prince? It is there. St. Ives too.", ["Port", "Prince", "St", "Ives"]),
        ("no names. none here", []),
        ("", []),
        ("Ünal met O'Neill", ["Ünal", "O'Neill"]),
    ],
)
def test_names(text: str, found: list[str]) -> None:
    assert names(text) == found
