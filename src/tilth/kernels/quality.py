"""The statistics behind the `quality` signal: one pass over the bytes of each document, then counting by number.

docs/quality_signals.md states what is computed; tests/kernels/quality_reference.py says it again in plain Python,
and the two agree exactly.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from math import log
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import hash_bytes, mix64

__all__ = ["COUNTS", "FRACTIONS", "GOPHER_STOP_WORDS", "REPETITION", "STOP_WORDS", "quality", "tables"]

COUNTS: Final = (
    "rps_doc_word_count", "rps_doc_num_sentences", "rps_lines_javascript_counts", "gopher_stop_words", "line_count",
)  # fmt: skip
FRACTIONS: Final = (
    "rps_doc_mean_word_length", "rps_doc_symbol_to_word_ratio", "rps_doc_frac_lines_end_with_ellipsis",
    "rps_doc_frac_no_alph_words", "rps_doc_frac_all_caps_words", "rps_doc_stop_word_fraction",
    "rps_doc_frac_unique_words", "rps_doc_unigram_entropy", "rps_doc_curly_bracket", "rps_doc_lorem_ipsum",
    "rps_lines_ending_with_terminal_punctution_mark", "rps_lines_num_words", "rps_lines_numerical_chars_fraction",
    "rps_lines_start_with_bulletpoint", "rps_lines_uppercase_letter_fraction",
    "frac_dupe_lines", "frac_chars_dupe_lines", "frac_dupe_paragraphs", "frac_chars_dupe_paragraphs",
)  # fmt: skip
REPETITION: Final = (
    *(f"rps_doc_frac_chars_top_{n}gram" for n in (2, 3, 4)),
    *(f"rps_doc_frac_chars_dupe_{n}grams" for n in range(5, 11)),
)

GOPHER_STOP_WORDS: Final = ("the", "be", "to", "of", "and", "that", "have", "with")
_LISTED: Final = """
    a about above after again against all also am an and any are as at be because been before being below between both
    but by can cannot cant could did didnt do does doesnt doing dont down during each few for from further had has
    have having he her here hers herself him himself his how however i if im in into is isnt it its itself just like
    may me might more most must my myself no nor not now of off on once only or other our ours ourselves out over own
    same shall she should so some such than that thats the their theirs them themselves then there these they this
    those though through thus to too under until up upon us very was wasnt we were what when where whether which while
    who whom whose why will with within without wont would yet you your yours yourself yourselves
"""
STOP_WORDS: Final = tuple(_LISTED.split())

_ALPHA, _UPPER, _LOWER, _DIGIT, _SPACE, _PUNCT, _ALNUM = 1, 2, 4, 8, 16, 32, 64
_LAST_ASSIGNED: Final = 0x40000  # Unicode has put no letter, digit, space or punctuation above its third plane
_FNV: Final = np.uint64(0xCBF29CE484222325)
_PRIME: Final = np.uint64(0x100000001B3)
_GOLD: Final = np.uint64(0x9E3779B97F4A7C15)
_S32: Final = np.uint64(32)
_KNOWN: Final = 1024  # places in the table of stop words, a power of two

_Bytes = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]
_Keys = npt.NDArray[np.uint64]


@cache
def tables() -> tuple[_Bytes, npt.NDArray[np.int32]]:
    """What kind of character each code point is, as bits, and its lower case where that is one character."""
    kinds = np.zeros(0x110000, np.uint8)
    lower = np.arange(0x110000, dtype=np.int32)
    for point in range(_LAST_ASSIGNED):
        c = chr(point)
        category = unicodedata.category(c)
        if category == "Cn":
            continue
        kinds[point] = (
            _ALPHA * c.isalpha()
            | _UPPER * c.isupper()
            | _LOWER * (c.islower() or category == "Lt")
            | _DIGIT * (category == "Nd")
            | _SPACE * c.isspace()
            | _PUNCT * (category[0] == "P" or (category[0] == "S" and point < 128))
            | _ALNUM * c.isalnum()
        )
        if len(small := c.lower()) == 1:
            lower[point] = ord(small)
    return kinds, lower


@njit(cache=True, nogil=True, inline="always")
def _finished(h: np.uint64, length: int) -> np.uint64:
    return mix64(h ^ (np.uint64(length) * _GOLD))  # type: ignore[no-any-return]


@cache
def _known_words() -> tuple[_Keys, _Bytes]:
    """A hash table of the stop words, 0 where it is empty; bit 1: in our list, bit 2: one of Gopher's eight."""
    known, marks = np.zeros(_KNOWN, np.uint64), np.zeros(_KNOWN, np.uint8)
    for word in {*STOP_WORDS, *GOPHER_STOP_WORDS}:
        key = _key(word)
        at = key % _KNOWN
        while known[at]:
            at = (at + 1) % _KNOWN
        known[at] = key
        marks[at] = (word in STOP_WORDS) | (word in GOPHER_STOP_WORDS) << 1
    return known, marks


