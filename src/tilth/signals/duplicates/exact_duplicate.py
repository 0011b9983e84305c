"""Exact duplicates: which records have the very same text?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Fragment, Goal, Pool, Run, Signal
from tilth.kernels.buffers import string_buffers
from tilth.kernels.hashing import hash_strings
from tilth.signals.duplicates._clusters import Clusters, Keys, equal_groups, keeper_order

__all__ = ["ExactDuplicate"]

Normalise = Literal["none", "whitespace_case"]


class ExactDuplicate(Signal[Clusters]):
    """Groups records whose text is the same, byte for byte, and says which one of each group to keep.

    `cluster` numbers the groups and is null for a record that is alone, `duplicate` is true for all of a group but
    the one to keep, `copies` is the size of the group. The one to keep is the first in the pool, or the one with the
    highest (`keep_high=False`: lowest) value of the column `keep`; records without a value come last. Texts are the
    same when two 64-bit hashes agree. ``whitespace_case`` compares them in lower case with every run of white space,
    as Unicode defines both, read as one space. An empty text, or a null, is never a duplicate.

    Cost: reading and hashing the text once; 24 bytes per record while it learns, then only what has copies.
    Trap: one changed character and it is another text; `minhash` finds those.

    >>> import pyarrow as pa
    >>> from tilth.core import TablePool
    >>> from tilth.engine.apply import score_in_memory
    >>> pool = TablePool(pa.table({"text": ["sow in May", "Sow  in May", "reap", "sow in May"]}))
    >>> score_in_memory(ExactDuplicate(), pool).column("exact_duplicate.duplicate").to_pylist()
    [False, False, False, True]
    >>> same = score_in_memory(ExactDuplicate(normalise="whitespace_case"), pool)
    >>> same.column("exact_duplicate.duplicate").to_pylist(), same.column("exact_duplicate.copies").to_pylist()
    ([False, True, False, True], [3, 3, 1, 3])
    """

    normalise: Normalise = Field("none", description="what is made equal before texts are compared")
    keep: str = Field("", description="column that decides which copy to keep; empty: the first in the pool")
    keep_high: bool = Field(True, description="keep the copy with the highest value of `keep`, else the lowest")

    @property
    def needs(self) -> Sequence[str]:
        return (*dict.fromkeys(("id", "text", *([self.keep] if self.keep else []))),)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"cluster": pa.int64(), "duplicate": pa.bool_(), "copies": pa.int32()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> Clusters:
        hashed = partial(_hashed, self.normalise, self.keep)
        parts = run.map(hashed, pool.fragments(), "hash texts")
        one, two, ids = (np.concatenate([np.zeros(0, np.uint64), *(part[i] for part in parts)]) for i in range(3))
        rank = None
        if self.keep and one.size:
            rank = np.argsort(keeper_order([chunk for part in parts for chunk in part[3]], self.keep_high))
        rows, cluster = equal_groups(one, two, rank)
        return Clusters.of(ids[rows], cluster, np.ones(rows.size, np.float32))

    def score(self, batch: pa.RecordBatch, state: Clusters, run: Run) -> Columns:
        found = state.columns(batch.column("id"))
        return {name: found[name] for name in self.makes}


def _hashed(normalise: Normalise, keep: str, fragment: Fragment) -> tuple[Keys, Keys, Keys, list[pa.Array]]:
    """Of the records that have a text: two hashes of it, the hash of their id, their value of the column `keep`."""
    empty = np.zeros(0, np.uint64)
    ones, twos, ids, values = [empty], [empty], [empty], []
    for batch in fragment.batches([*dict.fromkeys(("id", "text", *([keep] if keep else [])))]):
        texts = batch.column("text")
        if normalise == "whitespace_case":
            texts = pc.binary_join(pc.utf8_split_whitespace(pc.utf8_trim_whitespace(pc.utf8_lower(texts))), " ")
        filled = np.diff(string_buffers(texts)[0]) > 0
        ones.append(hash_strings(texts, 1)[filled])
        twos.append(hash_strings(texts, 2)[filled])
        ids.append(hash_strings(batch.column("id"))[filled])
        if keep:
            values.append(batch.column(keep).filter(pa.array(filled)))
    return np.concatenate(ones), np.concatenate(twos), np.concatenate(ids), values
