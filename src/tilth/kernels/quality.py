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
from tilth.kernels.hashing import hash_span, mix64

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
_PRIME: Final = np.uint64(0x100000001B3)
_GOLD: Final = np.uint64(0x9E3779B97F4A7C15)
_S32: Final = np.uint64(32)
_NONE: Final = np.uint64(0)
_ONE: Final = np.uint64(1)
_TWO: Final = np.uint64(2)
_KNOWN: Final = 1024  # places in the table of stop words, a power of two
_BLOCK: Final = 4000  # bytes read between two looks at the words found
_FIELD: Final = np.uint64(12)  # bits of each of the five counts that are kept in one number: none exceeds _BLOCK
_MASK: Final = np.uint64(0xFFF)
_ALPHAS, _UPPERS, _LOWERS = (np.uint64(0xFFF << 12 * which) for which in (1, 2, 3))
_LOGS: Final = np.array([0.0, *(n * log(n) for n in range(1, 512))])
_FREE: Final = np.uint32(0xFFFFFFFF)
_RARE: Final = 1  # of a byte: it needs a closer look
_GAP: Final = 2  # of a byte: white space

_Bytes = npt.NDArray[np.uint8]
_Ints = npt.NDArray[np.int64]
_Small = npt.NDArray[np.int32]
_Numbers = npt.NDArray[np.uint32]  # unsigned: a place is never counted from the end, and needs no check of its sign
_Keys = npt.NDArray[np.uint64]
_Whole = int | np.int64


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


@cache
def _bytes() -> tuple[_Bytes, _Keys, _Keys, _Keys]:
    """Of each byte: _RARE and _GAP; its five counts; what a word's hash is multiplied by, and what is added.

    The counts are, from the lowest bits: characters that are no punctuation, letters, upper case, lower case, letters
    and digits. Punctuation leaves the hash as it is, white space makes it 0. Bytes of 128 and more are rare and read by
    `_decode`.
    """
    marks = np.zeros(256, np.uint8)
    fields, times, plus = (np.zeros(256, np.uint64) for _ in range(3))
    kinds, lower = tables()
    for byte in range(256):
        kind = int(kinds[byte])
        if byte >= 128 or chr(byte) in "\n.!?#{}jJ":
            marks[byte] |= _RARE
        if byte < 128 and kind & _SPACE:
            marks[byte] |= _GAP
        elif byte < 128:
            fields[byte], times[byte] = _counted(kind), _ONE
            if not kind & _PUNCT:
                times[byte], plus[byte] = _GOLD, np.uint64(lower[byte] + 1)
    return marks, fields, times, plus


@njit(cache=True, nogil=True)
def _counted(kind: int) -> np.uint64:
    """The five counts of one character, side by side."""
    parts = (kind & _PUNCT == 0, kind & _ALPHA != 0, kind & _UPPER != 0, kind & _LOWER != 0, kind & _ALNUM != 0)
    made = _NONE
    for i in range(5):
        made |= np.uint64(parts[i]) << (np.uint64(i) * _FIELD)
    return made


@njit(cache=True, nogil=True, inline="always")
def _count(fields: np.uint64, which: int) -> np.int64:
    return np.int64((fields >> (np.uint64(which) * _FIELD)) & _MASK)


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
    h = 0
    for c in word:
        h = (h * int(_GOLD) + ord(c) + 1) & 0xFFFFFFFFFFFFFFFF
    return int(_finished(np.uint64(h), len(word)))


