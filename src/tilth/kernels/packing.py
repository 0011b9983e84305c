"""Packing: which window each sequence goes to, so that little of the windows is filling.

Sequences are numbers of tokens, windows are bins of one capacity; arrays in, arrays out. Two packers take the longest
sequences first and leave next to no room (`best_fit_decreasing`, `first_fit_decreasing`); `next_fit` keeps the order.
Traps: the first two put like lengths into neighbouring windows, so who trains on the windows in order reads long
sequences first: number them anew with `shuffled`. And they look at all sequences at once, so what should be read early
must not be packed with what should be read late.

>>> lengths = np.array([3, 9, 5, 7, 4, 2])
>>> bins = best_fit_decreasing(lengths, 10)
>>> bins.tolist(), starts(lengths, bins).tolist(), Fill.of(lengths, bins, 10).padding
([1, 0, 2, 1, 2, 3], [0, 0, 0, 3, 5, 0], 0.25)

Sources: Johnson, Demers, Ullman, Garey and Graham 1974 for the algorithms and their bounds; Ding et al. 2024 (arXiv
2404.10830) for best fit of language-model windows by a tree over the room that is left. Ours: what is as long is placed
at once, and a tree of first fit as small as the bound allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = [
    "Fill",
    "Pieces",
    "Placed",
    "best_fit_decreasing",
    "cut",
    "cut_between",
    "first_fit_decreasing",
    "lay",
    "next_fit",
    "shuffled",
    "starts",
]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]
LARGEST = 2**31 - 1


class Pieces(NamedTuple):
    """Sequences in pieces, in their order.

    Attributes:
        owner: the sequence each piece is of.
        start: how much of the sequence lies before it.
        length: how long it is.
    """

    owner: Ints
    start: Ints
    length: Ints


class Placed(NamedTuple):
    """Pieces of token streams and the windows they go to, all (pieces,).

    Attributes:
        document: the number under which a piece's tokens attend to one another.
        begins: where in `ids` its document begins: the first token is predicted from the end token.
        ends: where its document ends: that place, one after its last token, is predicted as the end token; -1 if not.
        start, stop: the piece.
        row: its window; those of one lie side by side in the order given.
    """

    document: Ints
    begins: Ints
    ends: Ints
    start: Ints
    stop: Ints
    row: Ints


@dataclass(frozen=True)
class Fill:
    """What a packing uses and wastes.

    Attributes:
        windows, capacity, tokens: how many windows, of how many places each, hold how many tokens.
        cut: sequences that lie in more than one piece.
        left_out: sequences that are in no window, because they fit none and may not be cut.
    """

    windows: int
    capacity: int
    tokens: int
    cut: int = 0
    left_out: int = 0

    @classmethod
    def of(cls, lengths: npt.ArrayLike, bins: npt.ArrayLike, capacity: int, *, cut: int = 0, left_out: int = 0) -> Self:
        """Of what was packed: lengths and bin of each sequence or piece."""
        windows = int(np.max(np.asarray(bins), initial=-1)) + 1
        return cls(windows, capacity, int(np.sum(np.asarray(lengths), dtype=np.int64)), cut, left_out)

    @property
    def padding(self) -> float:
        """The share of the windows' places that hold no token; 0 where there is no window."""
        return 1 - self.tokens / (self.windows * self.capacity) if self.windows else 0.0


def best_fit_decreasing(lengths: npt.ArrayLike, capacity: int) -> Ints:
    """The bin of each sequence, (n,): longest first, each into the bin where it leaves the least room.

    Of sequences as long as one another the earlier goes first; of bins with the same room the one that was touched last
    is taken. O(n log capacity) time; beyond lengths and result, 8 bytes a sequence, 8 a bin and a few per unit of
    capacity. At most 11/9 of the fewest bins and a few; on documents usually the fewest.

    Raises:
        ValueError: when a sequence is longer than the capacity (`cut` it first), or what is given are no lengths.
    """
    return _packed(_checked(lengths, capacity), capacity, best=True)