def _key(word: str) -> int:
    """What the kernel computes for a lower-case word."""
    h = int(_FNV)
    for c in word:
        h = (h ^ ord(c)) * int(_PRIME) & 0xFFFFFFFFFFFFFFFF
    return int(_finished(np.uint64(h), len(word)))


@njit(cache=True, nogil=True)
def _number(keys: _Keys, n: int, ids: _Ints, counts: _Ints, slots: npt.NDArray[np.int32], held: _Keys) -> int:
    """Give equal keys equal numbers, 0, 1, 2... in order of first appearance; count each; how many there are."""
    bits = 2
    while (1 << bits) < 2 * n:
        bits += 1
    mask = (1 << bits) - 1
    shift = np.uint64(64 - bits)
    slots[: mask + 1] = -1
    found = 0
    for i in range(n):
        key = keys[i]
        at = np.int64((key * _GOLD) >> shift)
        while slots[at] >= 0 and held[at] != key:
            at = (at + 1) & mask
        if slots[at] < 0:
            slots[at] = found
            held[at] = key
            counts[found] = 0
            found += 1
        ids[i] = slots[at]
        counts[slots[at]] += 1
    return found


@njit(cache=True, nogil=True)
def _repeated(keys: _Keys, sizes: _Ints, n: int, ids: _Ints, counts: _Ints, slots: npt.NDArray[np.int32], held: _Keys,
              out: npt.NDArray[np.float64], at: int) -> None:  # fmt: skip
    """Share of pieces that repeat an earlier one, and of their characters."""
    found = _number(keys, n, ids, counts, slots, held)
    if found == 0:
        return
    seen, again, chars = 0, 0, 0
    for i in range(n):
        chars += sizes[i]
        if ids[i] < seen:
            again += sizes[i]
        else:
            seen += 1
    out[at] = (n - found) / n
    out[at + 1] = again / chars


@njit(cache=True, nogil=True)
def _javascripts(data: _Bytes, start: int, stop: int) -> int:
    """How often "javascript" occurs, in whatever case."""
    count = 0
    i = start
    while i + 10 <= stop:
        if (
            data[i] | 32 == 106 and data[i + 1] | 32 == 97 and data[i + 2] | 32 == 118 and data[i + 3] | 32 == 97
            and data[i + 4] | 32 == 115 and data[i + 5] | 32 == 99 and data[i + 6] | 32 == 114
            and data[i + 7] | 32 == 105 and data[i + 8] | 32 == 112 and data[i + 9] | 32 == 116
        ):  # fmt: skip
            count += 1
            i += 10
        else:
            i += 1
    return count


@njit(cache=True, nogil=True, inline="always")
def _bullet(c: int) -> bool:
    return (
        c == 0x2D or c == 0x2A or c == 0x2013 or c == 0x2022 or c == 0x2023 or c == 0x25A0 or c == 0x25A1
        or c == 0x25AA or c == 0x25AB or c == 0x25B6 or c == 0x25C0 or c == 0x25E6
    )  # fmt: skip


@njit(cache=True, nogil=True)
def _most_words(offsets: _Ints, data: _Bytes) -> int:
    """A bound on the words of any one text: every space character starts with one of the bytes counted."""
    most = 0
    for t in range(offsets.size - 1):
        n = 1
        for i in range(offsets[t], offsets[t + 1]):
            b = data[i]
            n += (b <= 32) | (b == 0xC2) | ((b >= 0xE1) & (b <= 0xE3))
        most = max(most, n)
    return most