@njit(cache=True, nogil=True)
def _number(keys: _Keys, n: int, ids: _Numbers, counts: _Numbers, slots: _Numbers, held: _Keys) -> np.int64:
    """Give equal keys equal numbers, 0, 1, 2... in order of first appearance; count each; how many there are.

    Whether a key is new cannot be predicted, so nothing branches on it.
    """
    bits = 2
    while (1 << bits) < 2 * n:
        bits += 1
    mask = np.uint64((1 << bits) - 1)
    shift = np.uint64(64 - bits)
    slots[: 1 << bits] = _FREE
    counts[:n] = 0
    found = np.uint32(0)
    for i in range(n):
        key = keys[i]
        at = (key * _GOLD) >> shift
        while slots[at] != _FREE and held[at] != key:
            at = (at + _ONE) & mask
        new = slots[at] == _FREE
        number = found if new else slots[at]
        slots[at] = number
        held[at] = key
        ids[i] = number
        counts[number] += np.uint32(1)
        found += np.uint32(new)
    return np.int64(found)


@njit(cache=True, nogil=True)
def _repeated(keys: _Keys, sizes: _Ints, n: int, ids: _Numbers, counts: _Numbers, slots: _Numbers, held: _Keys,
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
def _javascript(data: _Bytes, i: int, stop: int) -> bool:
    """Whether "javascript" stands here, in whatever case."""
    return (
        i + 10 <= stop and data[i] | 32 == 106 and data[i + 1] | 32 == 97 and data[i + 2] | 32 == 118
        and data[i + 3] | 32 == 97 and data[i + 4] | 32 == 115 and data[i + 5] | 32 == 99 and data[i + 6] | 32 == 114
        and data[i + 7] | 32 == 105 and data[i + 8] | 32 == 112 and data[i + 9] | 32 == 116
    )  # fmt: skip


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
        if (offsets[t + 1] - offsets[t]) // 2 < most:
            continue
        n = 1
        for i in range(offsets[t], offsets[t + 1]):
            b = data[i]
            n += (b <= 32) | (b == 0xC2) | ((b >= 0xE1) & (b <= 0xE3))
        most = max(most, n)
    return most


@njit(cache=True, nogil=True)
def _ngrams(ids: _Numbers, counts: _Numbers, ends: _Ints, n: int, keys: _Keys, at: _Numbers, slots: _Numbers,
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
        pairs = 0
        for k in range(left - 1):  # places whose (size - 1)-gram occurs more than once, as does the one after it
            again = (counts[ids[k]] > 1) & (counts[ids[k + 1]] > 1) & (at[k + 1] == at[k] + np.uint32(1))
            keys[pairs], at[pairs] = (np.uint64(ids[k]) << _S32) | np.uint64(ids[k + 1]), at[k]
            pairs += again
        left = pairs
        if left == 0:
            return
        _number(keys, left, ids, counts, slots, held)
        if size <= 4:
            most, longest = 1, 0
            for k in range(left):
                count = counts[ids[k]]
                if count >= most:
                    chars = ends[at[k] + size] - ends[at[k]]
                    longest = chars if count > most else max(longest, chars)
                    most = count
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


@njit(cache=True, nogil=True)
def _edges(data: _Bytes, kinds: _Bytes, marks: _Bytes, start: int, stop: int
           ) -> tuple[_Whole, _Whole, _Whole, np.uint32, np.uint32]:  # fmt: skip
    """A line without the space around it.

    Returns:
        Where it starts and stops, the bytes of the space removed that are not a character's first, and its first and
        last character. An empty line stops where it starts.
    """
    low, high, extra = np.uint64(start), np.uint64(stop), np.int64(0)
    while low < high and marks[data[low]] & _GAP:
        low += _ONE
    while high > low and marks[data[high - _ONE]] & _GAP:
        high -= _ONE
    if low == high:
        return start, start, 0, np.uint32(0), np.uint32(0)
    first, last = np.uint32(data[low]), np.uint32(data[high - _ONE])
    if first < 128 and last < 128:
        return np.int64(low), np.int64(high), 0, first, last
    a, b = np.int64(low), np.int64(high)
    while a < b:
        first, after = np.uint32(data[a]), a + 1
        if first >= 128:
            first, after = _decode(data, a, b)
        if kinds[first] & _SPACE == 0:
            break
        extra += after - a - 1
        a = after
    while b > a:
        before = b - 1
        last = np.uint32(data[before])
        if last >= 128:
            while before > a and data[before] & 0xC0 == 0x80:
                before -= 1
            last = _decode(data, before, b)[0]
        if kinds[last] & _SPACE == 0:
            break
        extra += b - before - 1
        b = before
    return a, b, extra, first, last


@njit(cache=True, nogil=True)
def _read(data: _Bytes, start: int, stop: int, kinds: _Bytes, lower: _Small, marks: _Bytes, fields: _Keys,
          times: _Keys, plus: _Keys, lorem: np.uint64, ipsum: np.uint64, hashes: _Keys, so_far: _Keys,
          word_keys: _Keys, ends: _Ints, breaks: _Ints, tally: _Small, out: npt.NDArray[np.float64]
          ) -> tuple[int, int]:  # fmt: skip
    """Read a text: its words, where its lines end, and what is counted by character or word.

    A block of bytes is read without a branch at the ends of words, which cannot be predicted: after every byte the hash
    of the word in hand and the counts so far are written where the next word's belong. Then the words are gone through.

    Args:
        hashes, so_far: room for the words of a block.
        word_keys, ends: filled with each word's key and the characters up to its end, from ends[1] on.
        breaks: filled, per line break and for the end of the text, with its place, the bytes before it that are not a
            character's first, and the upper-case letters and digits before it.

    Returns:
        How many words and how many breaks.
    """
    raw, words, no_letter, capitals, lines = np.int64(0), 0, 0, 0, 0
    symbols, braces, sentences, javascripts, lorems = 0, 0, 0, 0, 0
    extra = np.int64(0)  # bytes that are not a character's first
    odd = 0  # letters and digits that are neither letters nor decimal digits, such as fractions
    letters, uppers, alnums = 0, 0, 0  # in the blocks before this one
    spoken = 0  # letters and digits at the last . ! or ?
    first, size = np.uint64(start), np.uint64(stop)  # unsigned: a place is never counted from the end
    dots_from = first
    before, h, inside = _NONE, _NONE, False
    chars = np.int64(0)  # of the words so far, and of the part of a word that an earlier block began:
    norm_part, seen = 0, _NONE
    i = first
    while i < size:
        end = min(i + np.uint64(_BLOCK), size)
        n, field = _NONE, _NONE
        while i < end:
            byte = data[i]
            mark = marks[byte]
            here = i
            i += _ONE
            gap = mark & _GAP != 0
            more, by, add = fields[byte], times[byte], plus[byte]
            if mark & _RARE:
                if byte >= 128:
                    c, after = _decode(data, np.int64(here), stop)
                    i = np.uint64(after)
                    extra += np.int64(i - here) - 1
                    kind = int(kinds[c])
                    odd += (kind & (_ALNUM | _ALPHA | _DIGIT)) == _ALNUM
                    symbols += c == 0x2026
                    gap = kind & _SPACE != 0
                    if not gap:
                        more = _counted(kind)
                        by, add = _ONE, _NONE
                        if kind & _PUNCT == 0:
                            by, add = _GOLD, np.uint64(lower[c] + 1)
                elif byte == 10:
                    digits = alnums - letters - odd + _count(field, 4) - _count(field, 1)
                    _break(breaks, lines, np.int64(here), extra, uppers + _count(field, 2), digits)
                    lines += 1
                elif byte == 46 or byte == 33 or byte == 63:
                    alnum = alnums + _count(field, 4)
                    sentences += alnum != spoken
                    spoken = alnum
                    if byte == 46 and here >= dots_from + _TWO and data[here - _ONE] == 46 and data[here - _TWO] == 46:
                        symbols += 1
                        dots_from = i
                elif byte == 35:
                    symbols += 1
                elif byte == 123 or byte == 125:
                    braces += 1
                else:
                    javascripts += _javascript(data, np.int64(here), stop)
            hashes[n] = h
            so_far[n] = field
            n += np.uint64(inside & gap)
            inside = not gap
            h = h * by + add
            field += more
        found = np.int64(n)
        if i >= size and inside:
            hashes[found], so_far[found] = h, field
            found += 1
        raw += found
        last = _NONE
        for k in range(found):
            now = so_far[k] - last  # no count borrows from another: each has grown
            last = so_far[k]
            norm, no_alpha, capital = _count(now, 0), now & _ALPHAS == 0, (now & _UPPERS != 0) & (now & _LOWERS == 0)
            if k == 0:
                norm += norm_part
                no_alpha = (now | seen) & _ALPHAS == 0
                capital = ((now | seen) & _UPPERS != 0) & ((now | seen) & _LOWERS == 0)
                norm_part, seen = 0, _NONE
            no_letter += no_alpha
            capitals += capital
            key = _finished(hashes[k], norm)
            lorems += (key == ipsum) & (before == lorem) & (norm > 0)
            before = key if norm > 0 else before
            word_keys[words] = key
            chars += norm
            ends[words + 1] = chars
            words += norm > 0
        norm_part += _count(field - last, 0)
        seen |= field - last
        letters, uppers, alnums = letters + _count(field, 1), uppers + _count(field, 2), alnums + _count(field, 4)
    _break(breaks, lines, stop, extra, uppers, alnums - letters - odd)
    tally[0], tally[1], tally[2] = words, sentences + (alnums != spoken), javascripts
    if stop > start:
        out[8] = braces / (stop - start - extra)
    if raw:
        out[1] = symbols / raw
        out[3] = no_letter / raw
        out[4] = capitals / raw
    if words:
        out[0] = ends[words] / words
        out[9] = lorems / (ends[words] + words - 1)
    return words, lines + 1


@njit(cache=True, nogil=True, inline="always")
def _break(breaks: _Ints, line: int, place: int, extra: int, upper: int, digits: int) -> None:
    breaks[line, 0], breaks[line, 1], breaks[line, 2], breaks[line, 3] = place, extra, upper, digits


@njit(cache=True, nogil=True)
def _lines(data: _Bytes, start: int, kinds: _Bytes, marks: _Bytes, breaks: _Ints, many: int, words: int,
           line_keys: _Keys, line_sizes: _Ints, para_keys: _Keys, para_sizes: _Ints, tally: _Small,
           out: npt.NDArray[np.float64]) -> tuple[int, int]:  # fmt: skip
    """What is counted by line; the keys and sizes of lines and paragraphs, and how many there are."""
    lines, paras, ellipses, terminals, bullets = 0, 0, 0, 0, 0
    digits_mean, upper_mean = 0.0, 0.0
    in_para = False
    extra, upper, digits = 0, 0, 0
    for b in range(many):
        low, high, around, first, last = _edges(data, kinds, marks, start, breaks[b, 0])
        if low < high:
            length = max(1, high - low - (breaks[b, 1] - extra - around))
            digits_mean += (breaks[b, 3] - digits) / length
            upper_mean += (breaks[b, 2] - upper) / length
            bullets += _bullet(first)
            ellipses += (last == 0x2026) or (
                last == 46 and high - low >= 3 and data[high - 2] == 46 and data[high - 3] == 46
            )
            terminals += last == 46 or last == 33 or last == 63 or last == 34 or last == 0x201D
            key = hash_span(data, low, high)
            line_keys[lines], line_sizes[lines] = key, length
            lines += 1
            if in_para:
                para_keys[paras - 1] = mix64(para_keys[paras - 1] * _PRIME + key)
                para_sizes[paras - 1] += length + 1
            else:
                para_keys[paras], para_sizes[paras] = mix64(key), length
                paras += 1
        in_para = low < high
        start = breaks[b, 0] + 1
        extra, upper, digits = breaks[b, 1], breaks[b, 2], breaks[b, 3]
    tally[4] = lines
    if lines:
        out[2] = ellipses / lines
        out[10] = terminals / lines
        out[11] = words / lines
        out[12] = digits_mean / lines
        out[13] = bullets / lines
        out[14] = upper_mean / lines
    return lines, paras


@njit(cache=True, nogil=True)
def _measure(offsets: _Ints, data: _Bytes, kinds: _Bytes, lower: _Small, marks: _Bytes, fields: _Keys, times: _Keys,
             plus: _Keys, known: _Keys, listed: _Bytes, lorem: np.uint64, ipsum: np.uint64, repetition: bool,
             tally: _Small, out: npt.NDArray[np.float64]) -> None:  # fmt: skip
    """Fill a row of `tally` (COUNTS) and of `out` (FRACTIONS, then REPETITION) per text; both come as zeros."""
    room = _most_words(offsets, data) + 2
    size = 8
    while size < 2 * room:
        size *= 2
    slots, held = np.empty(size, np.uint32), np.empty(size, np.uint64)
    word_keys, ends = np.empty(room, np.uint64), np.zeros(room, np.int64)
    breaks = np.empty((room, 4), np.int64)
    line_keys, line_sizes = np.empty(room, np.uint64), np.empty(room, np.int64)
    para_keys, para_sizes = np.empty(room, np.uint64), np.empty(room, np.int64)
    ids, counts, at = np.empty(room, np.uint32), np.empty(room, np.uint32), np.empty(room, np.uint32)
    hashes, so_far = np.empty(_BLOCK + 2, np.uint64), np.empty(_BLOCK + 2, np.uint64)
    for t in range(offsets.size - 1):
        start, stop = int(offsets[t]), int(offsets[t + 1])
        words, many = _read(data, start, stop, kinds, lower, marks, fields, times, plus, lorem, ipsum, hashes, so_far,
                            word_keys, ends, breaks, tally[t], out[t])  # fmt: skip
        lines, paras = _lines(data, start, kinds, marks, breaks, many, words, line_keys, line_sizes, para_keys,
                              para_sizes, tally[t], out[t])  # fmt: skip
        _repeated(line_keys, line_sizes, lines, ids, counts, slots, held, out[t], 15)
        _repeated(para_keys, para_sizes, paras, ids, counts, slots, held, out[t], 17)
        if words:
            found = _number(word_keys, words, ids, counts, slots, held)
            out[t, 6] = found / words
            seen = 0
            for w in range(words):  # where each different word comes first; without a branch, as none can be foretold
                at[seen] = w
                seen += ids[w] == seen
            stops, gophers, logs = 0, 0, 0.0
            for k in range(found):
                key, count = word_keys[at[k]], counts[k]
                logs += _LOGS[count] if count < _LOGS.size else np.int64(count) * log(count)
                place = np.int64(key & np.uint64(_KNOWN - 1))
                while known[place] != 0 and known[place] != key:
                    place = (place + 1) & (_KNOWN - 1)
                stops += count * (listed[place] & 1)
                gophers += listed[place] >> 1
            out[t, 5] = stops / words
            out[t, 7] = max(0.0, log(words) - logs / words)
            tally[t, 3] = gophers
            if repetition:
                _ngrams(ids, counts, ends, words, word_keys, at, slots, held, out[t], 19)


def quality(
    texts: pa.Array | pa.ChunkedArray, repetition: bool = True
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.float64]]:
    """A row per text: COUNTS, and FRACTIONS followed, with `repetition`, by REPETITION. Nulls read as empty texts."""
    offsets, data = string_buffers(texts)
    tally = np.zeros((len(texts), len(COUNTS)), np.int32)
    out = np.zeros((len(texts), len(FRACTIONS) + len(REPETITION) * repetition), np.float64)
    lorem, ipsum = np.uint64(_key("lorem")), np.uint64(_key("ipsum"))
    _measure(offsets, data, *tables(), *_bytes(), *_known_words(), lorem, ipsum, repetition, tally, out)
    return tally, out
