"""Which evaluation items does a document overlap, and how far? N-gram lookup with per-item coverage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.hashing import mix64
from tilth.kernels.words import Cut, ngram_hashes, token_hashes

__all__ = ["Index", "overlaps"]

Ints = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Index:
    """The n-grams of evaluation items.

    Items of fewer than `n` tokens are indexed whole, so they match only as one piece; there is one table for each
    length that occurs.

    Attributes:
        lengths: per table, tokens of its n-grams.
        keys, slots: per table, distinct hashes (sorted) and where each one's places begin in `places`.
        tables: per table, open addressing over its keys: position of the key, -1 where free.
        places: positions in the concatenated tokens of all items where an n-gram begins.
        owner: the item of each of those tokens.
        sizes: tokens of each item.
    """

    cut: Cut
    lengths: Ints
    keys: tuple[Hashes, ...]
    slots: tuple[Ints, ...]
    places: tuple[Ints, ...]
    tables: tuple[npt.NDArray[np.int32], ...]
    owner: Ints
    sizes: Ints

    @classmethod
    def of(cls, texts: pa.Array | pa.ChunkedArray, n: int, cut: Cut) -> Index:
        """Index items' texts."""
        offsets, tokens = token_hashes(texts, cut)
        sizes = np.diff(offsets)
        lengths = sorted({int(min(size, n)) for size in sizes if size > 0})
        keys, slots, places = [], [], []
        for length in lengths:
            found_keys, found_places = [], []
            for item in np.flatnonzero(sizes >= n if length == n else sizes == length):
                start = offsets[item]
                hashes = ngram_hashes(tokens[start : offsets[item + 1]], length)
                found_keys.append(hashes)
                found_places.append(start + np.arange(hashes.size))
            all_keys, all_places = np.concatenate(found_keys), np.concatenate(found_places)
            order = np.argsort(all_keys, kind="stable")
            distinct, first = np.unique(all_keys[order], return_index=True)
            keys.append(distinct)
            slots.append(np.append(first, all_keys.size).astype(np.int64))
            places.append(all_places[order])
        owner = np.repeat(np.arange(sizes.size), sizes)
        tables = tuple(_table(distinct) for distinct in keys)
        return cls(cut, np.array(lengths, np.int64), tuple(keys), tuple(slots), tuple(places), tables, owner, sizes)


def overlaps(
    texts: pa.Array | pa.ChunkedArray, index: Index
) -> tuple[npt.NDArray[np.float32], Ints, npt.NDArray[np.int32]]:
    """Per text: the largest share of an item's tokens it covers, that item (-1 = none), and items with any match."""
    offsets, tokens = token_hashes(texts, index.cut)
    n = offsets.size - 1
    best, item, touched = np.zeros(n, np.float32), np.full(n, -1, np.int64), np.zeros(n, np.int32)
    if n == 0 or not index.keys:
        return best, item, touched
    _scan(
        offsets,
        tokens,
        index.lengths,
        _joined(index.keys),
        _starts(index.keys),
        _joined(index.slots),
        _starts(index.slots),
        _joined(index.places),
        _starts(index.places),
        _joined(index.tables),
        _starts(index.tables),
        index.owner,
        index.sizes,
        best,
        item,
        touched,
    )
    return best, item, touched


def _table(keys: Hashes) -> npt.NDArray[np.int32]:
    """A power of two slots, at most half of them taken."""
    size = 1 << max(4, int(keys.size * 2 - 1).bit_length())
    table = np.full(size, -1, np.int32)
    _fill(table, keys)
    return table


@njit(cache=True, nogil=True)
def _fill(table: npt.NDArray[np.int32], keys: Hashes) -> None:
    mask = np.uint64(table.size - 1)
    for i in range(keys.size):
        slot = mix64(keys[i]) & mask
        while table[slot] >= 0:
            slot = (slot + np.uint64(1)) & mask
        table[slot] = i


def _joined(arrays: Sequence[npt.NDArray[np.generic]]) -> npt.NDArray[np.generic]:
    return np.concatenate(arrays)


def _starts(arrays: Sequence[npt.NDArray[np.generic]]) -> Ints:
    return np.concatenate([[0], np.cumsum([a.size for a in arrays])]).astype(np.int64)


@njit(cache=True, nogil=True)
def _scan(
    offsets: Ints,
    tokens: Hashes,
    lengths: Ints,
    keys: Hashes,
    key_starts: Ints,
    slots: Ints,
    slot_starts: Ints,
    places: Ints,
    place_starts: Ints,
    tables: npt.NDArray[np.int32],
    table_starts: Ints,
    owner: Ints,
    sizes: Ints,
    best: npt.NDArray[np.float32],
    item: Ints,
    touched: npt.NDArray[np.int32],
) -> None:
    used = np.full(keys.size, -1, np.int32)  # the document that last had an n-gram: repeats cover nothing new
    seen = np.full(owner.size, -1, np.int32)  # the document that last covered a token
    count = np.zeros(sizes.size, np.int64)
    counted = np.full(sizes.size, -1, np.int64)  # the document that `count` is of
    found = np.empty(sizes.size, np.int64)
    for doc in range(offsets.size - 1):
        items = 0
        mine = tokens[offsets[doc] : offsets[doc + 1]]
        for t in range(lengths.size):
            n = lengths[t]
            hashes = ngram_hashes(mine, n)
            base = table_starts[t]
            mask = np.uint64(table_starts[t + 1] - base - 1)
            for h in hashes:
                slot = mix64(h) & mask
                while True:
                    k = tables[base + np.int64(slot)]
                    if k < 0 or keys[key_starts[t] + k] == h:
                        break
                    slot = (slot + np.uint64(1)) & mask
                if k < 0 or used[key_starts[t] + k] == doc:
                    continue
                used[key_starts[t] + k] = doc
                first = slots[slot_starts[t] + k]
                last = slots[slot_starts[t] + k + 1]
                for p in range(first, last):
                    begin = places[place_starts[t] + p]
                    who = owner[begin]
                    if counted[who] != doc:
                        counted[who] = doc
                        count[who] = 0
                        found[items] = who
                        items += 1
                    for q in range(begin, begin + n):
                        if seen[q] != doc:
                            seen[q] = doc
                            count[who] += 1
        touched[doc] = items
        for i in range(items):
            who = found[i]
            share = np.float32(count[who] / sizes[who])
            if share > best[doc] or (share == best[doc] and who < item[doc]):
                best[doc] = share
                item[doc] = who