@njit(cache=True, nogil=True)
def _ngrams(ids: _Ints, counts: _Ints, ends: _Ints, n: int, keys: _Keys, at: _Ints, slots: npt.NDArray[np.int32],
            held: _Keys, out: npt.NDArray[np.float64], first: int) -> None:  # fmt: skip
    """Characters in the top 2- to 4-gram and in repeated 5- to 10-grams, over all characters.

    An n-gram can only occur twice if both (n-1)-grams in it do: each length looks only at places that the one before
    left, and names an n-gram by the numbers of those two, so nothing is hashed but pairs of numbers.
    `ids` and `counts` are overwritten; `ends[i]` is the number of characters before word i.
    """
    total = ends[n]
    left = n
    for i in range(n):
        at[i] = i
    for size in range(2, 11):
        kept = 0
        for k in range(left):  # places whose (size - 1)-gram occurs more than once
            if counts[ids[k]] > 1:
                at[kept] = at[k]
                ids[kept] = ids[k]
                kept += 1
        left = 0
        for k in range(kept - 1):
            if at[k + 1] == at[k] + 1:
                keys[left] = (np.uint64(ids[k]) << _S32) | np.uint64(ids[k + 1])
                at[left] = at[k]
                left += 1
        if left == 0:
            return
        _number(keys, left, ids, counts, slots, held)
        if size <= 4:
            most, longest = 1, 0
            for k in range(left):
                chars = ends[at[k] + size] - ends[at[k]]
                if counts[ids[k]] > most or (counts[ids[k]] == most and chars > longest):
                    most, longest = counts[ids[k]], chars
            if most > 1:
                out[first + size - 2] = most * longest / total
        else:
            seen, covered, chars = 0, 0, 0
            for k in range(left):
                if ids[k] < seen:
                    chars += ends[at[k] + size] - ends[max(at[k], covered)]
                    covered = at[k] + size
                else:
                    seen += 1
            out[first + size - 2] = chars / total


