"""Domains: real sources, and a goal that is a known mixture of held-out pieces of some of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from pydantic import Field, field_validator

from tilth.core import Budget, Goal, Plan, Probe, Run, TablePool, World
from tilth.core.errors import BadInput, DataError, UsageError
from tilth.kernels.overlap import Index, overlaps

__all__ = ["LEAK", "NGRAM", "Domains"]

NGRAM = 8
LEAK = 0.2
"""A pool record may repeat at most this share of an item's words, in runs of at least `NGRAM` words."""
DRAWN = (0.6, 0.3, 0.1)
"""The planted shares where none are given: of three sources that the seed draws."""
OWN_GOAL = ("target", "holdout")
SUFFIXES = (".jsonl", ".jsonl.zst")


@dataclass(frozen=True)
class _Record:
    id: str
    document: str
    text: str


class Domains(Probe):
    """A planted mixture of real text: the pool is your own sources, the goal known shares of pieces held out of them.

    Every JSON Lines file of the folder is a source, except files called target and holdout. From records of the planted
    sources, pieces of one length are cut until target and holdout are filled by the planted shares, one piece per
    document. The document leaves the pool whole (a document is the part of an id before ``#``), and so does every
    record that repeats more than a fifth of a piece, so near copies do not leak either; two pieces share no more.
    The truth is ``truth.best``, the planted share of the record's source, and for a piece ``truth.of``, the record it
    was cut from. Tokens are counted as bytes / 4.

    `grade` takes a plan and returns 1 - half the L1 distance of its shares to the planted ones. **Chance** depends on
    the folder: on the example data natural shares score 0.25 to 0.30 and equal shares 0.35.
    Trap: the planted mixture is the one the goal was made of, not always the one that trains best: real sources teach
    one another, small ones run out (a plan that may repeat a source four times can be kept from the mark 1), and some
    are easy. In one of four worlds of the example data an n-gram model did better on natural shares than on the planted
    ones. A policy that is marked low here and wins the proof is right. Cost: reads the whole folder into memory.

    The default folder is looked for where you are and then in this project's repository; an installed package brings
    no data along.

    >>> from tilth.core import Plan, Run
    >>> from pathlib import Path
    >>> import json, tempfile
    >>> place = tempfile.TemporaryDirectory()
    >>> folder = Path(place.name)
    >>> for name in "abc":
    ...     rows = [{"text": " ".join(f"{name}{i}x{j}" for j in range(40))} for i in range(30)]
    ...     _ = (folder / f"{name}.jsonl").write_text("\\n".join(map(json.dumps, rows)))
    >>> probe = Domains(path=str(folder), shares={"a": 0.8, "b": 0.2}, items=5, piece=100)
    >>> world = probe.build(60, Run())
    >>> place.cleanup()
    >>> world.goal.target.shares("source"), world.pool.count
    ({'a': 0.8, 'b': 0.2}, 60)
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> round(probe.grade(world, start), 1), round(probe.grade(world, probe.planned(start, {"a": 4, "b": 1})), 1)
    (0.5, 1.0)
    """

    path: str = Field("examples/data", min_length=1, description="folder of .jsonl or .jsonl.zst files, one per source")
    shares: tuple[tuple[str, float], ...] = Field(
        (), description="source: share of the goal's items; empty draws three sources, .6 .3 .1, by the seed"
    )
    items: int = Field(20, ge=1, le=100_000, description="items of the target and of the holdout, each")
    piece: int = Field(600, ge=20, le=100_000, description="characters of an item; shorter records give none")
    budget: float = Field(0.25, gt=0, le=10, description="budget as a share of the pool's tokens")

    @field_validator("shares", mode="before")
    @classmethod
    def _pairs(cls, value: Any) -> Any:
        return tuple(value.items()) if isinstance(value, Mapping) else value

    @field_validator("shares")
    @classmethod
    def _usable(cls, value: tuple[tuple[str, float], ...]) -> tuple[tuple[str, float], ...]:
        names = [name for name, _ in value]
        if value and (len(set(names)) < len(names) or not all(0 < share < np.inf for _, share in value)):
            raise ValueError("shares are positive numbers, one per source")
        return value

    def build(self, size: int, run: Run) -> World:
        sources = _read(_folder(self.path))
        planted = self._planted(sources, run)
        total = sum(planted.values())
        counts = _counts({name: share / total for name, share in planted.items()}, self.items)
        best = {name: count / self.items for name, count in counts.items()}
        sides, used = self._pieces(sources, counts, run)
        pool = self._rest(sources, used, [*sides["target"], *sides["holdout"]], size, run)
        tokens = sum(_tokens(record.text) for _, record in pool)
        amount = max(1, int(tokens * self.budget))
        target, holdout = (
            _pool([(s, _Record(f"{side}{i}", r.id, r.text)) for i, (s, r) in enumerate(sides[side])], best, cut=True)
            for side in ("target", "holdout")
        )
        return World(_pool(pool, best), Goal(target, holdout, Budget(amount)))

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None or not isinstance(answer, Plan):
            raise DataError(f"domains grades a Plan for a world that it built. Got {type(answer).__name__}.")
        best = world.goal.target.shares("source")
        shares = answer.mixture()
        return float(1.0 - 0.5 * sum(abs(shares.get(s, 0.0) - best.get(s, 0.0)) for s in {*shares, *best}))

    @staticmethod
    def planned(plan: Plan, shares: Mapping[str, float]) -> Plan:
        """The plan filled by the given shares of the sources."""
        keys = Run().uniform(plan.ids, "key")
        return plan.mixed({"use": "domains"}, "given shares", shares, plan.sources, keys)

    def _planted(self, sources: Mapping[str, Sequence[_Record]], run: Run) -> dict[str, float]:
        if self.shares:
            missing = [name for name, _ in self.shares if name not in sources]
            if missing:
                raise UsageError(
                    f"domains plants shares of {', '.join(missing)}, but {self.path} has {', '.join(sources)}."
                )
            return dict(self.shares)
        wanted = 3 * round(DRAWN[0] * self.items)  # a third stays in the pool
        ready = [n for n, rows in sources.items() if len({r.document for r in rows if self._long(r)}) >= wanted]
        if len(ready) < len(DRAWN):
            raise DataError(
                f"domains draws {len(DRAWN)} sources with {wanted} documents of {self.piece} characters or more; "
                f"{self.path} has {len(ready)}. Lower items or piece, or state shares."
            )
        chosen = run.rng("domains", "sources").permutation(len(ready))[: len(DRAWN)]
        return {ready[i]: share for i, share in zip(chosen, DRAWN, strict=True)}

    def _long(self, record: _Record) -> bool:
        return len(record.text) >= self.piece

    def _pieces(
        self, sources: Mapping[str, Sequence[_Record]], counts: Mapping[str, int], run: Run
    ) -> tuple[dict[str, list[tuple[str, _Record]]], set[tuple[str, str]]]:
        """The pieces of target and holdout, no two alike, and the documents they were cut from."""
        sides: dict[str, list[tuple[str, _Record]]] = {side: [] for side in OWN_GOAL}
        used: set[tuple[str, str]] = set()
        taken: set[tuple[str, ...]] = set()
        for source, count in counts.items():
            rng = run.rng("domains", "pieces", source)
            rows = [r for r in sources[source] if self._long(r)]
            found: list[_Record] = []
            for i in rng.permutation(len(rows)).tolist():
                if len(found) == 2 * count:
                    break
                text = _cut(rows[i].text, self.piece, rng)
                grams = _grams(text)
                if (source, rows[i].document) in used or len(grams & taken) > LEAK * len(grams):
                    continue
                used.add((source, rows[i].document))
                taken |= grams
                found.append(_Record(rows[i].id, rows[i].document, text))
            if len(found) < 2 * count:
                raise DataError(
                    f"domains needs {2 * count} pieces of {self.piece} characters from different documents of "
                    f"{source}; {self.path} has {len(found)}. Lower items or piece, or the source's share."
                )
            sides["target"] += [(source, r) for r in found[:count]]
            sides["holdout"] += [(source, r) for r in found[count:]]
        return sides, used

    def _rest(
        self,
        sources: Mapping[str, Sequence[_Record]],
        used: set[tuple[str, str]],
        pieces: Sequence[tuple[str, _Record]],
        size: int,
        run: Run,
    ) -> list[tuple[str, _Record]]:
        """About `size` records in the sources' natural shares, none with a piece or most of one in it."""
        left = [(s, r) for s, rows in sources.items() for r in rows if (s, r.document) not in used]
        order = run.rng("domains", "pool").permutation(len(left))
        index = Index.of(pa.array([r.text for _, r in pieces], pa.large_string()), NGRAM, "words")
        kept: list[int] = []
        for start in range(0, len(left), max(256, size)):
            rows = order[start : start + max(256, size)]
            shared, _, _ = overlaps(pa.array([left[i][1].text for i in rows], pa.large_string()), index)
            kept += rows[shared <= LEAK].tolist()
            if len(kept) >= size:
                break
        if not kept:
            raise DataError(f"domains leaves no record for the pool in {self.path}. Lower items, or give more text.")
        return [left[i] for i in sorted(kept[:size])]


