"""The order of a stream on disk: which piece of which record lies in which window."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadInput, PoolCorrupt, UsageError
from tilth.core.files import no_space, write_atomic
from tilth.core.plan import Groups, Plan
from tilth.core.run import Run
from tilth.engine.sums import Sums, sums
from tilth.engine.token_cache import TokenCache
from tilth.kernels.interleave import balanced
from tilth.kernels.packing import Pieces, best_fit_decreasing, cut, cut_between, first_fit_decreasing
from tilth.kernels.windows import Before
from tilth.models import buckets
from tilth.models.tokenizer import Tokenizer

__all__ = ["Order", "index"]

Ints = npt.NDArray[np.int64]
VERSION: Final = 4
BUFFER: Final = 8192  # pieces packed together: none moves further than that from its place in the plan's order
ORDERED: Final = 32  # windows packed together, or those of a step, where ranks say what is read when
STEPS: Final = {"steps": np.int64, "widths": np.int32}
PIECES: Final = {"places": np.int32, "starts": np.int64, "lengths": np.int32}
TYPES: Final = {"begins": np.int64, **PIECES}
PREFIXES: Final = {"before_starts": np.int64, "before_lengths": np.int32}  # of each piece of a conditioned plan
KINDS: Final = TYPES | STEPS | PREFIXES | {"before_ids": np.uint32}
ROOM: Final = 2  # a prefix may take one part in so many of a window


@dataclass(frozen=True)
class Order:
    """The order of an epoch, mapped from disk.

    Attributes:
        arrays: see `index`.
        facts: what is told of it.
        sums: what the files were when written.
    """

    arrays: Mapping[str, npt.NDArray[Any]]
    facts: Mapping[str, Any]
    sums: Sums

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open a finished order. Sizes and what says where steps begin are checked, the rest as it is read.

        Raises:
            PoolCorrupt: when there is none, or it is not what was written.
        """
        try:
            facts = json.loads((folder / "facts.json").read_text())
            found = Sums(folder, facts.pop("files"))
            found.sizes()
            names = [name for name in KINDS if f"{name}.npy" in found.files]
            for name in (*STEPS, *({"before_ids"} & {*names})):
                found.whole(f"{name}.npy")
            for name in {*names, *TYPES}:
                found.check(f"{name}.npy", np.array([0]), np.array([1]))  # what numpy says of the array
            arrays = {name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names}
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            raise PoolCorrupt(f"{folder} holds no complete order ({error}). It is made anew when asked for.") from None
        return cls(arrays, facts, found)

    def check(self, which: Ints) -> None:
        """Compare the blocks that say what lies in these windows with their checksums, each the first time.

        Raises:
            PoolCorrupt: when a block is not what was written.
        """
        names = [name for name in (*TYPES, *PREFIXES) if name in self.arrays]
        if self.sums.known(*(f"{name}.npy" for name in names)):
            return
        self._check("begins", which, which + 2)
        for name in (*PIECES, *({*PREFIXES} & {*self.arrays})):
            self._check(name, self.arrays["begins"][which], self.arrays["begins"][which + 1])

    def whole(self) -> None:
        """Compare everything; see `check`."""
        for name in self.arrays:
            self.sums.whole(f"{name}.npy")

    def before(self, some: Ints) -> Before:
        """What stands before these pieces."""
        if "before_ids" not in self.arrays:
            return Before.nothing(some.size, np.uint32)
        starts, lengths = self.arrays["before_starts"][some], self.arrays["before_lengths"][some].astype(np.int64)
        return Before(self.arrays["before_ids"], starts, lengths)

    def _check(self, name: str, starts: Ints, stops: Ints) -> None:
        array = self.arrays[name]
        head = self.sums.files[f"{name}.npy"]["bytes"] - array.nbytes
        self.sums.check(f"{name}.npy", starts * array.itemsize + head, stops * array.itemsize + head)


