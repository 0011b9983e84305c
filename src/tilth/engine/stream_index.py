"""The order of a stream on disk: which piece of which record lies in which window."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self, cast

import numpy as np
import numpy.typing as npt

from tilth.core.errors import UsageError
from tilth.core.files import no_space, write_atomic
from tilth.core.plan import Groups, Plan
from tilth.core.run import Run
from tilth.engine.token_cache import TokenCache
from tilth.kernels.packing import Pieces, best_fit_decreasing, cut, cut_between, first_fit_decreasing, shuffled
from tilth.kernels.windows import Before
from tilth.models.tokenizer import Tokenizer

__all__ = ["before", "index", "opened"]

Ints = npt.NDArray[np.int64]
BUFFER: Final = 8192  # readings packed together: no record moves further than that from its place in the plan's order
TYPES: Final = {"begins": np.int64, "places": np.int32, "starts": np.int64, "lengths": np.int32}
TOLD: Final = {"before_ids": np.uint32, "before_starts": np.int64, "before_lengths": np.int32}  # of prefixes
ROOM: Final = 2  # a prefix may take one part in so many of a window


def index(plan: Plan, cache: TokenCache, folder: Path, told: Mapping[str, Any], tokenizer: Tokenizer, run: Run) -> None:
    """Write ``begins``, ``places``, ``starts`` and ``lengths`` as arrays, and ``facts.json``, last.

    ``begins`` (windows + 1,) says which pieces lie in a window; of each piece ``places`` is the record in the cache,
    ``starts`` where the piece begins in the cache's ids, ``lengths`` how long it is. Of a conditioned plan there are
    ``before_ids``, the tokens of all prefixes, and of each piece where in them its own begins and how long it is.

    Raises:
        UsageError: when a prefix takes more than half a window.
    """
    context, packing = int(told["context"]), str(told["packing"])
    rows, _ = replace(plan, steering=None).reading_order(run)  # a steered plan is read group by group
    groups = (plan.steering.groups if plan.steering is not None else plan.sources) if told["grouped"] else None
    facts: dict[str, Any] = {"readings": int(rows.size), "tokens": 0, "windows": 0, "cut": 0, "left_out": 0}
    facts |= {"tokens_left_out": 0, "tokens_before": 0, "groups": {}}
    known = _prefixes(plan, tokenizer, context)
    parts = []
    for name, mine in _parts(groups, rows):
        order = np.searchsorted(cache.rows, mine)
        lengths = np.diff(cache.offsets)[order]
        stands = known.lengths[mine]
        pieces, left_out, skipped = _pieces(cache, order, lengths, stands, context, packing)
        head, length, first = pieces.head, pieces.length, known.starts[mine][pieces.owner] + pieces.skipped
        window = _windows(pieces, plan.phase[mine], context, packing, run.at(name) if name else run)
        by = np.lexsort((pieces.owner, window))
        places = order[pieces.owner[by]]
        count = int(window.max(initial=-1)) + 1
        parts.append(
            (
                window[by] + facts["windows"],
                places,
                cache.offsets[places] + pieces.start[by],
                length[by],
                first[by],
                head[by],
            )
        )
        facts["windows"] += count
        facts["tokens"] += int(length.sum())
        facts["tokens_before"] += int(head.sum())
        facts["cut"] += int((np.bincount(pieces.owner, minlength=order.size) > 1).sum())
        facts["left_out"] += left_out
        facts["tokens_left_out"] += skipped
        if name:
            facts["groups"][name] = count
    facts["padding"] = 1 - (facts["tokens"] + facts["tokens_before"]) / max(facts["windows"] * context, 1)
    window, *others = (np.concatenate(column) for column in zip(*parts, strict=True))
    columns = [np.searchsorted(window, np.arange(facts["windows"] + 1)), *others[:3], known.ids, *others[3:]]
    kinds = TYPES | (TOLD if facts["tokens_before"] else {})
    arrays = dict(zip(kinds, columns, strict=False))
    folder.mkdir(parents=True, exist_ok=True)
    with no_space(folder):
        for name, array in arrays.items():
            np.save(folder / "array.tmp.npy", array.astype(kinds[name]))
            os.replace(folder / "array.tmp.npy", folder / f"{name}.npy")
        write_atomic(folder / "facts.json", json.dumps(facts).encode())


def opened(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays, mapped, and the facts."""
    facts = {"tokens_before": 0} | json.loads((folder / "facts.json").read_text())  # older ones know of none
    names = (*TYPES, *(TOLD if facts["tokens_before"] else ()))
    arrays = {name: cast(npt.NDArray[Any], np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names}
    return arrays, facts


def before(arrays: Mapping[str, npt.NDArray[Any]], some: Ints) -> Before:
    """What stands before these pieces."""
    if "before_ids" not in arrays:
        return Before.nothing(some.size, np.uint32)
    starts, lengths = arrays["before_starts"][some], arrays["before_lengths"][some].astype(np.int64)
    return Before(arrays["before_ids"], starts, lengths)


def _prefixes(plan: Plan, tokenizer: Tokenizer, context: int) -> Before:
    """What stands before each record of the plan, tokenized once for each tag."""
    if plan.conditioning is None:
        return Before.nothing(len(plan), np.uint32)
    offsets, ids = tokenizer.encode_batch(list(plan.conditioning.prefixes))
    tag = plan.conditioning.tags.index
    lengths = np.diff(offsets).astype(np.int64)
    longest = int(lengths[np.unique(tag[plan.kept])].max(initial=0))
    if longest * ROOM > context:
        raise UsageError(
            f"A prefix of this plan has {longest} tokens, and a window of {context} has room for {context // ROOM}. "
            f"Read longer windows, or shorten values and template in metadata_prefix."
        )
    return Before(ids, offsets[:-1][tag].astype(np.int64), lengths[tag])


def _parts(groups: Groups | None, rows: Ints) -> Iterator[tuple[str, Ints]]:
    """The readings of each group, in their order, or all of them under no name."""
    if groups is None:
        yield "", rows
        return
    for number, name in enumerate(groups.names):
        if (mine := rows[groups.index[rows] == number]).size:
            yield name, mine


@dataclass(frozen=True)
class _Cut:
    """Readings in pieces: whose each is, where it begins in the record and how long it is; and its prefix.

    Attributes:
        head: how many tokens of the record's prefix stand before the piece.
        skipped: how many of the prefix lie in a window before.
    """

    owner: Ints
    start: Ints
    length: Ints
    head: Ints
    skipped: Ints

    @classmethod
    def of(cls, pieces: Pieces, stands: Ints) -> Self:
        """Pieces that each have the whole prefix."""
        return cls(*pieces, stands[pieces.owner], np.zeros(pieces.owner.size, np.int64))


def _pieces(
    cache: TokenCache, order: Ints, lengths: Ints, stands: Ints, context: int, packing: str
) -> tuple[_Cut, int, int]:
    """The readings in pieces that fit a window; how many readings have none, and how many tokens are not read.

    Args:
        stands: tokens of each reading's prefix. Every piece has it, but in chunks, where it is part of the text that is
            cut.
    """
    if cache.learned is not None:
        if packing == "chunk":
            raise UsageError("Chunks would cut an assistant's turn in two. Pack dialogues by best_fit or first_fit.")
        pieces, lost = cut_between(*_rounds(cache, order, lengths, context), context)
        lost |= lengths == 0
        return _Cut.of(pieces, stands), int(lost.sum()), int(lengths[lost].sum())
    if packing == "chunk":
        whole = stands + lengths
        ends = np.cumsum(whole)
        begins = ends - whole
        first, last = begins // context, (ends - 1) // context
        owner = np.repeat(np.arange(order.size), last - first + 1)
        number = np.arange(owner.size) - np.repeat(np.cumsum(last - first + 1) - (last - first + 1), last - first + 1)
        edge = (first[owner] + number) * context
        begin = np.maximum(edge, begins[owner]) - begins[owner]
        end = np.minimum(edge + context, ends[owner]) - begins[owner]
        told = stands[owner]
        skipped, upto = np.minimum(begin, told), np.minimum(end, told)
        start = np.maximum(begin - told, 0)
        return _Cut(owner, start, np.maximum(end - told, 0) - start, upto - skipped, skipped), 0, 0
    if packing == "none":
        kept = np.minimum(lengths, context - stands)
        pieces = Pieces(np.arange(order.size), np.zeros(order.size, np.int64), kept)
        return _Cut.of(pieces, stands), 0, int((lengths - kept).sum())
    return _Cut.of(cut(lengths, context - stands), stands), 0, 0


def _rounds(cache: TokenCache, order: Ints, lengths: Ints, context: int) -> tuple[Ints, Ints]:
    """Of each dialogue the lengths of what must stay whole: all of it, or, where that is too long, its rounds."""
    assert cache.learned is not None
    rounds: dict[int, Ints] = {}
    for place in np.unique(order[lengths > context]).tolist():
        said = np.append(cache.learned[cache.offsets[place] : cache.offsets[place + 1]], 0).astype(np.int8)
        ends = np.flatnonzero(np.diff(said) == -1) + 1
        ends[-1] = said.size - 1  # what follows the last answer stays with it
        rounds[place] = np.diff(np.append(0, ends))
    sizes = [rounds.get(place, lengths[i : i + 1]) for i, place in enumerate(order.tolist())]
    return np.append(0, np.cumsum([part.size for part in sizes])), np.concatenate([np.zeros(0, np.int64), *sizes])


def _windows(pieces: _Cut, phase: npt.NDArray[np.int16], context: int, packing: str, run: Run) -> Ints:
    """The window of each piece."""
    length = pieces.head + pieces.length
    if packing == "chunk":
        return np.asarray((np.cumsum(length) - length) // context, np.int64)
    if packing == "none":
        return np.arange(pieces.owner.size)
    pack = {"best_fit": best_fit_decreasing, "first_fit": first_fit_decreasing}[packing]
    stage = phase[pieces.owner]
    turns = np.flatnonzero(np.diff(stage)) + 1
    window, base, part = np.zeros(pieces.owner.size, np.int64), 0, 0
    for start, end in itertools.pairwise([0, *turns.tolist(), stage.size]):
        for at in range(start, end, BUFFER):
            some = slice(at, min(at + BUFFER, end))
            bins = shuffled(pack(length[some], context), run.rng("windows", part))
            window[some] = base + bins
            base += int(bins.max(initial=-1)) + 1
            part += 1
    return window
