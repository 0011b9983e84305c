"""Batches: records become windows of tokens in the order a plan says, the same for the same plan and seed.

Texts are ``(offsets, ids)`` as `Tokenizer.encode_batch` returns them: record i is ``ids[offsets[i]:offsets[i + 1]]``.
The end token begins a document as an input and ends it as a target, so a first token is predicted from the end token
alone and never from the document that happens to lie before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Windows", "joined", "padded", "reading_order", "windows", "windows_of_whole", "windows_to_score"]

Ints = npt.NDArray[np.int64]
IGNORED = -1


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


def windows(
    offsets: Ints, ids: npt.NDArray[np.uint32], order: Ints, context: int, end: int, tokens: int | None = None
) -> Windows:
    """Documents one after another, cut every `context` tokens; the last window is filled up.

    Args:
        order: which records, one after another; see `reading_order`.
        end: the id between two documents.
        tokens: read at most this many, ends of documents counted.
    """
    lengths = np.diff(offsets)[order] + 1
    last = len(order) if tokens is None else int(np.searchsorted(np.cumsum(lengths), tokens)) + 1
    order, lengths = order[:last], lengths[:last]
    total = int(lengths.sum())
    starts = np.cumsum(lengths) - lengths
    document = np.repeat(np.arange(len(order), dtype=np.int32), lengths)
    within = np.arange(total) - starts[document] - 1
    begins = within < 0
    stream = np.full(total + 1, end, np.int32)  # the last document ends, too
    source = (offsets[:-1][order][document] + within)[~begins]
    stream[:-1][~begins] = ids[source]
    total = min(total, tokens or total)
    rows = -(-total // context)
    return Windows(
        _filled(stream[:total], rows, context, end),
        _filled(stream[1 : total + 1], rows, context, IGNORED),
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


def windows_of_whole(
    offsets: Ints,
    ids: npt.NDArray[np.uint32],
    learned: npt.NDArray[np.bool_],
    order: Ints,
    context: int,
    end: int,
) -> Windows:
    """Whole records in windows, never cut: a record that does not fit the rest of a window begins the next one.

    Args:
        learned: which ids are learned, aligned with `ids`: a target elsewhere is `IGNORED`.

    Raises:
        ValueError: when a record of the order is longer than `context`; leave it out or shorten it by whole turns.
    """
    lengths = np.diff(offsets)[order]
    if lengths.size and int(lengths.max()) > context:
        raise ValueError(f"a record of {int(lengths.max())} tokens does not fit a window of {context}")
    places = np.arange(len(order))
    begins = offsets[:-1][order]
    return _placed(ids, learned, np.asarray(order, np.int64), (places, begins, begins, begins + lengths), context, end)


def windows_to_score(
    offsets: Ints, ids: npt.NDArray[np.uint32], context: int, end: int, scored: npt.NDArray[np.bool_] | None = None
) -> Windows:
    """Every record once, each at the start of its own stretch; those longer than `context` are cut into pieces.

    A later piece is predicted from the token before it on. Nothing predicts the end of a record. Pieces of like length
    lie together, so that windows are full.

    Args:
        scored: which ids count, aligned with `ids`; all when None.
    """
    lengths = np.diff(offsets)
    pieces = -(-lengths // context)
    record = np.repeat(np.arange(lengths.size), pieces)
    number = np.arange(record.size) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    starts = offsets[:-1][record] + number * context
    stops = np.minimum(starts + context, offsets[1:][record])
    order = np.argsort(starts - stops, kind="stable")
    chosen = (record[order], offsets[:-1][record[order]], starts[order], stops[order])
    learned = np.ones(ids.size, np.bool_) if scored is None else scored
    return _placed(ids, learned, np.arange(lengths.size), chosen, context, end)


def _placed(
    ids: npt.NDArray[np.uint32],
    learned: npt.NDArray[np.bool_],
    order: Ints,
    pieces: tuple[Ints, Ints, Ints, Ints],
    context: int,
    end: int,
) -> Windows:
    """Pieces of records side by side: each is (place in the order, where its record begins, start, stop in `ids`)."""
    place, origin, starts, stops = pieces
    row = np.zeros(len(place), np.int64)
    column = np.zeros(len(place), np.int64)
    at, used = 0, 0
    for k, length in enumerate((stops - starts).tolist()):
        if used + length > context:
            at, used = at + 1, 0
        row[k], column[k] = at, used
        used += length
    lengths = stops - starts
    piece = np.repeat(np.arange(len(place)), lengths)
    within = np.arange(piece.size) - (np.cumsum(lengths) - lengths)[piece]
    source = starts[piece] + within
    rows = int(at + 1) if piece.size else 0
    cell = (row[piece], column[piece] + within)
    inputs = np.full((rows, context), end, np.int32)
    targets = np.full((rows, context), IGNORED, np.int32)
    documents = np.full((rows, context), -1, np.int32)
    first = source == origin[piece]
    inputs[cell] = np.where(first, end, ids[np.maximum(source - 1, 0)])
    targets[cell] = np.where(learned[source], ids[source].astype(np.int32), IGNORED)
    documents[cell] = place[piece]
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
