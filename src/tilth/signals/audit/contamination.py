"""Contamination: how much of an evaluation item does a record contain?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal
from tilth.core.errors import UsageError
from tilth.kernels.overlap import Index, overlaps

__all__ = ["Contamination", "overlapping", "report"]


class Contamination(Signal[tuple[Index, list[str]]]):
    """The per-instance n-gram rule of TÜLU 3: an item's token is matched when an n-gram that contains it is in the
    record; the record overlaps the item when more than half of its tokens are matched (arXiv 2411.15124).

    The rule is per record: many records that each share a little with an item are no overlap, which a union over the
    pool would report. Items shorter than the n-gram must occur whole. `overlap` is the measure and `hit` the
    published definition (`share` 0.5); a policy may cut elsewhere. Records of several fields are compared by their
    rendered text, all turns of a dialogue included, which is stricter than the paper's user turns.
    Cost: one pass at reading speed. Trap: a paraphrase or a translation shares no n-gram and is not found.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> item = "a farmer sows twelve rows of beans and harvests nine of them before the frost"
    >>> pool = TablePool(pa.table({"text": [f"Question: {item}!", "a farmer sows twelve rows of corn", item.upper()]}))
    >>> holdout = TablePool(pa.table({"id": ["q1"], "text": [item]}))
    >>> scored = score_in_memory(Contamination(), pool, Goal(holdout, holdout, Budget(1)))
    >>> scored.column("contamination.hit").to_pylist()
    [True, False, True]
    """

    paper: ClassVar[str] = ""
    version: ClassVar[int] = 2  # 2: words are hashed another way
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target", "holdout")

    against: Literal["holdout", "target", "both"] = Field("holdout", description="which items must not be contained")
    ngram: int = Field(8, ge=1, le=64, description="tokens that must agree in a row")
    tokens: Literal["normalised", "exact"] = Field(
        "normalised", description="lower-cased words without punctuation, or words exactly as written"
    )
    share: float = Field(0.5, ge=0, lt=1, description="share of an item's tokens above which it is a hit")

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"overlap": pa.float32(), "item": pa.string(), "items": pa.int32(), "hit": pa.bool_()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> tuple[Index, list[str]]:
        if goal is None:
            raise UsageError("contamination compares with the goal's items; state a goal with a holdout.")
        sides = {"holdout": [goal.holdout], "target": [goal.target], "both": [goal.holdout, goal.target]}[self.against]
        tables = [side.table(["id", "text"]) for side in sides]
        ids = [str(i) for table in tables for i in table.column("id").to_pylist()]
        chunks = [chunk.cast(pa.large_string()) for table in tables for chunk in table.column("text").chunks]
        texts = pa.chunked_array(chunks, pa.large_string())
        return Index.of(texts, self.ngram, "words" if self.tokens == "normalised" else "exact"), ids

    def score(self, batch: pa.RecordBatch, state: tuple[Index, list[str]], run: Run) -> Columns:
        index, ids = state
        overlap, item, items = overlaps(batch.column("text"), index)
        names = pa.array([ids[i] if i >= 0 else None for i in item.tolist()], pa.string())
        return {"overlap": overlap, "item": names, "items": items, "hit": overlap > self.share}


def overlapping(a: Pool, b: Pool, ngram: int = 8, share: float = 0.5) -> pa.Table:
    """Pairs (a_id, b_id, overlap) where a record of `a` contains more than `share` of an item of `b`."""
    table, items = a.table(["id", "text"]), b.table(["id", "text"])
    overlap, item, _ = overlaps(table.column("text"), Index.of(items.column("text"), ngram, "words"))
    rows = np.flatnonzero(overlap > share)
    ids = items.column("id").to_pylist()
    return pa.table(
        {
            "a_id": table.column("id").take(pa.array(rows, pa.int64())),
            "b_id": pa.array([ids[i] for i in item[rows].tolist()], pa.string()),
            "overlap": pa.array(overlap[rows]),
        }
    )


def report(pool: Pool, column: str = "contamination", examples: int = 3) -> pa.Table:
    """Per evaluation item with any match: records that name it, hits, largest overlap, examples."""
    found: dict[str, dict[str, Any]] = {}
    for batch in pool.batches(["id", f"{column}.item", f"{column}.overlap", f"{column}.hit"]):
        rows = batch.filter(pc.is_valid(batch.column(1)))
        for name, item, overlap, hit in zip(*(c.to_pylist() for c in rows.columns), strict=True):
            row = found.setdefault(item, {"item": item, "records": 0, "hits": 0, "overlap": 0.0, "examples": []})
            row["records"] += 1
            row["hits"] += bool(hit)
            row["examples"] = sorted([*row["examples"], (-overlap, name)])[:examples]
            row["overlap"] = max(row["overlap"], overlap)
    rows_ = sorted(found.values(), key=lambda r: (-r["overlap"], r["item"]))
    kind = pa.schema(
        [
            ("item", pa.string()),
            ("records", pa.int64()),
            ("hits", pa.int64()),
            ("overlap", pa.float64()),
            ("examples", pa.list_(pa.string())),
        ]
    )
    return pa.Table.from_pylist([r | {"examples": [name for _, name in r["examples"]]} for r in rows_], kind)
