"""The five kinds of records: their fields, their Arrow types and their text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

import pyarrow as pa

__all__ = ["FIELDS", "KINDS", "Kind", "Record", "common_fields", "make_id", "render", "schema"]

Kind = Literal["text", "instruction", "labeled", "preference", "retrieval"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Record = dict[str, Any]

MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))

FIELDS: Mapping[Kind, Mapping[str, pa.DataType]] = {
    "text": {"text": pa.string()},
    "instruction": {"messages": MESSAGES},
    "labeled": {"text": pa.string(), "label": pa.string()},
    "preference": {"prompt": pa.string(), "chosen": pa.string(), "rejected": pa.string()},
    "retrieval": {"query": pa.string(), "positive": pa.string(), "negatives": pa.list_(pa.string())},
}
"""The fields of each kind, under the ecosystem's own names."""


def common_fields() -> dict[str, pa.DataType]:
    """The fields every record has, whatever its kind; `meta` is JSON with everything else the input had."""
    return {
        "id": pa.string(),
        "source": pa.string(),
        "license": pa.string(),
        "url": pa.string(),
        "created": pa.string(),
        "parents": pa.list_(pa.string()),
        "made_by": pa.string(),
        "meta": pa.string(),
    }


def schema(kind: Kind) -> pa.Schema:
    """The Arrow schema of a freshly imported pool of this kind."""
    common = common_fields()
    return pa.schema([("id", common.pop("id")), *FIELDS[kind].items(), *common.items()])


def make_id(source: str, key: str) -> str:
    """A stable record id: 20 hex digits of the source's name and its own id for the record, or its content."""
    return hashlib.blake2b(f"{source}\x00{key}".encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()


def render(kind: Kind, batch: pa.RecordBatch | pa.Table) -> pa.Array:
    """The text of each record, the way signals read it: for the kinds with several fields, all of them joined.

    Messages read ``role: content`` with a blank line between turns; a preference pair reads prompt and
    chosen answer; a retrieval pair reads query and positive passage. Nulls read as empty.
    """
    if "text" in FIELDS[kind]:
        column = batch.column("text")
        return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if kind == "instruction":
        turns = batch.column("messages").to_pylist()
        texts = ["\n\n".join(f"{m['role']}: {m['content'] or ''}" for m in row or ()) for row in turns]
        return pa.array(texts, pa.string())
    first, second = ("prompt", "chosen") if kind == "preference" else ("query", "positive")
    rows = zip(batch.column(first).to_pylist(), batch.column(second).to_pylist(), strict=True)
    return pa.array([f"{a}\n\n{b or ''}" if a else (b or "") for a, b in rows], pa.string())


def render_fields(kind: Kind) -> tuple[str, ...]:
    """The stored fields that `render` reads."""
    return {
        "instruction": ("messages",),
        "preference": ("prompt", "chosen"),
        "retrieval": ("query", "positive"),
    }.get(kind, ("text",))