def first_fit_decreasing(lengths: npt.ArrayLike, capacity: int) -> Ints:
    """The bin of each sequence, (n,): longest first, each into the lowest bin that has room.

    Ties as in `best_fit_decreasing`. O(n log bins) time at worst, mostly far less, as sequences of one length that fit
    the same bin are placed at once; beyond lengths and result 8 bytes a sequence and 16 a bin. The same bound holds.

    Raises:
        ValueError: when a sequence is longer than the capacity (`cut` it first), or what is given are no lengths.
    """
    return _packed(_checked(lengths, capacity), capacity, best=False)


def next_fit(lengths: npt.ArrayLike, capacity: int) -> Ints:
    """The bin of each sequence, (n,), in their order: one that does not fit the rest of a bin begins the next.

    Keeps the order, at up to twice the fewest bins. O(n).

    Raises:
        ValueError: when a sequence is longer than the capacity (`cut` it first), or what is given are no lengths.
    """
    out: Ints = _next_fit(_checked(lengths, capacity), capacity)
    return out


def starts(lengths: npt.ArrayLike, bins: npt.ArrayLike) -> Ints:
    """Where in its bin each sequence begins, (n,), when those of a bin lie side by side in their order. O(n)."""
    sizes, where = np.asarray(lengths, np.int64), np.asarray(bins, np.int64)
    out: Ints = _starts(sizes, where, int(where.max(initial=-1)) + 1)
    return out


def shuffled(bins: npt.ArrayLike, rng: np.random.Generator) -> Ints:
    """The same bins under other numbers, at random, so that their order says nothing of the lengths in them."""
    where = np.asarray(bins, np.int64)
    return np.asarray(rng.permutation(int(where.max(initial=-1)) + 1)[where], np.int64)


def cut(lengths: npt.ArrayLike, capacity: int | Ints) -> Pieces:
    """Sequences in pieces as long as the capacity, the last piece of each as long as what is left.

    An empty sequence has no piece.

    Args:
        capacity: of all, or (n,) of each sequence, where some bring along what takes room in every piece.

    >>> pieces = cut([5, 0, 2], 2)
    >>> pieces.owner.tolist(), pieces.start.tolist(), pieces.length.tolist()
    ([0, 0, 0, 2], [0, 2, 4, 0], [2, 2, 1, 2])
    """
    room = np.asarray(capacity, np.int64)
    sizes = _checked(lengths, int(room.min(initial=LARGEST)), longer=True)
    room = np.broadcast_to(room, sizes.shape)
    count = -(-sizes // room)
    owner = np.repeat(np.arange(sizes.size), count)
    start = (np.arange(owner.size) - np.repeat(np.cumsum(count) - count, count)) * room[owner]
    return Pieces(owner, start, np.minimum(sizes[owner] - start, room[owner]))


def cut_between(indptr: npt.ArrayLike, sizes: npt.ArrayLike, capacity: int) -> tuple[Pieces, Bools]:
    """Sequences of units that must stay whole, in pieces of as many units as fit, cut between units only.

    Args:
        indptr: (n + 1,) the units of sequence i are ``sizes[indptr[i]:indptr[i + 1]]``: a conversation's rounds.
        sizes: how long each unit is.

    Returns:
        The pieces, none empty, and which sequences are left out, (n,), because a unit of theirs is longer than the
        capacity; those have no piece.

    >>> pieces, left_out = cut_between([0, 3, 5], [4, 3, 5, 9, 1], 8)
    >>> pieces.owner.tolist(), pieces.start.tolist(), pieces.length.tolist(), left_out.tolist()
    ([0, 0], [0, 7], [7, 5], [False, True])
    """
    units = _checked(sizes, capacity, longer=True)
    bounds = np.asarray(indptr, np.int64)
    left_out = np.zeros(bounds.size - 1, np.bool_)
    owner, start, length, made = _cut_between(bounds, units, capacity, left_out)
    return Pieces(owner[:made], start[:made], length[:made]), left_out


def lay(
    ids: npt.NDArray[np.uint32],
    learned: Bools,
    placed: Placed,
    end: int,
    inputs: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int32],
    documents: npt.NDArray[np.int32],
) -> None:
    """Write pieces into windows: what is read, what is predicted from it, and of which document it is.

    A token is predicted from the one before it. Nothing is written to `targets` where `learned` says no, nor to any
    array where no piece lies.

    Args:
        inputs, targets, documents: (windows, context), written to.
    """
    column = starts(placed.stop - placed.start, placed.row)
    _lay(ids, learned, *placed, column, end, inputs, targets, documents)


