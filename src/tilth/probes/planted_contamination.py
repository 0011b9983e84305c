"""Evaluation items hidden in a pool, whole and in part, and lookalikes that are no leak."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Budget, Goal, Plan, Probe, Run, TablePool, World
from tilth.core.errors import DataError

__all__ = ["PlantedContamination"]

WORDS = 3000
WAYS = 5
PIECES = 8


class PlantedContamination(Probe):
    """A pool in which some records contain more than half of a holdout item: who finds them, and only them?

    Each item is planted in one of five ways: copied whole, 60 % of it, 40 % of it, all its words shuffled, or cut into
    eight pieces that stand in eight records. The first two are hits. The last is a trap for rules that add up what the
    whole pool shares with an item: no record holds more than an eighth of it. All other records are unrelated.
    The truth is ``truth.hit`` and ``truth.share``, the largest share of an item that the record repeats in one run.

    The mark is the F1 of a column of flags (a missing one is no flag), or of what a plan dropped. **Chance**: flagging
    everything gets 2h / (1 + h) with h the share of hits, at most 0.16; adding up over the pool gets 0.33. Trap:
    copies are verbatim here; paraphrases and translations are harder to find.

    >>> from tilth.core import Run
    >>> probe = PlantedContamination()
    >>> world = probe.build(120, Run())
    >>> truth = world.pool.column("truth").to_pylist()
    >>> sorted({round(t["share"], 2) for t in truth}), sum(t["hit"] for t in truth)
    ([0.0, 0.12, 0.4, 0.6, 1.0], 10)
    >>> probe.grade(world, [t["hit"] for t in truth]), round(probe.grade(world, [True] * 120), 2)
    (1.0, 0.15)
    """

    items: int = Field(40, ge=WAYS, description="items of the holdout, at most; a fifth is planted each way")
    length: int = Field(96, ge=64, le=10_000, description="words of an item; a planted record has about twice as many")

    def build(self, size: int, run: Run) -> World:
        rng = run.rng("planted_contamination")
        rounds = max(1, min(self.items // WAYS, size // (2 * (WAYS - 1 + PIECES))))
        holdout, planted = [], []
        for _ in range(rounds):
            items = rng.integers(0, WORDS, (WAYS, self.length))
            holdout += [*items]
            planted += self._planted(items, rng)
        clean = [(rng.integers(0, WORDS, 2 * self.length), 0) for _ in range(size - len(planted))]
        records = [*planted, *clean]
        records = [records[i] for i in rng.permutation(len(records))]
        share = np.array([words for _, words in records]) / self.length
        truth = pa.StructArray.from_arrays([pa.array(share > 0.5), pa.array(share)], ["hit", "share"])
        pool = TablePool(pa.table({"text": [_text(words) for words, _ in records], "truth": truth}))
        examples = [rng.integers(0, WORDS, self.length) for _ in holdout]
        target, exam = (TablePool(pa.table({"text": [_text(item) for item in side]})) for side in (examples, holdout))
        return World(pool, Goal(target, exam, Budget(len(records), "records")))

    def _planted(
        self, items: npt.NDArray[np.int64], rng: np.random.Generator
    ) -> list[tuple[npt.NDArray[np.int64], int]]:
        """The records of five items, each with the number of an item's words it repeats in a row."""
        whole, most, part, mixed, torn = items

        def amid(words: npt.NDArray[np.int64], repeated: int) -> tuple[npt.NDArray[np.int64], int]:
            around = rng.integers(0, WORDS, self.length)
            cut = int(rng.integers(0, self.length + 1))
            return np.concatenate([around[:cut], words, around[cut:]]), repeated

        def run_of(item: npt.NDArray[np.int64], count: int) -> tuple[npt.NDArray[np.int64], int]:
            start = int(rng.integers(0, self.length - count + 1))
            return amid(item[start : start + count], count)

        return [
            amid(whole, self.length),
            run_of(most, round(0.6 * self.length)),
            run_of(part, round(0.4 * self.length)),
            amid(rng.permutation(mixed), 0),
            *(amid(piece, piece.size) for piece in np.array_split(torn, PIECES)),
        ]

    def grade(self, world: World, answer: Any) -> float:
        hit = np.asarray(pc.struct_field(world.pool.column("truth"), "hit").to_pylist(), bool)
        flags = ~answer.kept if isinstance(answer, Plan) else _flags(answer)
        if flags.size != hit.size or not hit.any():
            raise DataError(
                f"planted_contamination grades one flag per record of a world with hits. Got {flags.size} flags for "
                f"{hit.size} records, {int(hit.sum())} of them hits."
            )
        return float(2 * (flags & hit).sum() / (flags.sum() + hit.sum()))


def _flags(values: Any) -> npt.NDArray[np.bool_]:
    rows = values.to_pylist() if isinstance(values, (pa.Array, pa.ChunkedArray)) else list(values)
    return np.array([bool(v) for v in rows], bool)


def _text(words: npt.NDArray[np.int64]) -> str:
    return " ".join(f"w{w}" for w in words)
