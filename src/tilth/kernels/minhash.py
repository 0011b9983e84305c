"""MinHash signatures of UTF-8 text, straight from the Arrow buffers, and what is done with them.

A word is a maximal run of ASCII letters, digits, ``_`` and bytes of non-ASCII characters; ASCII letters are
lower-cased, everything else separates. A shingle is `ngram` words in a row; a text of fewer words is one shingle, a
text without words has none. Lane j of a signature is the smallest ``a[j] * x + b[j]`` (mod 2^32, a odd) over the 32-bit
hashes x of the text's shingles, so two texts agree in a lane with a probability equal to the Jaccard similarity of
their sets of shingles.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from numba import njit

from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import mix64
from tilth.kernels.words import _ROLL, Codes, Kinds, cut, tables

__all__ = ["Lanes", "Rows", "band_hashes", "lanes", "signatures", "star"]

Lanes = npt.NDArray[np.uint32]
Rows = npt.NDArray[np.int32]

_S32 = np.uint64(32)
_CHUNK = 4096  # words hashed before the lanes see their shingles, and half the bytes read: all stays near the core
_STEP = 64
_FEW = 32  # with fewer shingles a loop over lanes is faster than a loop over shingles


def lanes(count: int) -> tuple[Lanes, Lanes]:
    """Multipliers (odd) and summands of `count` lanes: constants, so that an estimate is the same in every run."""
    a, b = np.empty(count, np.uint32), np.empty(count, np.uint32)
    _constants(a, b)
    return a, b


@njit(cache=True, nogil=True)
def _constants(a: Lanes, b: Lanes) -> None:
    for i in range(a.size):
        bits = mix64(np.uint64(i + 1) * _ROLL)
        a[i] = np.uint32(bits >> _S32) | np.uint32(1)
        b[i] = np.uint32(bits & np.uint64(0xFFFFFFFF))


@njit(cache=True, nogil=True)
def _update(shingles: Lanes, count: int, a: Lanes, b: Lanes, signature: Lanes) -> None:
    """Lower the lanes to the smallest values these shingles give; both loops run in vector registers.

    Behind the shingles there is room for _STEP more.
    """
    padded = -(-count // _STEP) * _STEP  # whole registers only: seeing the last shingle again changes no minimum
    for i in range(count, padded):
        shingles[i] = shingles[count - 1]
    if count < _FEW:
        for i in range(count):
            x = shingles[i]
            for j in range(a.size):
                signature[j] = min(signature[j], np.uint32(a[j] * x + b[j]))
    else:
        for j in range(a.size):
            least, times, plus = signature[j], a[j], b[j]
            for i in range(padded):
                least = min(least, np.uint32(times * shingles[i] + plus))
            signature[j] = least


@njit(cache=True, nogil=True)
def _sign(
    offsets: npt.NDArray[np.int64], data: npt.NDArray[np.uint8], kinds: Kinds, codes: Codes, ngram: int, a: Lanes,
    b: Lanes, out: Lanes, filled: npt.NDArray[np.bool_],
) -> None:  # fmt: skip
    before = np.uint64(ngram)
    words = np.empty(ngram + _CHUNK + 1, np.uint64)  # the words of a block, behind those that the one before ended with
    shingles = np.empty(_CHUNK + _STEP, np.uint32)
    drop = np.uint64(1)
    for _ in range(ngram):
        drop *= _ROLL
    for doc in range(offsets.size - 1):
        start, stop = offsets[doc], offsets[doc + 1]
        seen = 0
        rolling, h, kind = np.uint64(0), np.uint64(0), np.uint8(0)
        words[:ngram] = 0
        while start < stop:
            end = min(stop, start + 2 * _CHUNK - 2)
            size, h, kind = cut(data, start, end, kinds, codes, h, kind, words[ngram:])
            if end == stop and kind != 0:
                words[ngram + size] = h
                size += 1
            start = end
            for i in range(np.uint64(size)):
                rolling = rolling * _ROLL + words[before + i] - words[i] * drop
                shingles[i] = np.uint32(mix64(rolling) >> _S32)
            skipped = max(0, min(ngram - 1 - seen, size))  # words that no shingle ends with
            seen += size
            if end == stop and 0 < seen < ngram:  # a short text is one shingle, which ends with its last word
                shingles[0] = np.uint32(mix64(rolling) >> _S32)
                _update(shingles, 1, a, b, out[doc])
            else:
                _update(shingles[skipped:], size - skipped, a, b, out[doc])
            for i in range(ngram):
                words[i] = words[size + i]
        filled[doc] = seen > 0


def signatures(
    texts: pa.Array | pa.ChunkedArray, ngram: int, a: Lanes, b: Lanes
) -> tuple[Lanes, npt.NDArray[np.bool_]]:
    """Signatures (texts, lanes), and which texts have any word; nulls have none."""
    offsets, data = string_buffers(texts)
    out = np.full((offsets.size - 1, a.size), 0xFFFFFFFF, np.uint32)
    filled = np.zeros(offsets.size - 1, np.bool_)
    _sign(offsets, data, *tables("words"), ngram, a, b, out, filled)
    return out, filled


@njit(cache=True, nogil=True)
def band_hashes(signed: Lanes, bands: int, rows: int) -> npt.NDArray[np.uint64]:
    """(bands, texts): the hash of each band's lanes."""
    out = np.empty((bands, signed.shape[0]), np.uint64)
    for i in range(signed.shape[0]):
        for band in range(bands):
            h = np.uint64(band)
            for j in range(band * rows, band * rows + rows):
                h = mix64(h ^ np.uint64(signed[i, j])) + _ROLL
            out[band, i] = h
    return out


