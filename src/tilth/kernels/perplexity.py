"""A word n-gram model in one hash table, and the bits it needs for a text."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import mix64
from tilth.kernels.words import _ROLL, Codes, Kinds, joined, ngram_hashes, tables, token_hashes

__all__ = ["WordModel"]

Floats = npt.NDArray[np.float64]
Singles = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint64]
END = 256
_LOWER = np.array([b + 32 if 65 <= b <= 90 else b for b in range(256)], np.uint8)


@dataclass(frozen=True)
class WordModel:
    """Interpolated absolute discounting over ``wordpunct`` tokens.

    With h a history, c its count and N(h) the number of different words seen after it,
    p(w | h) = max(c(hw) - d, 0) / c(h) + d N(h) / c(h) p(w | shorter h). What is discounted at the lowest level is the
    probability of an unknown word, which is then spelled byte by byte. A history never reaches into another text.

    Attributes:
        keys: open addressing over the hashes of all n-grams, 0 where free; the arrays below are aligned with it.
        counts: how often the n-gram occurs.
        followed: how often a word follows it.
        followers: how many different words follow it.
        tokens, words: of the training text, all and different.
        spelling: bits of each byte of an unknown word, and of its end (the last one).
    """

    order: int
    discount: float
    keys: Hashes
    counts: Singles
    followed: Singles
    followers: Singles
    tokens: int
    words: int
    spelling: Floats

    @classmethod
    def of(cls, texts: pa.Array | pa.ChunkedArray, order: int, discount: float) -> WordModel:
        """Count n-grams of 1 to `order` tokens."""
        offsets, tokens = token_hashes(texts, "wordpunct")
        sizes = np.diff(offsets)
        left = np.repeat(offsets[1:], sizes) - np.arange(tokens.size)  # tokens from here to the end of the text
        levels: list[tuple[Hashes, npt.NDArray[np.int64]]] = []
        followed, followers = [], []
        shorter = np.zeros(0, np.uint64)  # the hash that begins at each place, one token shorter
        for n in range(1, order + 1):
            hashes = ngram_hashes(tokens, n)
            places = np.flatnonzero(left[: hashes.size] >= n)
            keys, first, counts = np.unique(hashes[places], return_index=True, return_counts=True)
            if n > 1:
                context = np.searchsorted(levels[-1][0], shorter[places[first]])
                followed.append(np.bincount(context, counts, levels[-1][0].size))
                followers.append(np.bincount(context, minlength=levels[-1][0].size))
            levels.append((keys, counts))
            shorter = hashes
        none = np.zeros(levels[-1][0].size)
        rows = [np.concatenate(c) for c in ([c for _, c in levels], [*followed, none], [*followers, none])]
        all_keys = np.concatenate([keys for keys, _ in levels])
        size = 1 << max(4, int(all_keys.size * 2).bit_length())
        table, columns = np.zeros(size, np.uint64), np.zeros((3, size), np.float32)
        _fill(table, columns, all_keys, np.array(rows, np.float32))
        start, data = string_buffers(texts)
        raw = data[start[0] : start[-1]]
        used = np.bincount(_LOWER[raw[tables("wordpunct")[0][raw] > 0]], minlength=END + 1) + 1.0
        used[END] += tokens.size
        return cls(
            order=order,
            discount=discount,
            keys=table,
            counts=columns[0],
            followed=columns[1],
            followers=columns[2],
            tokens=tokens.size,
            words=levels[0][0].size,
            spelling=np.asarray(-np.log2(used / used.sum())),
        )

    def bits(self, texts: pa.Array | pa.ChunkedArray) -> tuple[Floats, npt.NDArray[np.int32]]:
        """Per text, the bits of all its tokens and how many there are."""
        offsets, data = string_buffers(texts)
        bits, tokens = _bits(
            offsets,
            data,
            *tables("wordpunct"),
            self.order,
            self.discount,
            self.keys,
            self.counts,
            self.followed,
            self.followers,
            self.tokens,
            self.discount * self.words / self.tokens if self.tokens else 1.0,
            self.spelling,
        )
        return bits, tokens


@njit(cache=True, nogil=True)
def _fill(table: Hashes, columns: npt.NDArray[np.float32], keys: Hashes, rows: npt.NDArray[np.float32]) -> None:
    mask = np.uint64(table.size - 1)
    for i in range(keys.size):
        key = max(keys[i], np.uint64(1))
        slot = key & mask
        while table[slot] != 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = key
        columns[:, slot] = rows[:, i]


@njit(cache=True, nogil=True)
def _bits(
    offsets: npt.NDArray[np.int64],
    data: npt.NDArray[np.uint8],
    kinds: Kinds,
    codes: Codes,
    order: int,
    discount: float,
    keys: Hashes,
    counts: Singles,
    followed: Singles,
    followers: Singles,
    total: int,
    unknown: float,
    spelling: Floats,
) -> tuple[Floats, npt.NDArray[np.int32]]:
    n = offsets.size - 1
    out, tokens = np.zeros(n), np.zeros(n, np.int32)
    mask = np.uint64(keys.size - 1)
    last = np.zeros(order, np.uint64)  # last[k]: hash of the k + 1 tokens that end here
    slot_of = np.full(order, -1, np.int64)  # where those stand in the table, -1 when never seen
    for text in range(n):
        i, stop = offsets[text], offsets[text + 1]
        bits, seen = 0.0, 0
        slot_of[:] = -1
        while i < stop:
            kind = kinds[data[i]]
            if kind == 0:
                i += 1
                continue
            h, spelled = np.uint64(0), spelling[END]
            while i < stop and kinds[data[i]] == kind:
                h = joined(h, codes[data[i]])
                spelled += spelling[_LOWER[data[i]]]
                i += 1
            token = mix64(h)
            tokens[text] += 1
            for k in range(order - 1, 0, -1):
                last[k] = last[k - 1] * _ROLL + token
            last[0] = token
            seen = min(seen + 1, order)
            p, context = 0.0, -1  # context: where the history of the level at hand stands
            for k in range(seen):
                key = max(mix64(last[k]), np.uint64(1))
                slot = key & mask
                while keys[slot] != 0 and keys[slot] != key:
                    slot = (slot + np.uint64(1)) & mask
                found = np.int64(slot) if keys[slot] == key else -1
                if k == 0:
                    if found >= 0:
                        p = (counts[found] - discount) / total
                    else:
                        p = unknown
                        bits += spelled
                elif context >= 0 and followed[context] > 0:
                    count = counts[found] - discount if found >= 0 else 0.0
                    p = (count + discount * followers[context] * p) / followed[context]
                context, slot_of[k] = slot_of[k], found
            bits -= np.log2(p)
        out[text] = bits
    return out, tokens
