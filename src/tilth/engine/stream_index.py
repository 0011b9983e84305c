"""The order of a stream on disk: which piece of which record lies in which window."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import numpy.typing as npt

from tilth.core.errors import UsageError
from tilth.core.files import no_space, write_atomic
from tilth.core.plan import Groups, Plan
from tilth.core.run import Run
from tilth.engine.token_cache import TokenCache
from tilth.kernels.packing import Pieces, best_fit_decreasing, cut, cut_between, first_fit_decreasing, shuffled
from tilth.models import buckets

__all__ = ["index", "opened"]

Ints = npt.NDArray[np.int64]
BUFFER: Final = 8192  # readings packed together: no record moves further than that from its place in the plan's order
STEPS: Final = {"steps": np.int64, "widths": np.int32}
TYPES: Final = {"begins": np.int64, "places": np.int32, "starts": np.int64, "lengths": np.int32}


def index(plan: Plan, cache: TokenCache, folder: Path, told: Mapping[str, Any], run: Run) -> None:
    """Write the arrays, and ``facts.json``, last.

    ``begins`` (windows + 1,) says which pieces lie in a window; of each piece ``places`` is the record in the cache,
    ``starts`` where the piece begins in the cache's ids, ``lengths`` how long it is. ``steps`` (steps + 1,) says which
    windows a step reads, over all ranks, ``widths`` how wide they are.
    """
    context, packing = int(told["context"]), str(told["packing"])
    if told["buckets"] is not None:
        _bucketed(plan, cache, folder, told, run)
        return
    rows, _ = replace(plan, steering=None).reading_order(run)  # a steered plan is read group by group
    groups = (plan.steering.groups if plan.steering is not None else plan.sources) if told["grouped"] else None
    facts: dict[str, Any] = {"readings": int(rows.size), "tokens": 0, "windows": 0, "cut": 0, "left_out": 0}
    facts |= {"tokens_left_out": 0, "groups": {}}
    parts = []
    for name, mine in _parts(groups, rows):
        order = np.searchsorted(cache.rows, mine)
        lengths = np.diff(cache.offsets)[order]
        pieces, left_out, skipped = _pieces(cache, order, lengths, context, packing)
        window = _windows(pieces, plan.phase[mine], context, packing, run.at(name) if name else run)
        by = np.lexsort((pieces.owner, window))
        places = order[pieces.owner[by]]
        count = int(window.max(initial=-1)) + 1
        parts.append(
            (window[by] + facts["windows"], places, cache.offsets[places] + pieces.start[by], pieces.length[by])
        )
        facts["windows"] += count
        facts["tokens"] += int(pieces.length.sum())
        facts["cut"] += int((np.bincount(pieces.owner, minlength=order.size) > 1).sum())
        facts["left_out"] += left_out
        facts["tokens_left_out"] += skipped
        if name:
            facts["groups"][name] = count
    facts["padding"] = 1 - facts["tokens"] / max(facts["windows"] * context, 1)
    window, *others = (np.concatenate(column) for column in zip(*parts, strict=True))
    arrays = dict(zip(TYPES, (np.searchsorted(window, np.arange(facts["windows"] + 1)), *others), strict=True))
    first = np.minimum(np.arange(-(-facts["windows"] // told["batch"]) + 1) * told["batch"], facts["windows"])
    _write(folder, arrays | {"steps": first, "widths": np.full(first.size - 1, context)}, facts)


def opened(folder: Path) -> tuple[dict[str, npt.NDArray[Any]], dict[str, Any]]:
    """The arrays, mapped, and the facts."""
    names = (*TYPES, *STEPS)
    arrays = {name: cast(npt.NDArray[Any], np.load(folder / f"{name}.npy", mmap_mode="r")) for name in names}
    return arrays, json.loads((folder / "facts.json").read_text())


def _write(folder: Path, arrays: Mapping[str, npt.NDArray[Any]], facts: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with no_space(folder):
        for name, array in arrays.items():
            np.save(folder / "array.tmp.npy", array.astype((TYPES | STEPS)[name]))
            os.replace(folder / "array.tmp.npy", folder / f"{name}.npy")
        write_atomic(folder / "facts.json", json.dumps(facts).encode())


def _bucketed(plan: Plan, cache: TokenCache, folder: Path, told: Mapping[str, Any], run: Run) -> None:
    """The index of dataset decomposition: sequences of one record and 2^k + 1 tokens, one k for each step."""
    if cache.learned is not None:
        raise UsageError("Buckets would cut an assistant's turn in two. Pack dialogues by best_fit or first_fit.")
    if np.unique(plan.phase[plan.kept]).size > 1 or not np.isnan(plan.rank[plan.kept]).all():
        raise UsageError(
            "Buckets have an order of their own, by length; this plan has phases or ranks. Pack otherwise."
        )
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
        "groups": {},
        "padding": 0.0,
    }
    _write(folder, arrays, facts)


def _parts(groups: Groups | None, rows: Ints) -> Iterator[tuple[str, Ints]]:
    """The readings of each group, in their order, or all of them under no name."""
    if groups is None:
        yield "", rows
        return
    for number, name in enumerate(groups.names):
        if (mine := rows[groups.index[rows] == number]).size:
            yield name, mine


def _pieces(cache: TokenCache, order: Ints, lengths: Ints, context: int, packing: str) -> tuple[Pieces, int, int]:
    """The readings in pieces that fit a window; how many readings have none, and how many tokens are not read."""
    if cache.learned is not None:
        if packing == "chunk":
            raise UsageError("Chunks would cut an assistant's turn in two. Pack dialogues by best_fit or first_fit.")
        pieces, lost = cut_between(*_rounds(cache, order, lengths, context), context)
        lost |= lengths == 0
        return pieces, int(lost.sum()), int(lengths[lost].sum())
    if packing == "chunk":
        ends = np.cumsum(lengths)
        first, last = (ends - lengths) // context, (ends - 1) // context
        owner = np.repeat(np.arange(order.size), last - first + 1)
        number = np.arange(owner.size) - np.repeat(np.cumsum(last - first + 1) - (last - first + 1), last - first + 1)
        edge = (first[owner] + number) * context
        begin = np.maximum(edge, (ends - lengths)[owner])
        return Pieces(owner, begin - (ends - lengths)[owner], np.minimum(edge + context, ends[owner]) - begin), 0, 0
    if packing == "none":
        kept = np.minimum(lengths, context)
        return Pieces(np.arange(order.size), np.zeros(order.size, np.int64), kept), 0, int((lengths - kept).sum())
    return cut(lengths, context), 0, 0


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


def _windows(pieces: Pieces, phase: npt.NDArray[np.int16], context: int, packing: str, run: Run) -> Ints:
    """The window of each piece."""
    if packing == "chunk":
        return np.asarray((np.cumsum(pieces.length) - pieces.length) // context, np.int64)
    if packing == "none":
        return np.arange(pieces.owner.size)
    pack = {"best_fit": best_fit_decreasing, "first_fit": first_fit_decreasing}[packing]
    stage = phase[pieces.owner]
    turns = np.flatnonzero(np.diff(stage)) + 1
    window, base, part = np.zeros(pieces.owner.size, np.int64), 0, 0
    for start, end in itertools.pairwise([0, *turns.tolist(), stage.size]):
        for at in range(start, end, BUFFER):
            some = slice(at, min(at + BUFFER, end))
            bins = shuffled(pack(pieces.length[some], context), run.rng("windows", part))
            window[some] = base + bins
            base += int(bins.max(initial=-1)) + 1
            part += 1
    return window