def index(plan: Plan, cache: TokenCache, folder: Path, told: Mapping[str, Any], tokenizer: Tokenizer, run: Run) -> None:
    """Write the arrays, and ``facts.json`` with their checksums, last.

    ``begins`` (windows + 1,) says which pieces lie in a window; of each piece ``places`` is the record in the cache,
    ``starts`` where the piece begins in the cache's ids, ``lengths`` how long it is. ``steps`` (steps + 1,) says which
    windows a step reads, over all ranks, ``widths`` how wide they are. Of a conditioned plan there are ``before_ids``,
    the tokens of all prefixes, and of each piece where in them its own begins and how long it is.

    Raises:
        BadInput: when there is no window to read.
        UsageError: when this plan or these records cannot be packed so.
    """
    context, packing = int(told["context"]), str(told["packing"])
    if told["buckets"] is not None:
        _bucketed(plan, cache, folder, told, run)
        return
    rows, _ = replace(plan, steering=None).reading_order(run)  # a steered plan is read group by group
    groups = (plan.steering.groups if plan.steering is not None else plan.sources) if told["grouped"] else None
    facts: dict[str, Any] = {"readings": int(rows.size), "tokens": 0, "windows": 0, "cut": 0, "left_out": 0}
    facts |= {"tokens_left_out": 0, "tokens_before": 0, "groups": {}}
    known = _prefixes(plan, tokenizer, context)
    if groups is not None and (np.unique(plan.phase[rows]).size > 1 or not np.isnan(plan.rank[rows]).all()):
        raise UsageError("Groups are read by their shares; this plan has phases or ranks, which that would drop.")
    if cache.learned is None:
        empty = np.diff(cache.offsets)[np.searchsorted(cache.rows, rows)] <= 1  # nothing but the end token
        facts["left_out"], facts["tokens_left_out"] = int(empty.sum()), int(empty.sum())
        rows = rows[~empty]
    parts = []
    for name, mine in _parts(groups, rows):
        order = np.searchsorted(cache.rows, mine)
        lengths = np.diff(cache.offsets)[order]
        pieces, left_out, skipped = _pieces(cache, order, lengths, known.lengths[mine], context, packing)
        room = max(int(told["batch"]), ORDERED) * context if not np.isnan(plan.rank[mine]).all() else None
        phase, source = plan.phase[mine], plan.sources.index[mine]
        window = _windows(pieces, phase, source, context, packing, room, run.at(name) if name else run)
        by = np.lexsort((pieces.owner, window))
        places = order[pieces.owner[by]]
        first = known.starts[mine][pieces.owner] + pieces.skipped
        columns = (pieces.length[by], first[by], pieces.head[by])
        parts.append((window[by] + facts["windows"], places, cache.offsets[places] + pieces.start[by], *columns))
        facts["windows"] += int(window.max(initial=-1)) + 1
        facts["tokens"] += int(pieces.length.sum())
        facts["tokens_before"] += int(pieces.head.sum())
        facts["cut"] += int((np.bincount(pieces.owner, minlength=order.size) > 1).sum())
        facts["left_out"] += left_out
        facts["tokens_left_out"] += skipped
        if name:
            facts["groups"][name] = int(window.max(initial=-1)) + 1
    facts["padding"] = 1 - (facts["tokens"] + facts["tokens_before"]) / max(facts["windows"] * context, 1)
    window, *others = (np.concatenate(column) for column in zip(*parts, strict=True))
    arrays = dict(zip(TYPES, (np.searchsorted(window, np.arange(facts["windows"] + 1)), *others[:3]), strict=True))
    if facts["tokens_before"]:
        arrays |= {"before_ids": known.ids, "before_starts": others[3], "before_lengths": others[4]}
    # Steps of as many windows as one another, to within one: a last step of few would leave ranks without any.
    steps = -(-facts["windows"] // told["batch"])
    first = np.arange(steps + 1) * facts["windows"] // max(steps, 1)
    _write(folder, arrays | {"steps": first, "widths": np.full(first.size - 1, context)}, facts)


def _write(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
    if not facts["windows"]:
        raise BadInput(
            f"None of the {facts['readings']:,} readings has a piece to read: empty records are left out, dialogues "
            f"where a round is longer than the context, in buckets what is shorter than the shortest."
        )
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    with no_space(folder):
        for name, array in arrays.items():
            np.save(folder / "array.tmp.npy", array.astype(KINDS[name]))
            files[f"{name}.npy"] = sums(folder / "array.tmp.npy")
            os.replace(folder / "array.tmp.npy", folder / f"{name}.npy")
        write_atomic(folder / "facts.json", json.dumps({**facts, "files": files}).encode())


def _bucketed(plan: Plan, cache: TokenCache, folder: Path, told: Mapping[str, Any], run: Run) -> None:
    """The index of dataset decomposition: sequences of one record and 2^k + 1 tokens, one k for each step."""
    if cache.learned is not None:
        raise UsageError("Buckets would cut an assistant's turn in two. Pack dialogues by best_fit or first_fit.")
    if np.unique(plan.phase[plan.kept]).size > 1 or not np.isnan(plan.rank[plan.kept]).all():
        raise UsageError(
            "Buckets have an order of their own, by length; this plan has phases or ranks. Pack otherwise."
        )
    plan.require_plain("A stream in buckets")
    rows, _ = replace(plan, steering=None).reading_order(run)
    order = np.searchsorted(cache.rows, rows)
    lengths = np.diff(cache.offsets)[order]
    least, most = int(told["buckets"]["shortest"]).bit_length() - 1, int(told["context"]).bit_length() - 1
    made = buckets.cut(lengths, least, most, run.rng("cut"))
    plan_of = buckets.schedule(
        made, told["batch"] << most, run.rng("schedule"), told["buckets"]["curriculum"], told["buckets"]["cycles"]
    )
    places = order[made.document[plan_of.rows]]
    sizes = made.sizes[plan_of.rows]
    arrays = {
        "begins": np.arange(plan_of.rows.size + 1),
        "places": places,
        "starts": cache.offsets[places] + made.start[plan_of.rows],
        "lengths": sizes,
        "steps": plan_of.starts,
        "widths": 2 ** plan_of.power.astype(np.int64) + 1,
    }
    read = int(sizes.sum())
    facts = {
        "readings": int(order.size),
        "tokens": read,
        "windows": int(sizes.size),
        "cut": int((np.bincount(made.document, minlength=order.size) > 1).sum()),
        "left_out": int(order.size - np.unique(made.document[plan_of.rows]).size),
        "tokens_left_out": int(lengths.sum()) - read,
        "tokens_before": 0,
        "groups": {},
        "padding": 0.0,
    }
    _write(folder, arrays, facts)


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


def _windows(
    pieces: _Cut,
    phase: npt.NDArray[np.int16],
    source: npt.NDArray[np.int32],
    context: int,
    packing: str,
    room: int | None,
    run: Run,
) -> Ints:
    """The window of each piece; where an order is to be kept, `room` says for how many tokens it may be lost.

    Packing puts like lengths side by side, so windows come in another order: at random, but so that the sources keep
    their shares all along.
    """
    length = pieces.head + pieces.length
    if packing == "chunk":
        return np.asarray((np.cumsum(length) - length) // context, np.int64)
    if packing == "none":
        return np.arange(pieces.owner.size)
    pack = {"best_fit": best_fit_decreasing, "first_fit": first_fit_decreasing}[packing]
    stage, kind = phase[pieces.owner], source[pieces.owner]
    turns = np.flatnonzero(np.diff(stage)) + 1
    window, base, part = np.zeros(pieces.owner.size, np.int64), 0, 0
    for start, end in itertools.pairwise([0, *turns.tolist(), stage.size]):
        for some in _stretches(length, start, end, room):
            rng = run.rng("windows", part)
            bins = balanced(pack(length[some], context), pieces.length[some], kind[some], rng)
            window[some] = base + bins
            base += int(bins.max(initial=-1)) + 1
            part += 1
    return window


def _stretches(lengths: Ints, start: int, end: int, room: int | None) -> Iterator[slice]:
    """Pieces packed together, whose windows come in another order: many, or of about so many tokens."""
    edges: Ints = np.arange(start, end, BUFFER)
    if room is not None and end > start:
        ends = np.cumsum(lengths[start:end])
        steps = np.searchsorted(ends, np.arange(0, int(ends[-1]), room), side="right")
        edges = np.unique(np.append(edges, start + steps))
    for first, last in itertools.pairwise([*edges.tolist(), end]):
        if last > first:
            yield slice(first, last)
