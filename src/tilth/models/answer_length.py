"""What length an instruction asks for, what length an answer has, and whether an answer looks finished and sound.

>>> asked = requested("Write a report of at least 2,000 words about rain.")
>>> asked.unit, asked.low, asked.high
('words', 2000.0, inf)
>>> asked.ratio("rain " * 1000)
0.5
>>> fault("Rain falls.", "Rain falls on warm soil and then it")
'cut off'
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

__all__ = ["FAULTS", "Requested", "fault", "requested"]

SMALL: Final = dict(two=2, three=3, four=4, five=5, six=6, seven=7, eight=8, nine=9, ten=10, eleven=11, twelve=12)
CJK: Final = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff"
_NUMBER: Final = rf"(?:\d{{1,3}}(?:,\d{{3}})+|\d+(?:\.\d+)?)\s?k?(?![a-z\d])|{'|'.join(SMALL)}"
_UNITS: Final[Mapping[str, str]] = {
    "words": r"words?",
    "characters": r"(?:chinese\s+|japanese\s+)?characters?|字",
    "sentences": r"sentences?",
    "paragraphs": r"paragraphs?",
    "items": r"(?:bullet\s+|list\s+)?(?:items?|bullets?|points?|lines?|steps?|tips?|ideas?|reasons?|examples?|facts?)",
}
_ASKED: Final = re.compile(
    rf"(?<![a-z\d.])(?P<n>{_NUMBER})(?:\s*(?:-|–|to|and|或|至|~)\s*(?P<m>{_NUMBER}))?[\s-]*"
    + "(?:"
    + "|".join(f"(?P<{unit}>{names})" for unit, names in _UNITS.items())
    + r")(?![a-z])(?P<each>\s*(?:per|each|a)\b)?",
    re.IGNORECASE,
)
_MOST: Final = re.compile(
    r"(?:at most|\bno more than|\bnot\b[^.!?]{0,30}more than|up to|(?<!no )fewer than|(?<!no )(?<!not )less than|"
    r"no longer than|maximum(?: of)?|"
    r"not exceed(?:ing)?|exceed|under|within|below|最多|不超过)\W*$",
    re.IGNORECASE,
)
_LEAST: Final = re.compile(
    r"(?:at least|no fewer than|not? less than|no shorter than|minimum(?: of)?|more than|over|至少|不少于)\W*$",
    re.IGNORECASE,
)
_OR_MORE: Final = re.compile(r"\s*\(?(?:or (?:more|longer|above)|at (?:the )?least|minimum|以上)", re.IGNORECASE)
_OR_LESS: Final = re.compile(r"\s*\(?(?:or (?:fewer|less|shorter)|at (?:the )?most|maximum|以内)", re.IGNORECASE)
WORTH: Final[Mapping[str, float]] = {"words": 1, "characters": 0.5, "sentences": 18, "paragraphs": 80, "items": 15}
"""Words in one of each, roughly: to compare requests."""

_WORD: Final = re.compile(rf"[{CJK}]|[^\W_{CJK}]+(?:['’\-][^\W_{CJK}]+)*")
_LISTED: Final = re.compile(r"^\s*(?:[-*•+]|\(?\d{1,4}[.):])\s+\S", re.MULTILINE)
_PIECES: Final = re.compile(r"\n\s*\n|\n")
LENGTHS: Final[Mapping[str, Callable[[str], int]]] = {
    "words": lambda text: len(_WORD.findall(text)),
    "characters": lambda text: len(re.sub(r"\s", "", text)),
    "sentences": lambda text: len(re.findall(r"[.!?](?=[\s\"'”’)]|$)|[。！？]", text)),
    "paragraphs": lambda text: len([part for part in re.split(r"\n\s*\n", text) if part.strip()]),
    "items": lambda text: len(_LISTED.findall(text)),
}

FAULTS: Final = ("empty", "refusal", "cut off", "meta text", "repeats itself", "mixes scripts")
"""What is looked for, in this order."""
_REFUSAL: Final = re.compile(
    r"\b(?:i(?:'m| am|’m) (?:sorry|afraid|unable)|i (?:cannot|can't|can’t|won't|am not able to)|as an ai\b|"
    r"as a language model|抱歉|无法)",
    re.IGNORECASE,
)
_META: Final = re.compile(
    r"to be continued|\[?\(?continued (?:in|below|next)|word count\s*[:=]|\[insert|\[your |\[(?:continue|rest of)|"
    r"i(?:'ll| will|’ll) continue|would you like me to continue|due to (?:the )?length|字数[:：]",
    re.IGNORECASE,
)
_ENDED: Final = re.compile(r"[.!?…。！？；;:)\]}>\"'”’」』》*`|~]\s*$")
_SCRIPTS: Final = {
    "latin": re.compile(r"[A-Za-z\u00c0-\u024f]"),
    "greek": re.compile(r"[\u0370-\u03ff]"),
    "cyrillic": re.compile(r"[\u0400-\u04ff]"),
    "arabic": re.compile(r"[\u0600-\u06ff]"),
    "indic": re.compile(r"[\u0900-\u0dff]"),
    "thai": re.compile(r"[\u0e00-\u0e7f]"),
    "hangul": re.compile(r"[\uac00-\ud7af]"),
    "east asian": re.compile(rf"[{CJK}]"),
}
SOME: Final = 0.05  # share of letters from which a second script counts
AGAIN: Final = 0.1  # share of paragraphs that were there before, from which an answer repeats itself
PIECE: Final = 5  # words of a paragraph that may not recur


@dataclass(frozen=True)
class Requested:
    """A length that was asked for: between `low` and `high` of a unit."""

    unit: str
    low: float
    high: float

    @property
    def words(self) -> float:
        """About how many words that is."""
        return WORTH[self.unit] * (self.low or self.high)

    def ratio(self, answer: str) -> float:
        """An answer's length over the nearest length that would do; 1 where it does."""
        real = LENGTHS[self.unit](answer)
        return real / self.low if real < self.low else real / self.high if real > self.high else 1.0