@njit(cache=True, nogil=True)
def _measure(offsets: _Ints, data: _Bytes, kinds: _Bytes, lower: npt.NDArray[np.int32], known: _Keys, marks: _Bytes,
             lorem: np.uint64, ipsum: np.uint64, repetition: bool, tally: npt.NDArray[np.int32],
             out: npt.NDArray[np.float64]) -> None:  # fmt: skip
    """Fill a row of `tally` (COUNTS) and of `out` (FRACTIONS, then REPETITION) per text; both come as zeros."""
    room = _most_words(offsets, data) + 2
    size = 8
    while size < 2 * room:
        size *= 2
    slots = np.empty(size, np.int32)
    held = np.empty(size, np.uint64)
    word_keys = np.empty(room, np.uint64)
    ends = np.zeros(room, np.int64)
    line_keys = np.empty(room, np.uint64)
    line_sizes = np.empty(room, np.int64)
    para_keys = np.empty(room, np.uint64)
    para_sizes = np.empty(room, np.int64)
    ids = np.empty(room, np.int64)
    counts = np.empty(room, np.int64)
    at = np.empty(room, np.int64)
    for t in range(offsets.size - 1):
        start, stop = int(offsets[t]), int(offsets[t + 1])
        raw, words, no_letter, capitals = 0, 0, 0, 0
        symbols, braces, sentences, javascripts, lorems = 0, 0, 0, 0, 0
        lines, ellipses, terminals, bullets, paras = 0, 0, 0, 0, 0
        digits_mean, upper_mean = 0.0, 0.0
        chars = 0
        speaking = 0  # a letter or digit since the last . ! or ?
        dots_from = start
        before = np.uint64(0)
        in_para = False
        # the line in hand: its bytes and characters without surrounding space; low < 0 while it is blank
        low, high, low_char, high_char, digits, upper = -1, 0, 0, 0, 0, 0
        last = np.uint32(0)
        i = start
        while True:
            # white space between words, and the ends of lines
            c = np.uint32(0)
            here = i
            ended = False
            while True:
                ended = i >= stop
                if not ended:
                    here = i
                    c = np.uint32(data[i])
                    i += 1
                    if c >= 128:
                        c, i = _decode(data, here, stop)
                    chars += 1
                    if kinds[c] & _SPACE == 0:
                        break
                if ended or c == 10:
                    if low >= 0:
                        if last == 0x2026 or (
                            last == 46 and high - low >= 3 and data[high - 2] == 46 and data[high - 3] == 46
                        ):
                            ellipses += 1
                        if last == 46 or last == 33 or last == 63 or last == 34 or last == 0x201D:
                            terminals += 1
                        length = high_char - low_char
                        digits_mean += digits / length
                        upper_mean += upper / length
                        key = hash_bytes(data, low, high, np.uint64(0))
                        line_keys[lines] = key
                        line_sizes[lines] = length
                        lines += 1
                        if in_para:
                            para_keys[paras - 1] = mix64(para_keys[paras - 1] * _PRIME + key)
                            para_sizes[paras - 1] += length + 1
                        else:
                            para_keys[paras] = mix64(key)
                            para_sizes[paras] = length
                            paras += 1
                            in_para = True
                        low, digits, upper = -1, 0, 0
                    else:
                        in_para = False
                if ended:
                    break
            if ended:
                break
            # a word: c is its first character, at byte `here`
            begin = here
            if low < 0:
                low, low_char = begin, chars - 1
                bullets += _bullet(c)
            h = _FNV
            length = 0
            flags = 0
            while True:
                kind = int(kinds[c])
                if kind & _SPACE:
                    break
                last = c
                flags |= kind
                upper += (kind >> 1) & 1
                digits += (kind >> 3) & 1
                if kind & _PUNCT == 0:
                    h = (h ^ np.uint64(lower[c])) * _PRIME
                    length += 1
                    speaking |= kind & _ALNUM
                elif c == 46 or c == 33 or c == 63:
                    sentences += speaking != 0
                    speaking = 0
                    if c == 46 and i - 3 >= dots_from and data[i - 2] == 46 and data[i - 3] == 46:
                        symbols += 1
                        dots_from = i
                elif c == 35 or c == 0x2026:
                    symbols += 1
                elif c == 123 or c == 125:
                    braces += 1
                if i >= stop:
                    here = i
                    chars += 1  # taken back below, like the space that ends any other word
                    break
                here = i
                c = np.uint32(data[i])
                i += 1
                if c >= 128:
                    c, i = _decode(data, here, stop)
                chars += 1
            i = here  # the space is read again above
            chars -= 1
            high, high_char = here, chars
            raw += 1
            no_letter += flags & _ALPHA == 0
            capitals += (flags & _UPPER != 0) and (flags & _LOWER == 0)
            if here - begin >= 10:
                javascripts += _javascripts(data, begin, here)
            if length:
                key = _finished(h, length)
                lorems += key == ipsum and before == lorem
                before = key
                word_keys[words] = key
                ends[words + 1] = ends[words] + length
                words += 1
        tally[t, 0], tally[t, 1], tally[t, 2], tally[t, 4] = words, sentences + (speaking != 0), javascripts, lines
        if chars:
            out[t, 8] = braces / chars
        if raw:
            out[t, 1] = symbols / raw
            out[t, 3] = no_letter / raw
            out[t, 4] = capitals / raw
            out[t, 2] = ellipses / lines
            out[t, 10] = terminals / lines
            out[t, 11] = words / lines
            out[t, 12] = digits_mean / lines
            out[t, 13] = bullets / lines
            out[t, 14] = upper_mean / lines
            _repeated(line_keys, line_sizes, lines, ids, counts, slots, held, out[t], 15)
            _repeated(para_keys, para_sizes, paras, ids, counts, slots, held, out[t], 17)
        if words:
            out[t, 0] = ends[words] / words
            out[t, 9] = lorems / (ends[words] + words - 1)
            found = _number(word_keys, words, ids, counts, slots, held)
            out[t, 6] = found / words
            seen = 0
            for w in range(words):  # where each different word comes first; without a branch, as none can be foretold
                at[seen] = w
                seen += ids[w] == seen
            stops, gophers, logs = 0, 0, 0.0
            for k in range(found):
                key, count = word_keys[at[k]], counts[k]
                if count > 1:
                    logs += count * log(count)
                place = np.int64(key & np.uint64(_KNOWN - 1))
                while known[place] != 0 and known[place] != key:
                    place = (place + 1) & (_KNOWN - 1)
                stops += count * (marks[place] & 1)
                gophers += marks[place] >> 1
            out[t, 5] = stops / words
            out[t, 7] = max(0.0, log(words) - logs / words)
            tally[t, 3] = gophers
            if repetition:
                _ngrams(ids, counts, ends, words, word_keys, at, slots, held, out[t], 19)


@njit(cache=True, nogil=True)
def _decode(data: _Bytes, i: int, stop: int) -> tuple[np.uint32, int]:
    """The character that starts at byte i with a byte of 128 or more, and where the next one starts."""
    b = int(data[i])
    extra = 1 if b < 0xE0 else 2 if b < 0xF0 else 3
    c = b & (0x3F >> extra)
    i += 1
    while extra and i < stop:
        c = (c << 6) | (int(data[i]) & 0x3F)
        i += 1
        extra -= 1
    return np.uint32(min(c, 0x10FFFF)), i


def quality(
    texts: pa.Array | pa.ChunkedArray, repetition: bool = True
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """A row per text: COUNTS, and FRACTIONS followed, with `repetition`, by REPETITION. Nulls read as empty texts."""
    offsets, data = string_buffers(texts)
    tally = np.zeros((len(texts), len(COUNTS)), np.int32)
    out = np.zeros((len(texts), len(FRACTIONS) + len(REPETITION) * repetition), np.float64)
    lorem, ipsum = np.uint64(_key("lorem")), np.uint64(_key("ipsum"))
    _measure(offsets, data, *tables(), *_known_words(), lorem, ipsum, repetition, tally, out)
    return tally, out