def _folder(path: str) -> Path:
    places = [Path(path)]
    if not places[0].is_absolute():
        places.append(Path(__file__).parents[3] / path)
    for place in places:
        if place.is_dir():
            return place
    raise UsageError(
        f"domains needs a folder of .jsonl or .jsonl.zst files, one per source; there is none at {path}. "
        f"State path=FOLDER, or run in a copy of the project's repository, whose examples/data is the default."
    )


def _read(folder: Path) -> dict[str, list[_Record]]:
    """Source -> its records, by name; the files' own order."""
    sources = {}
    for file in sorted(folder.iterdir()):
        name = file.name.split(".")[0]
        if not file.name.endswith(SUFFIXES) or name in OWN_GOAL:
            continue
        if name in sources:
            raise BadInput(f"{folder} has two files for the source {name}; keep one of them.")
        sources[name] = [*_records(file, name)]
    if not sources:
        raise DataError(f"{folder} has no .jsonl or .jsonl.zst file that is a source for domains.")
    return sources


def _records(file: Path, source: str) -> Iterable[_Record]:
    raw = file.read_bytes()
    if file.name.endswith(".zst"):
        import zstandard

        with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
            raw = stream.read()
    for number, line in enumerate(raw.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            raise BadInput(f"{file} line {number} is not JSON ({error}); domains reads one object per line.") from None
        if not isinstance(row, dict) or not isinstance(row.get("text"), str):
            raise BadInput(f"{file} line {number} has no text; domains reads records with a field 'text'.")
        yield _Record(f"{source}:{number}", str(row.get("id", number)).split("#")[0], row["text"])


def _cut(text: str, length: int, rng: np.random.Generator) -> str:
    """At most `length` characters from a random place, whole words where there are spaces."""
    start = int(rng.integers(0, len(text) - length + 1))
    piece = text[start : start + length]
    if start and not text[start - 1].isspace():
        piece = re.sub(r"\A\S{1,40}\s+", "", piece)
    if start + length < len(text) and not text[start + length].isspace():
        piece = re.sub(r"\s+\S{1,40}\Z", "", piece)
    return piece.strip()


def _grams(text: str) -> set[tuple[str, ...]]:
    words = re.findall(r"\w+", text.lower())
    n = min(NGRAM, max(1, len(words)))
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def _pool(rows: Sequence[tuple[str, _Record]], best: Mapping[str, float], cut: bool = False) -> TablePool:
    truth = pa.struct([("best", pa.float64()), ("of", pa.string())])
    return TablePool(
        pa.table(
            {
                "id": [r.id for _, r in rows],
                "text": pa.array([r.text for _, r in rows], pa.string()),
                "source": pa.array([s for s, _ in rows], pa.string()),
                "truth": pa.array(
                    [{"best": best.get(s, 0.0), "of": r.document if cut else None} for s, r in rows], truth
                ),
                "tokens": pa.array([{"count": _tokens(r.text)} for _, r in rows], pa.struct([("count", pa.int32())])),
            }
        )
    )


def _tokens(text: str) -> int:
    return max(1, len(text.encode("utf-8", "replace")) // 4)


def _counts(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Whole numbers that sum to `total`, as near to the shares as can be."""
    exact = {name: share * total for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    left = total - sum(counts.values())
    for name in sorted(exact, key=lambda n: counts[n] - exact[n])[:left]:
        counts[name] += 1
    return counts
