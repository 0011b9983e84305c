"""Batches: records become windows of tokens in the order a plan says, the same for the same plan and seed.

Texts are ``(offsets, ids)`` as `Tokenizer.encode_batch` returns them: record i is ``ids[offsets[i]:offsets[i + 1]]``.
The end token begins a document as an input and ends it as a target, so a first token is predicted from the end token
alone and never from the document that happens to lie before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from tilth.kernels.packing import (
    Placed,
    best_fit_decreasing,
    cut,
    cut_between,
    first_fit_decreasing,
    lay,
    next_fit,
    shuffled,
)

__all__ = [
    "Packing",
    "Windows",
    "joined",
    "padded",
    "prefixed",
    "reading_order",
    "rows_of",
    "side_by_side",
    "windows",
    "windows_of_documents",
    "windows_of_rounds",
    "windows_to_score",
]

Ints = npt.NDArray[np.int64]
Packing = Literal["next_fit", "best_fit", "first_fit"]
IGNORED = -1
STRETCH = 256
"""Windows packed at once where the order is roughly kept; of them one or two more are filling than if all were."""


@dataclass(frozen=True)
class Windows:
    """Inputs, targets and documents, each (windows, context).

    Attributes:
        inputs: ids read.
        targets: ids to be predicted, `IGNORED` where nothing is learned.
        documents: the place in the reading order of the document a position belongs to, -1 where it is filling.
        order: the record at each place of the reading order; a record read twice is there twice.
    """

    inputs: npt.NDArray[np.int32]
    targets: npt.NDArray[np.int32]
    documents: npt.NDArray[np.int32]
    order: Ints

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def tokens(self) -> Ints:
        """How many tokens are predicted in each window."""
        return np.asarray((self.targets != IGNORED).sum(1), np.int64)

    @property
    def padding(self) -> float:
        """The share of positions that are filling; 0 where there is no window."""
        return float((self.documents < 0).mean()) if self.documents.size else 0.0

    @property
    def records(self) -> Ints:
        """The record each position belongs to, -1 where it is filling, (windows, context)."""
        if self.order.size == 0:
            return np.full(self.documents.shape, -1, np.int64)
        return np.where(self.documents >= 0, self.order[self.documents], -1)

    def take(self, which: npt.ArrayLike) -> Windows:
        """Some of the windows, in the order given."""
        rows = np.asarray(which, np.int64)
        return Windows(self.inputs[rows], self.targets[rows], self.documents[rows], self.order)


def reading_order(
    repeats: npt.ArrayLike,
    rng: np.random.Generator,
    phase: npt.ArrayLike | None = None,
    rank: npt.ArrayLike | None = None,
) -> Ints:
    """The record read at each place: every record as often as `repeats` says.

    Without phases and ranks the order is random, but the copies of a record read r times fall into r equal stretches,
    one each: all records with the same repeats are read once before any is read again, and every stretch of the order
    has the mixture of the whole. All of phase 0 comes before phase 1. Within a phase, ranked records keep the order of
    their ranks (equal ranks are shuffled) and those without a rank (NaN) are spread among them.

    >>> order = reading_order([2, 2, 1, 0], np.random.Generator(np.random.PCG64(1)))
    >>> sorted(order.tolist()), sorted(order[order < 2][:2].tolist())
    ([0, 0, 1, 1, 2], [0, 1])
    """
    times = np.asarray(repeats, np.int64)
    record = np.repeat(np.arange(times.size), times)
    copy = np.arange(record.size) - np.repeat(np.cumsum(times) - times, times)
    key = (copy + rng.random(record.size)) / times[record]
    stage = np.zeros(record.size) if phase is None else np.asarray(phase)[record]
    if rank is not None:
        given = np.asarray(rank, np.float64)[record]
        for value in np.unique(stage):
            ranked = np.flatnonzero((stage == value) & ~np.isnan(given))
            by_rank = ranked[np.lexsort((key[ranked], given[ranked]))]
            key[by_rank] = (np.arange(ranked.size) + 0.5) / max(ranked.size, 1)
    return record[np.lexsort((key, stage))]


def prefixed(
    offsets: Ints, ids: npt.NDArray[np.uint32], before: tuple[Ints, npt.NDArray[np.uint32]], tags: npt.ArrayLike
) -> tuple[Ints, npt.NDArray[np.uint32], npt.NDArray[np.bool_]]:
    """Texts with something before each, and which ids are learned: not those before.

    Args:
        before: what stands before the texts of each tag.
        tags: of each text.

    >>> texts, before = (np.array([0, 2, 3]), np.array([7, 8, 9])), (np.array([0, 0, 2]), np.array([1, 2]))
    >>> offsets, ids, learned = prefixed(*texts, before, [1, 0])
    >>> offsets.tolist(), ids.tolist(), learned.astype(int).tolist()
    ([0, 4, 5], [1, 2, 7, 8, 9], [0, 0, 1, 1, 1])
    """
    tag = np.asarray(tags, np.int64)
    heads, own = np.diff(before[0])[tag], np.diff(offsets)
    starts = np.concatenate([[0], np.cumsum(heads + own)]).astype(np.int64)
    text = np.repeat(np.arange(own.size), heads + own)
    within = np.arange(text.size) - starts[:-1][text]
    learned = within >= heads[text]
    made = np.empty(text.size, np.uint32)
    made[learned] = ids[offsets[:-1][text[learned]] + (within - heads[text])[learned]]
    made[~learned] = before[1][before[0][:-1][tag[text[~learned]]] + within[~learned]]
    return starts, made, learned


def windows(
    offsets: Ints,
    ids: npt.NDArray[np.uint32],
    order: Ints,
    context: int,
    end: int,
    tokens: int | None = None,
    learned: npt.NDArray[np.bool_] | None = None,
) -> Windows:
    """Documents one after another, cut every `context` tokens; the last window is filled up.

    Args:
        order: which records, one after another; see `reading_order`.
        end: the id between two documents.
        tokens: read until this many are learned, ends of documents counted.
        learned: which ids are learned, aligned with `ids`; all when None. A target elsewhere is `IGNORED`.
    """
    lengths = np.diff(offsets)[order] + 1
    known = np.concatenate([[0], np.cumsum(np.ones(ids.size, np.bool_) if learned is None else learned)])
    counted = np.diff(known[offsets])[order] + 1
    last = len(order) if tokens is None else int(np.searchsorted(np.cumsum(counted), tokens)) + 1
    order, lengths = order[:last], lengths[:last]
    total = int(lengths.sum())
    starts = np.cumsum(lengths) - lengths
    document = np.repeat(np.arange(len(order), dtype=np.int32), lengths)
    within = np.arange(total) - starts[document] - 1
    begins = within < 0
    stream = np.full(total + 1, end, np.int32)  # the last document ends, too
    source = (offsets[:-1][order][document] + within)[~begins]
    stream[:-1][~begins] = ids[source]
    targets = stream[1:].copy()
    if learned is not None:
        hidden = np.zeros(total + 1, np.bool_)
        hidden[:-1][~begins] = ~learned[source]
        targets[hidden[1:]] = IGNORED
    if tokens is not None:
        total = min(total, int(np.searchsorted(np.cumsum(targets != IGNORED), tokens)) + 1)
    rows = -(-total // context)
    return Windows(
        _filled(stream[:total], rows, context, end),
        _filled(targets[:total], rows, context, IGNORED),
        _filled(document[:total], rows, context, -1),
        np.asarray(order, np.int64),
    )


def joined(parts: Sequence[Windows]) -> Windows:
    """Windows of several readings as one; their documents stay apart."""
    places = np.cumsum([0, *(part.order.size for part in parts)])
    moved = [
        np.where(part.documents >= 0, part.documents + place, -1).astype(np.int32)
        for part, place in zip(parts, places[:-1], strict=True)
    ]
    return Windows(
        np.concatenate([part.inputs for part in parts]),
        np.concatenate([part.targets for part in parts]),
        np.concatenate(moved),
        np.concatenate([part.order for part in parts]),
    )


def windows_of_documents(
    offsets: Ints,
    ids: npt.NDArray[np.uint32],
    order: Ints,
    context: int,
    end: int,
    *,
    packing: Packing = "best_fit",
    rng: np.random.Generator | None = None,
    stage: npt.ArrayLike | None = None,
    tokens: int | None = None,
) -> Windows:
    """Documents side by side, cut only where one is longer than a window, and then every `context` tokens.

    The tokens are those of `windows`: every document's own and its end. A later piece is predicted from the token
    before it on.

    Args:
        packing, rng, stage: see `rows_of`; `stage` is of each place of the order.
        tokens: read at most this many, ends of documents counted; the last document is cut there.
    """
    lengths = np.diff(offsets)[order] + 1
    if tokens is not None:
        before = np.cumsum(lengths) - lengths
        lengths = np.minimum(lengths, tokens - before)[before < tokens]
        order = order[: lengths.size]
    piece = cut(lengths, context)
    row = rows_of(piece.length, context, packing, rng, None if stage is None else np.asarray(stage)[piece.owner])
    record = np.asarray(order, np.int64)[piece.owner]
    starts = offsets[record] + piece.start
    placed = Placed(piece.owner, offsets[record], offsets[record + 1], starts, starts + piece.length, row)
    return side_by_side(ids, np.ones(ids.size, np.bool_), np.asarray(order, np.int64), placed, context, end)


def windows_of_rounds(
    offsets: Ints,
    ids: npt.NDArray[np.uint32],
    learned: npt.NDArray[np.bool_],
    order: Ints,
    context: int,
    end: int,
    *,
    packing: Packing = "next_fit",
    rng: np.random.Generator | None = None,
    stage: npt.ArrayLike | None = None,
) -> tuple[Windows, Ints]:
    """Dialogues side by side, whole; one that is longer than a window is cut between its rounds.

    A round goes up to the end of a stretch of learned tokens, an answer; so no answer is cut, and none is parted from
    the question before it. A later piece begins as a dialogue does and does not see the rounds before it. What follows
    the last answer teaches nothing and is left away.

    Args:
        learned: which ids are learned, aligned with `ids`: a target elsewhere is `IGNORED`.
        packing, rng, stage: see `rows_of`; `stage` is of each place of the order.

    Returns:
        The windows, whose documents are numbered by pieces, and the records of the order that are left out, ascending,
        because one of their rounds is longer than a window.
    """
    ends = np.flatnonzero(learned & ~np.append(learned[1:], False)) + 1
    bounds = np.union1d(offsets, ends)  # a record's end parts two answers that lie side by side
    sizes = np.diff(bounds)
    sizes[~np.append(learned, False)[bounds[1:] - 1]] = 0
    units = np.searchsorted(bounds, offsets)
    counts = np.diff(units)[order]
    unit = np.repeat(units[:-1][order] - np.cumsum(counts) + counts, counts) + np.arange(counts.sum())
    piece, out = cut_between(np.concatenate([[0], np.cumsum(counts)]), sizes[unit], context)
    row = rows_of(piece.length, context, packing, rng, None if stage is None else np.asarray(stage)[piece.owner])
    record = np.asarray(order, np.int64)[piece.owner]
    starts = offsets[record] + piece.start
    placed = Placed(np.arange(record.size), starts, np.full(record.size, -1), starts, starts + piece.length, row)
    return side_by_side(ids, learned, record, placed, context, end), np.unique(np.asarray(order, np.int64)[out])


def windows_to_score(
    offsets: Ints, ids: npt.NDArray[np.uint32], context: int, end: int, scored: npt.NDArray[np.bool_] | None = None
) -> Windows:
    """Every record once, each at the start of its own stretch; those longer than `context` are cut into pieces.

    A later piece is predicted from the token before it on. Nothing predicts the end of a record. Pieces are packed by
    best fit, longest first, so that windows are full.

    Args:
        scored: which ids count, aligned with `ids`; all when None.
    """
    piece = cut(np.diff(offsets), context)
    begins = offsets[piece.owner]
    starts = begins + piece.start
    row = best_fit_decreasing(piece.length, context)
    placed = Placed(piece.owner, begins, np.full(row.size, -1), starts, starts + piece.length, row)
    learned = np.ones(ids.size, np.bool_) if scored is None else scored
    return side_by_side(ids, learned, np.arange(offsets.size - 1), placed, context, end)


def rows_of(
    lengths: Ints,
    context: int,
    packing: Packing,
    rng: np.random.Generator | None = None,
    stage: npt.ArrayLike | None = None,
) -> Ints:
    """The window of each piece, given in reading order, (n,).

    ``next_fit`` keeps the order and fills least. The other two fill windows of pieces that are read at about the same
    time: the order is taken in stretches of about `STRETCH` windows, each is packed by itself, and its windows come in
    random order, or the longest pieces would be read first. So no piece is read further than about a stretch from its
    place, and copies of a record stay about as far apart as they were.

    Args:
        packing: ``next_fit``, ``best_fit`` or ``first_fit``; see `kernels.packing`.
        rng: where the order of the windows is drawn; ``next_fit`` draws nothing.
        stage: of each piece; stretches end where it changes, so that no window of one lies in another.

    Raises:
        ValueError: when a piece is longer than `context`, or nothing is given to draw from.
    """
    if packing == "next_fit":
        return next_fit(lengths, context)
    if rng is None:
        raise ValueError(f"{packing} reads windows in random order; give an rng, or pack by next_fit")
    packer = best_fit_decreasing if packing == "best_fit" else first_fit_decreasing
    stages = np.zeros(lengths.size, np.int64) if stage is None else np.asarray(stage)
    ends = [0, *(np.flatnonzero(stages[1:] != stages[:-1]) + 1).tolist(), lengths.size]
    rows, done = np.empty(lengths.size, np.int64), 0
    for first, last in pairwise(ends):
        reach = np.cumsum(lengths[first:last])
        total = int(reach[-1]) if reach.size else 0
        parts = max(1, round(total / (STRETCH * context)))
        inner = np.searchsorted(reach, total * np.arange(1, parts) / parts).tolist()
        for a, b in pairwise([0, *inner, last - first]):
            some = slice(first + a, first + b)
            rows[some] = shuffled(packer(lengths[some], context), rng) + done
            done = int(rows[some].max(initial=done - 1)) + 1
    return rows


def side_by_side(
    ids: npt.NDArray[np.uint32],
    learned: npt.NDArray[np.bool_],
    order: Ints,
    placed: Placed,
    context: int,
    end: int,
) -> Windows:
    """Windows of pieces that lie side by side, in the order given; see `kernels.packing.Placed` and `lay`.

    Args:
        order: the record of each document number.
    """
    shape = (int(placed.row.max(initial=-1)) + 1, context)
    inputs = np.full(shape, end, np.int32)
    targets = np.full(shape, IGNORED, np.int32)
    documents = np.full(shape, -1, np.int32)
    lay(ids, np.asarray(learned, np.bool_), placed, end, inputs, targets, documents)
    return Windows(inputs, targets, documents, order)


def padded(
    offsets: Ints, ids: npt.NDArray[np.uint32], rows: npt.ArrayLike, longest: int, fill: int = 0
) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """Some records as one array, each cut to `longest` tokens, and which positions are real, both (rows, T)."""
    some = np.asarray(rows, np.int64)
    lengths = np.minimum(np.diff(offsets)[some], longest)
    width = max(1, int(lengths.max(initial=0)))
    real = np.arange(width) < lengths[:, None]
    out = np.full((some.size, width), fill, np.int64)
    out[real] = ids[(offsets[:-1][some][:, None] + np.arange(width))[real]]
    return out, real


def by_length(lengths: npt.ArrayLike, size: int) -> Iterator[Ints]:
    """Positions in batches of like length, so that little is filled up; only for work whose order does not matter."""
    order = np.argsort(np.asarray(lengths), kind="stable")
    for start in range(0, order.size, size):
        yield order[start : start + size]


def _filled(values: npt.NDArray[np.int32], rows: int, context: int, fill: int) -> npt.NDArray[np.int32]:
    out = np.full(rows * context, fill, np.int32)
    out[: values.size] = values
    return out.reshape(rows, context)
