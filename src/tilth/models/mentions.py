"""Which texts mention which names: a dictionary of phrases, found as words, whatever ASCII case and punctuation.

A phrase is a row of words; it is found where a text has these words one after the other, so ``Port-au-Prince`` and
``port au prince`` are one phrase, ``art`` is not found in ``part``, and a phrase may reach over the end of a sentence.

Cost: about 10 MB of text a second, whatever the number of phrases. Trap: no meaning is looked at: ``Turkey`` the bird
counts as the country, and a name written another way is not found unless that spelling is given.

>>> phrases = Phrases.of([["New York", "NYC"], ["York"]])
>>> texts, ids = phrases.find(["From new york to York, to York.", "NYC!", "Yorkshire"])
>>> [*zip(texts.tolist(), ids.tolist())]
[(0, 0), (0, 1), (1, 0)]
>>> names("Which river flows past the town of Dakoba or New Bilu? The Lort.")
['Dakoba', 'New Bilu', 'Lort']
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.kernels.words import ngram_hashes, token_hashes

__all__ = ["Phrases", "names"]

Ints = npt.NDArray[np.int64]
_STARTERS: Final = (
    "a an and are at by can could did do does for from had has have how if in is it name of on or say tell that the "
    "there these they this those to was were what when where which who whom whose why will with would"
)
STARTERS: Final = frozenset(_STARTERS.split())
"""Words that are capitalised because a sentence begins with them."""


@dataclass(frozen=True)
class Phrases:
    """Phrases by number.

    Attributes:
        table: number of words -> hashes in ascending order, and the phrase of each.
    """

    table: tuple[tuple[int, npt.NDArray[np.uint64], Ints], ...]

    @classmethod
    def of(cls, spellings: Sequence[Sequence[str]]) -> Phrases:
        """From the spellings of each phrase; one without words is never found."""
        owner = np.repeat(np.arange(len(spellings)), [len(some) for some in spellings])
        starts, tokens = token_hashes(pa.array([one for some in spellings for one in some], pa.string()))
        size = np.diff(starts)
        table = []
        for n in np.unique(size[size > 0]).tolist():
            rows = np.flatnonzero(size == n)
            hashes = np.array([ngram_hashes(tokens[starts[r] : starts[r + 1]], n)[0] for r in rows], np.uint64)
            order = np.argsort(hashes, kind="stable")
            table.append((n, hashes[order], owner[rows][order].astype(np.int64)))
        return cls(tuple(table))

    def find(self, texts: pa.Array | pa.ChunkedArray | Sequence[str | None]) -> tuple[Ints, Ints]:
        """Text numbers and phrase numbers of all mentions, each pair once, in ascending order."""
        column = texts if isinstance(texts, (pa.Array, pa.ChunkedArray)) else pa.array(texts, pa.string())
        starts, tokens = token_hashes(column)
        found = [np.zeros((0, 2), np.int64)]
        for n, hashes, owner in self.table:
            grams = ngram_hashes(tokens, n)
            low, high = (np.searchsorted(hashes, grams, side) for side in ("left", "right"))
            at = np.flatnonzero(high > low)
            text = np.searchsorted(starts, at, "right") - 1
            inside = at + n <= starts[text + 1]
            at, text = at[inside], text[inside]
            times = (high - low)[at]
            within = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
            found.append(np.stack([np.repeat(text, times), owner[np.repeat(low[at], times) + within]], axis=1))
        pairs = np.unique(np.concatenate(found), axis=0)
        return pairs[:, 0], pairs[:, 1]


def names(text: str) -> list[str]:
    """Runs of capitalised words, each run once; a word that only begins a sentence and often does is none."""
    found: dict[str, None] = {}
    for sentence in re.split(r"(?<=[.!?:\n])\s+", text):
        words = [(m.start(), m.end(), m.group()) for m in re.finditer(r"\w[\w'’]*", sentence)]
        if words and words[0][2].lower() in STARTERS:
            words = words[1:]
        run: tuple[int, int] | None = None
        for start, end, word in words:
            capital = word[0].isupper() or (run is not None and word[0].isdigit())
            if capital and run and re.fullmatch(r"[ \-.]+", sentence[run[1] : start]):
                run = (run[0], end)
            else:
                if run:
                    found[sentence[slice(*run)]] = None
                run = (start, end) if capital else None
        if run:
            found[sentence[slice(*run)]] = None
    return [*found]