@njit(cache=True, nogil=True)
def _agreeing(one: Lanes, two: Lanes) -> int:
    count = 0
    for j in range(one.size):
        count += one[j] == two[j]
    return count


@njit(cache=True, nogil=True)
def star(
    members: Rows, buckets: Rows, order: npt.NDArray[np.int64], signed: Lanes, enough: int, most: int
) -> tuple[Rows, npt.NDArray[np.float32]]:
    """Each text's keeper (itself, when it is kept) and their share of agreeing lanes.

    Texts come in `order`; one is a duplicate of the keeper it agrees with most, in at least `enough` lanes, of those it
    shares a bucket with. Otherwise it is a keeper. Only keepers are compared with, so likeness is not passed on.

    Args:
        members, buckets: text and bucket of each membership; both are numbered from 0.
        most: keepers of one bucket that a text is compared with, the latest first.
    """
    n = signed.shape[0]
    starts = np.zeros(n + 1, np.int64)
    for row in members:
        starts[row + 1] += 1
    for i in range(n):
        starts[i + 1] += starts[i]
    mine = np.empty(members.size, np.int32)  # buckets by text
    for e in range(members.size):
        row = members[e]
        mine[starts[row]] = buckets[e]
        starts[row] += 1
    top = 0
    for bucket in buckets:
        top = max(top, bucket + 1)
    head = np.full(top, -1, np.int64)  # keepers of a bucket as a linked list
    after = np.empty(members.size, np.int64)
    who = np.empty(members.size, np.int32)
    nodes = 0
    compared = np.full(n, -1, np.int32)
    rank = np.empty(n, np.int32)
    keeper = np.arange(n).astype(np.int32)
    share = np.ones(n, np.float32)
    for place in range(order.size):
        t = order[place]
        rank[t] = place
        first, last = (starts[t - 1] if t else 0), starts[t]
        best, found = enough - 1, -1
        for e in range(first, last):
            node, steps = head[mine[e]], 0
            while node >= 0 and steps < most:
                k = who[node]
                if compared[k] != place:
                    compared[k] = place
                    same = _agreeing(signed[t], signed[k])
                    if same > best or (same == best and found >= 0 and rank[k] < rank[found]):
                        best, found = same, k
                node = after[node]
                steps += 1
        if found >= 0:
            keeper[t] = found
            share[t] = best / signed.shape[1]
            continue
        for e in range(first, last):
            who[nodes] = t
            after[nodes] = head[mine[e]]
            head[mine[e]] = nodes
            nodes += 1
    return keeper, share