def requested(instruction: str) -> Requested | None:
    """The length that an instruction states, the longest where it states several; None where it states none.

    Digits (``2,000``, ``2k``) and two to twelve, in words, characters, sentences, paragraphs or listed items, as a
    number, a range or a bound. A length per part (``100 words each``) is not one of the answer.
    """
    found = []
    for match in _ASKED.finditer(instruction):
        if match["each"]:
            continue
        unit = next(name for name in _UNITS if match[name])
        low = _value(match["n"])
        high = _value(match["m"]) if match["m"] else low
        before, after = instruction[max(0, match.start() - 50) : match.start()], instruction[match.end() :]
        if not match["m"]:
            if _MOST.search(before) or _OR_LESS.match(after):
                low = 0.0
            elif _LEAST.search(before) or _OR_MORE.match(after):
                high = math.inf
        if high > 0:
            found.append(Requested(unit, min(low, high), max(low, high)))
    return max(found, key=lambda asked: asked.words, default=None)


def fault(instruction: str, answer: str) -> str:
    """The first of `FAULTS` that an answer has; empty where it has none.

    Cut off is what ends neither in punctuation nor in a list, or in an open code block. A second script counts only
    where the instruction has none of it.
    """
    text = answer.strip()
    if not text:
        return "empty"
    if _REFUSAL.search(text[:200]):
        return "refusal"
    last = text.rsplit("\n", 1)[-1]
    listed = bool(_LISTED.match(last)) and not _mostly_ended(text)
    if text.count("```") % 2 or not (_ENDED.search(last) or listed):
        return "cut off"
    if _META.search(text):
        return "meta text"
    pieces = [" ".join(_WORD.findall(piece.casefold())) for piece in _PIECES.split(text)]
    pieces = [piece for piece in pieces if piece.count(" ") >= PIECE - 1]
    if pieces and 1 - len(set(pieces)) / len(pieces) > AGAIN:
        return "repeats itself"
    letters = {name: len(script.findall(text)) for name, script in _SCRIPTS.items()}
    whole = sum(letters.values())
    main = max(letters, key=letters.__getitem__)
    strange = [n for name, n in letters.items() if name != main and not _SCRIPTS[name].search(instruction)]
    return "mixes scripts" if whole and max(strange, default=0) / whole > SOME else ""


def _mostly_ended(text: str) -> bool:
    """Whether a list's other items end in punctuation, so that a last one without is cut off."""
    items = [line for line in text.split("\n")[:-1] if _LISTED.match(line)]
    return bool(items) and float(np.mean([bool(_ENDED.search(item)) for item in items])) > 0.5


def _value(said: str) -> float:
    plain = said.strip().lower()
    if plain in SMALL:
        return float(SMALL[plain])
    return float(plain.rstrip("k ").replace(",", "")) * (1000 if plain.endswith("k") else 1)
