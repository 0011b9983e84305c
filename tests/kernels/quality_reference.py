"""docs/quality_signals.md once more, as slow and plain as it can be said: what the kernel must agree with exactly."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Hashable, Sequence
from itertools import pairwise
from math import log

from tilth.kernels.quality import GOPHER_STOP_WORDS, STOP_WORDS

Numbers = dict[str, float]
BULLETS = "-*–•‣■□▪▫▶◀◦"


def reference(text: str) -> Numbers:
    """Every output of one text."""
    raw = text.split()
    words = [w for w in map(normal, raw) if w]
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    paragraphs = paragraphs_of(text)
    counts = Counter(words)
    chars = sum(map(len, words))
    made: Numbers = {
        "rps_doc_word_count": len(words),
        "rps_doc_num_sentences": sum(any(c.isalnum() for c in piece) for piece in re.split("[.!?]", text)),
        "rps_lines_javascript_counts": len(re.findall("javascript", text, re.IGNORECASE | re.ASCII)),
        "gopher_stop_words": sum(w in counts for w in GOPHER_STOP_WORDS),
        "line_count": len(lines),
        "rps_doc_mean_word_length": share(chars, len(words)),
        "rps_doc_symbol_to_word_ratio": share(text.count("#") + text.count("...") + text.count("…"), len(raw)),
        "rps_doc_frac_lines_end_with_ellipsis": mean([line.endswith(("...", "…")) for line in lines]),
        "rps_doc_frac_no_alph_words": mean([not any(c.isalpha() for c in w) for w in raw]),
        "rps_doc_frac_all_caps_words": mean([w.isupper() for w in raw]),
        "rps_doc_stop_word_fraction": mean([w in STOP_WORDS for w in words]),
        "rps_doc_frac_unique_words": share(len(counts), len(words)),
        "rps_doc_unigram_entropy": entropy(counts),
        "rps_doc_curly_bracket": share(text.count("{") + text.count("}"), len(text)),
        "rps_doc_lorem_ipsum": share(
            sum(pair == ("lorem", "ipsum") for pair in pairwise(words)), chars + len(words) - 1
        ),
        "rps_lines_ending_with_terminal_punctution_mark": mean([line[-1] in '.!?"”' for line in lines]),
        "rps_lines_num_words": mean([sum(bool(normal(w)) for w in line.split()) for line in lines]),
        "rps_lines_numerical_chars_fraction": mean([sum(c.isdecimal() for c in line) / len(line) for line in lines]),
        "rps_lines_start_with_bulletpoint": mean([line[0] in BULLETS for line in lines]),
        "rps_lines_uppercase_letter_fraction": mean([sum(c.isupper() for c in line) / len(line) for line in lines]),
        "frac_dupe_lines": mean(again(lines)),
        "frac_chars_dupe_lines": weighed(lines),
        "frac_dupe_paragraphs": mean(again(paragraphs)),
        "frac_chars_dupe_paragraphs": weighed(paragraphs),
    }
    for n in (2, 3, 4):
        made[f"rps_doc_frac_chars_top_{n}gram"] = top(ngrams(words, n), chars)
    for n in range(5, 11):
        covered = [False] * len(words)
        for start, repeats in enumerate(again(ngrams(words, n))):
            if repeats:
                covered[start : start + n] = [True] * n
        inside = sum(len(w) for w, c in zip(words, covered, strict=True) if c)
        made[f"rps_doc_frac_chars_dupe_{n}grams"] = share(inside, chars)
    return made


def normal(word: str) -> str:
    """Lower case, character by character, without punctuation."""
    kept = [c for c in word if not unicodedata.category(c).startswith("P") and c not in "$+<=>^`|~"]
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in kept)


def paragraphs_of(text: str) -> list[str]:
    """Lines that no blank line separates, each without surrounding space."""
    found: list[list[str]] = [[]]
    for line in text.split("\n"):
        if line.strip():
            found[-1].append(line.strip())
        else:
            found.append([])
    return ["\n".join(lines) for lines in found if lines]


def share(part: float, whole: float) -> float:
    return part / whole if whole > 0 else 0.0


def mean(values: Sequence[float]) -> float:
    total = 0.0  # added one by one: sum() rounds differently in some versions of Python
    for value in values:
        total += value
    return share(total, len(values))


def again(values: Sequence[Hashable]) -> list[bool]:
    """Whether each value has occurred before."""
    seen: set[Hashable] = set()
    found = []
    for value in values:
        found.append(value in seen)
        seen.add(value)
    return found


def weighed(pieces: Sequence[str]) -> float:
    """Share of the characters of all pieces that lie in a piece that has occurred before."""
    repeated = sum(len(p) for p, r in zip(pieces, again(pieces), strict=True) if r)
    return share(repeated, sum(map(len, pieces)))


def entropy(counts: Counter[str]) -> float:
    total = sum(counts.values())
    logs = 0.0
    for count in counts.values():
        logs += count * log(count)
    return max(0.0, log(total) - logs / total) if total else 0.0


def ngrams(words: Sequence[str], n: int) -> list[tuple[str, ...]]:
    return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]


def top(grams: Sequence[tuple[str, ...]], chars: int) -> float:
    """Characters in all occurrences of the most frequent n-gram, the longest of them; 0 if none occurs twice."""
    most, longest = max(((count, sum(map(len, g))) for g, count in Counter(grams).items()), default=(0, 0))
    return share(most * longest, chars) if most > 1 else 0.0