def _checked(lengths: npt.ArrayLike, capacity: int, longer: bool = False) -> Ints:
    """Lengths as one kind of array."""
    given = np.asarray(lengths)
    if given.ndim != 1 or (given.size and given.dtype.kind not in "iu"):
        raise ValueError(f"lengths are one axis of whole numbers; got {given.ndim} axes of {given.dtype}")
    if not 1 <= capacity <= LARGEST:
        raise ValueError(f"a capacity is 1 to {LARGEST}; got {capacity}")
    sizes: Ints = given.astype(np.int64, copy=False)
    if sizes.size and int(sizes.min()) < 0:
        raise ValueError(f"a length is at least 0; got {int(sizes.min())}")
    if not longer and sizes.size and int(sizes.max()) > capacity:
        raise ValueError(f"a sequence of {int(sizes.max())} tokens does not fit a window of {capacity}; cut it first")
    return sizes


def _packed(sizes: Ints, capacity: int, best: bool) -> Ints:
    """Longest first, by counts of each length; then each sequence takes the next slot of its length."""
    counts = np.bincount(sizes, minlength=1) if sizes.size else np.zeros(1, np.int64)
    # any two bins hold more than one's capacity together, or the second would not have been opened
    most = min(sizes.size, 2 * int(sizes.sum()) // capacity + 1)
    slots = (_best_fit if best else _first_fit)(counts, capacity, most)
    out: Ints = _dealt(sizes, counts, slots)
    return out


@njit(cache=True, nogil=True)
def _dealt(sizes: Ints, counts: Ints, slots: Ints) -> Ints:
    """Slots go from the longest length to the shortest; within one, sequences take them in their order."""
    at = np.empty(counts.size, np.int64)
    done = 0
    for length in range(counts.size - 1, -1, -1):
        at[length] = done
        done += counts[length]
    out = np.empty(sizes.size, np.int64)
    for i in range(sizes.size):
        length = sizes[i]
        out[i] = slots[at[length]]
        at[length] += 1
    return out


@njit(cache=True, nogil=True)
def _best_fit(counts: Ints, capacity: int, most: int) -> Ints:
    """The bin of each slot. Bins of each room are a linked list; a tree says which rooms occur."""
    width = 1
    while width < capacity + 1:
        width *= 2
    occurs = np.zeros(2 * width, np.bool_)  # node k is above 2k and 2k + 1; the leaf of a room is width + room
    top = np.full(capacity + 1, -1, np.int64)
    below = np.empty(most, np.int64)
    slots = np.empty(counts.sum(), np.int64)
    opened, done = 0, 0
    for length in range(counts.size - 1, -1, -1):
        left = counts[length]
        while left > 0:
            node = width + length  # the least room of at least this length
            if not occurs[node]:
                while node > 1 and (node & 1 == 1 or not occurs[node + 1]):
                    node >>= 1
                if node > 1:
                    node += 1
                    while node < width:
                        node *= 2
                        if not occurs[node]:
                            node += 1
            if node > 1:
                room = node - width
                b = top[room]
                top[room] = below[b]
                if top[room] < 0:
                    occurs[node] = False
                    node >>= 1
                    while node > 0 and not (occurs[2 * node] or occurs[2 * node + 1]):
                        occurs[node] = False
                        node >>= 1
            else:
                room = capacity
                b = opened
                opened += 1
            # the room that is left stays the least that fits, so the bin takes as many as it can
            times = left if length == 0 else min(left, room // length)
            for _ in range(times):
                slots[done] = b
                done += 1
            left -= times
            room -= times * length
            below[b] = top[room]
            top[room] = b
            node = width + room
            while node > 0 and not occurs[node]:
                occurs[node] = True
                node >>= 1
    return slots


@njit(cache=True, nogil=True)
def _first_fit(counts: Ints, capacity: int, most: int) -> Ints:
    """The bin of each slot. A tree over the bins holds the most room there is below each node."""
    width = 1
    while width < most:
        width *= 2
    room = np.full(2 * width, -1, np.int32)  # bins not yet opened have no room, not even for nothing
    slots = np.empty(counts.sum(), np.int64)
    opened, done = 0, 0
    for length in range(counts.size - 1, -1, -1):
        left = counts[length]
        while left > 0:
            if room[1] >= length:
                node = 1
                while node < width:
                    node *= 2
                    if room[node] < length:
                        node += 1
            else:
                node = width + opened
                room[node] = capacity
                opened += 1
            times = left if length == 0 else min(left, room[node] // length)
            for _ in range(times):
                slots[done] = node - width
                done += 1
            left -= times
            room[node] -= times * length
            while node > 1:
                node >>= 1
                most_below = max(room[2 * node], room[2 * node + 1])
                if room[node] == most_below:
                    break
                room[node] = most_below
    return slots


@njit(cache=True, nogil=True)
def _next_fit(sizes: Ints, capacity: int) -> Ints:
    out = np.empty(sizes.size, np.int64)
    b, used = 0, 0
    for i in range(sizes.size):
        if used + sizes[i] > capacity:
            b += 1
            used = 0
        used += sizes[i]
        out[i] = b
    return out


@njit(cache=True, nogil=True)
def _starts(sizes: Ints, bins: Ints, count: int) -> Ints:
    used = np.zeros(count, np.int64)
    out = np.empty(sizes.size, np.int64)
    for i in range(sizes.size):
        out[i] = used[bins[i]]
        used[bins[i]] += sizes[i]
    return out


@njit(cache=True, nogil=True)
def _lay(
    ids: npt.NDArray[np.uint32],
    learned: Bools,
    document: Ints,
    begins: Ints,
    ends: Ints,
    start: Ints,
    stop: Ints,
    row: Ints,
    column: Ints,
    end: int,
    inputs: npt.NDArray[np.int32],
    targets: npt.NDArray[np.int32],
    documents: npt.NDArray[np.int32],
) -> None:
    for p in range(row.size):
        r, shift = row[p], column[p] - start[p]
        for k in range(start[p], stop[p]):
            c = k + shift
            documents[r, c] = document[p]
            inputs[r, c] = end if k == begins[p] else np.int64(ids[k - 1])
            if k == ends[p]:
                targets[r, c] = end
            elif learned[k]:
                targets[r, c] = ids[k]


@njit(cache=True, nogil=True)
def _cut_between(bounds: Ints, units: Ints, capacity: int, left_out: Bools) -> tuple[Ints, Ints, Ints, int]:
    owner, start, length = (
        np.empty(units.size, np.int64),
        np.empty(units.size, np.int64),
        np.zeros(units.size, np.int64),
    )
    made = 0
    for i in range(bounds.size - 1):
        first, before = made, 0
        for u in range(bounds[i], bounds[i + 1]):
            if units[u] > capacity:
                left_out[i] = True
                break
            if units[u] == 0:
                continue
            if made == first or length[made - 1] + units[u] > capacity:
                owner[made], start[made], length[made] = i, before, 0
                made += 1
            length[made - 1] += units[u]
            before += units[u]
        if left_out[i]:
            made = first
    return owner, start, length, made
