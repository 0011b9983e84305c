"""Export as JSON Lines, under the field names trainers read."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import orjson
import pyarrow as pa
import zstandard

from tilth.core.errors import BadField
from tilth.core.records import Kind, Record
from tilth.io.files import replacing, slices

__all__ = ["STYLES", "write"]

Compression = Literal["zst", "gz", ""]


def write(
    records: Iterable[pa.RecordBatch],
    folder: Path,
    kind: Kind,
    *,
    style: str = "",
    bare: bool = False,
    compression: Compression = "zst",
    shard_bytes: int = 1 << 30,
    name: str = "train",
) -> list[Path]:
    """Write ``name-00000.jsonl.zst`` and so on; returns the files, in reading order.

    Args:
        style: how a record is laid out, one of `STYLES` of its kind; the first where not given.
        bare: only the fields a trainer reads, without id, source, licence, lineage, phase and copy. Always so in
            the style ``sentence_transformers``, which takes every column for an input.
        shard_bytes: a file is closed once it holds this many bytes before compression.

    Raises:
        BadField: when the kind has no such style, or a bare record has no place for what its plan puts before it or
            for how much it counts.
    """
    styles = STYLES[kind]
    chosen = style or next(iter(styles))
    if chosen not in styles:
        raise BadField(f"The 'style' of a {kind} export is one of {', '.join(styles)}. Got {style!r} instead.")
    shape, bare = styles[chosen], bare or chosen == "sentence_transformers"
    files: list[Path] = []
    rows = (row for table in slices(records) for row in table.to_pylist())
    row = next(rows, None)
    if bare and row is not None and (lost := {"prefix", "weight"} & row.keys()):
        raise BadField(f"Bare records have no field for {' and '.join(sorted(lost))}. Leave 'bare' and that style out.")
    while row is not None or not files:
        path = folder / f"{name}-{len(files):05d}.jsonl{'.' if compression else ''}{compression}"
        with replacing(path) as raw, _packed(raw, compression) as file:
            size = 0
            while row is not None and size < shard_bytes:
                size += file.write(orjson.dumps(shape(row) | ({} if bare else _common(row)), option=_NEWLINE))
                row = next(rows, None)
        files.append(path)
    return files


_NEWLINE: Final = orjson.OPT_APPEND_NEWLINE


@contextmanager
def _packed(raw: BinaryIO, compression: Compression) -> Iterator[Any]:
    """The file behind a fixed compression: no clock, no name and one thread, so equal records give equal bytes."""
    if compression == "gz":
        with gzip.GzipFile("", "wb", 6, raw, mtime=0) as file:
            yield file
    elif compression == "zst":
        packer = zstandard.ZstdCompressor(level=3, write_checksum=True)
        with packer.stream_writer(raw, closefd=False) as file:
            yield file
    else:
        yield raw


def _common(row: Mapping[str, Any]) -> Record:
    names = ("id", "source", "license", "url", "created", "parents", "made_by", "phase", "copy", "prefix", "weight")
    kept = {name: row[name] for name in names if row.get(name) is not None}
    return kept | ({"meta": orjson.loads(row["meta"])} if row.get("meta") else {})


def _text(row: Mapping[str, Any]) -> Record:
    return {"text": row["text"]}


def _labeled(row: Mapping[str, Any]) -> Record:
    return {"text": row["text"], "label": row["label"]}


def _messages(row: Mapping[str, Any]) -> Record:
    return {"messages": row["messages"]}


def _sharegpt(row: Mapping[str, Any]) -> Record:
    names = {"user": "human", "assistant": "gpt"}
    turns = [{"from": names.get(m["role"], m["role"]), "value": m["content"]} for m in row["messages"]]
    return {"conversations": turns}


def _prompt_completion(row: Mapping[str, Any]) -> Record:
    """As TRL reads it: the last turn is learnt, the turns before it are given."""
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _alpaca(row: Mapping[str, Any]) -> Record:
    """The last question and answer; earlier ones go to `history`. Anything but user and assistant in turn cannot."""
    turns = row["messages"]
    system = turns[0]["content"] or "" if turns[0]["role"] == "system" else ""
    turns = turns[1:] if turns[0]["role"] == "system" else turns
    if [m["role"] for m in turns] != ["user", "assistant"] * (len(turns) // 2) or not turns:
        raise BadField(
            f"Record {row.get('id')} is no alternation of user and assistant, which the style 'alpaca' needs. "
            f"Export with style 'messages'."
        )
    said = [m["content"] or "" for m in turns]
    pairs = [list(pair) for pair in zip(said[:-2:2], said[1:-2:2], strict=True)]
    return {"instruction": said[-2], "input": "", "output": said[-1], "system": system, "history": pairs}


def _preference(row: Mapping[str, Any]) -> Record:
    return {"prompt": row["prompt"] or "", "chosen": row["chosen"], "rejected": row["rejected"]}


def _retrieval(row: Mapping[str, Any]) -> Record:
    return {"query": row["query"], "positive": row["positive"], "negatives": row["negatives"] or []}


def _sentence_transformers(row: Mapping[str, Any]) -> Record:
    numbered = {f"negative_{i}": text for i, text in enumerate(row["negatives"] or [], 1)}
    return {"anchor": row["query"], "positive": row["positive"], **numbered}


def _tevatron(row: Mapping[str, Any]) -> Record:
    def passages(texts: list[str], side: str) -> list[Record]:
        return [{"docid": f"{row['id']}/{side}{i}", "title": "", "text": text} for i, text in enumerate(texts)]

    return {
        "query_id": row["id"],
        "query": row["query"],
        "positive_passages": passages([row["positive"]], "p"),
        "negative_passages": passages(row["negatives"] or [], "n"),
    }


STYLES: Final[Mapping[Kind, Mapping[str, Callable[[Mapping[str, Any]], Record]]]] = {
    "text": {"text": _text},
    "labeled": {"labeled": _labeled},
    "instruction": {
        "messages": _messages,
        "prompt_completion": _prompt_completion,
        "sharegpt": _sharegpt,
        "alpaca": _alpaca,
    },
    "preference": {"preference": _preference},
    "retrieval": {
        "triplet": _retrieval,
        "sentence_transformers": _sentence_transformers,
        "tevatron": _tevatron,
    },
}
"""Kind -> the layouts it can be written in; the first is the default."""
