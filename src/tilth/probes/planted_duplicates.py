"""Texts of which some are copies of others, edited a little or a lot."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core.errors import DataError
from tilth.core.plan import Plan
from tilth.core.pool import TablePool
from tilth.core.probe import Probe, World
from tilth.core.run import Run

__all__ = ["EDITS", "PlantedDuplicates", "edited", "plant", "shuffled"]

EDITS: Final = (0.0, 0.05, 0.15, 0.3)
"""Shares of replaced words that are planted, all equally often."""
FOUND: Final = (0.0, 0.05)
"""The shares a detector of near-duplicates has to flag."""


class PlantedDuplicates(Probe):
    """A world in which a known share of the records are copies of earlier ones: who finds them, and only them?

    Words are drawn with frequencies that fall like 1 / rank, texts have 50 to 400 of them. A quarter of the copies are
    exact, the others have 5, 15 or 30 % of their words replaced by words of other texts. The truth is ``truth.base``
    (the id of the original, null for an original) and ``truth.edit``.

    The mark is the F1 of flags that should be true on the exact and the 5 % copies and false on the originals; the
    others do not count, as it is a matter of taste whether they are duplicates. A plan is graded by what it dropped.
    **Chance**: flagging everything gives 2c / (2 + c) of which c / (2 - c) is precision, that is 0.4 with the default
    share of copies c = 0.4; flagging nothing gives 0.
    Trap: these originals share no phrases; in real text, boilerplate makes originals look alike.

    >>> from tilth.core import Run
    >>> probe = PlantedDuplicates()
    >>> world = probe.build(200, Run())
    >>> truth = world.pool.column("truth").to_pylist()
    >>> sum(t["base"] is not None for t in truth), sum(t["edit"] == 0.3 for t in truth)
    (80, 20)
    >>> best = probe.grade(world, [t["base"] is not None and t["edit"] < 0.1 for t in truth])
    >>> best, probe.grade(world, [True] * 200), probe.grade(world, [False] * 200)
    (1.0, 0.4, 0.0)
    """

    copies: float = Field(0.4, gt=0, lt=1, description="share of records that are copies")
    vocabulary: int = Field(20_000, ge=100, description="distinct words there are")

    def build(self, size: int, run: Run) -> World:
        rng = run.rng("planted_duplicates")
        copies = min(size - 1, max(len(EDITS), round(self.copies * size)))
        originals = [self._text(rng) for _ in range(size - copies)]
        texts, base, edit = plant(originals, copies, rng)
        order = shuffled(base, rng)
        names = np.empty(size, object)
        names[order] = [f"r{i:08d}" for i in range(size)]
        bases = [names[base[i]] if base[i] >= 0 else None for i in order]
        truth = pa.StructArray.from_arrays([pa.array(bases, pa.string()), pa.array(edit[order])], ["base", "edit"])
        text = pa.array([texts[i] for i in order], pa.string())
        return World(TablePool(pa.table({"id": pa.array(names[order]), "text": text, "truth": truth})))

    def _text(self, rng: np.random.Generator) -> str:
        count = int(50 * 8 ** rng.random())
        return " ".join(f"w{r}" for r in np.floor(self.vocabulary ** rng.random(count)).astype(int).tolist())

    def grade(self, world: World, answer: Any) -> float:
        truth = world.pool.column("truth").to_pylist()
        flags = (~answer.kept).tolist() if isinstance(answer, Plan) else _plain(answer)
        if len(flags) != len(truth):
            raise DataError(
                f"planted_duplicates grades one flag per record. Got {len(flags)} flags for {len(truth)} records."
            )
        pairs = [
            (bool(flag), t["base"] is not None)
            for flag, t in zip(flags, truth, strict=True)
            if t["base"] is None or t["edit"] in FOUND
        ]
        hits = sum(flag and copy for flag, copy in pairs)
        return 2 * hits / max(1, sum(flag for flag, _ in pairs) + sum(copy for _, copy in pairs))


def _plain(values: Any) -> list[Any]:
    return values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else list(values)


def plant(
    texts: Sequence[str], copies: int, rng: np.random.Generator
) -> tuple[list[str], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """The texts and behind them `copies` of them; per text the number of its original (-1: is one) and its edit."""
    base = rng.integers(0, len(texts), copies)
    edit = np.array([EDITS[i % len(EDITS)] for i in range(copies)])
    made = [edited(texts[b], e, texts, rng) for b, e in zip(base.tolist(), edit.tolist(), strict=True)]
    none = np.full(len(texts), -1)
    return [*texts, *made], np.concatenate([none, base]), np.concatenate([np.zeros(len(texts)), edit])


def shuffled(base: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """A random order of what `plant` returns in which every copy comes somewhere behind its original."""
    place = rng.random(base.size)
    copied = base >= 0
    place[copied] = place[base[copied]] + (1 - place[base[copied]]) * place[copied]
    return np.argsort(place, kind="stable")


def edited(text: str, share: float, others: Sequence[str], rng: np.random.Generator) -> str:
    """The text with a share of its words, at least one unless it is 0, replaced by words of random other texts."""
    if share == 0:
        return text
    pieces = re.split(r"(\s+)", text)  # words and white space in turn
    words = [i for i, piece in enumerate(pieces) if i % 2 == 0 and piece]
    if not words:
        return text
    for i in rng.choice(words, max(1, round(share * len(words))), replace=False).tolist():
        donor = others[int(rng.integers(len(others)))].split() or ["x"]
        pieces[i] = donor[int(rng.integers(len(donor)))]
    return "".join(pieces)
