"""Every export read back by something other than what wrote it; equal records give equal bytes however they arrive."""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from tilth.core.errors import BadField
from tilth.core.records import KINDS, Kind, render, schema
from tilth.io import export_hf, export_jsonl, export_megatron, export_npy, export_parquet
from tilth.io.detect import detect, to_record
from tilth.io.importer import chunks, sample

CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho 🌱"}]
OWN: dict[str, dict[str, Any]] = {
    "text": {"text": "eins\r\nzwei \u202e 🌱"},
    "instruction": {"messages": CHAT},
    "labeled": {"text": "good", "label": "1"},
    "preference": {"prompt": "P", "chosen": "good", "rejected": "bad"},
    "retrieval": {"query": "q", "positive": "p", "negatives": ["n1", "n2"]},
}


def batches(kind: str, count: int, size: int = 7) -> Iterator[pa.RecordBatch]:
    """Records in reading order with what a plan adds."""
    common: dict[str, Any] = {"source": "s", "license": "MIT", "url": None, "parents": ["p"], "meta": '{"a":1}'}
    kept = schema(kind).append(pa.field("phase", pa.int16())).append(pa.field("copy", pa.int32()))  # type: ignore[arg-type]
    rows = [{**OWN[kind], **common, "id": f"r{i}", "phase": i // 10, "copy": i % 3} for i in range(count)]
    for start in range(0, count, size):
        yield pa.RecordBatch.from_pylist(rows[start : start + size], schema=kept)


def lines(path: Path) -> list[dict[str, Any]]:
    data = path.read_bytes()
    if path.suffix == ".zst":
        data = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    elif path.suffix == ".gz":
        data = gzip.decompress(data)
    return [json.loads(line) for line in data.splitlines()]


class Letters:
    """A tokenizer whose ids anyone can check: one per character."""

    def __init__(self, vocab_size: int = 60_000) -> None:
        self.vocab_size = vocab_size

    def encode_batch(self, texts: list[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        offsets = np.cumsum([0, *map(len, texts)])
        return offsets, np.array([min(ord(c), 59_999) for text in texts for c in text], np.int64)


TEXTS = ["abc", "", "de", "🌱", "f" * 50]


def texts(values: list[str] = TEXTS, size: int = 2) -> Iterator[pa.RecordBatch]:
    for start in range(0, len(values), size):
        part = values[start : start + size]
        yield pa.RecordBatch.from_pylist([{"id": str(i), "text": t} for i, t in enumerate(part)], schema=schema("text"))


def ids_of(text: str) -> list[int]:
    return [min(ord(c), 59_999) for c in text]


# ---- JSON Lines ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("compression", ["", "gz", "zst"])
def test_jsonl_comes_back_as_it_was(tmp_path: Path, kind: Kind, compression: Any) -> None:
    (path,) = export_jsonl.write(batches(kind, 20), tmp_path, kind, compression=compression)
    layout = detect(sample(path))
    assert layout.kind == kind
    (chunk,) = chunks(path, layout, "again", {})
    assert chunk.quarantine == []
    names = [*OWN[kind], "license", "url", "created", "parents", "made_by"]
    before = pa.Table.from_batches(batches(kind, 20))
    assert chunk.table.select(names).to_pylist() == before.select(names).to_pylist()
    assert json.loads(chunk.table["meta"][0].as_py()) == {"a": 1, "copy": 0, "phase": 0, "source": "s"}


@pytest.mark.parametrize(
    ("kind", "style"), [(k, s) for k in KINDS for s in export_jsonl.STYLES[k]], ids=lambda value: value
)
def test_every_style_is_understood_on_the_way_back(tmp_path: Path, kind: Kind, style: str) -> None:
    (path,) = export_jsonl.write(batches(kind, 2), tmp_path, kind, style=style, bare=True)
    row = lines(path)[0]
    record = to_record(row, detect([row]), "s", {})
    assert isinstance(record, dict)
    assert {name: record[name] for name in OWN[kind]} == OWN[kind]


def test_jsonl_layouts(tmp_path: Path) -> None:
    def first(kind: Kind, style: str, **options: Any) -> dict[str, Any]:
        return lines(export_jsonl.write(batches(kind, 1), tmp_path, kind, style=style, **options)[0])[0]

    assert first("instruction", "", bare=True) == {"messages": CHAT}
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho 🌱"}]
    assert first("instruction", "sharegpt", bare=True) == {"conversations": turns}
    alpaca = {"instruction": "Hi", "input": "", "output": "Ho 🌱", "system": "", "history": []}
    assert first("instruction", "alpaca", bare=True) == alpaca
    columns = {"anchor": "q", "positive": "p", "negative_1": "n1", "negative_2": "n2"}
    assert list(first("retrieval", "sentence_transformers").items()) == list(columns.items())
    full = first("text", "")
    assert full["meta"] == {"a": 1}
    assert (full["phase"], full["copy"]) == (0, 0)
    with pytest.raises(BadField, match="one of messages, prompt_completion"):
        first("instruction", "chatml")


def test_alpaca_keeps_history_and_refuses_what_it_cannot_say() -> None:
    style = export_jsonl.STYLES["instruction"]["alpaca"]
    turns = [
        {"role": "system", "content": "S"},
        *CHAT,
        {"role": "user", "content": "A?"},
        {"role": "assistant", "content": "B"},
    ]
    assert style({"messages": turns}) == {
        "instruction": "A?", "input": "", "output": "B", "system": "S", "history": [["Hi", "Ho 🌱"]],
    }  # fmt: skip
    with pytest.raises(BadField, match="no alternation"):
        style({"messages": turns[:4], "id": "x"})


def test_jsonl_shards(tmp_path: Path) -> None:
    files = export_jsonl.write(batches("text", 30), tmp_path, "text", shard_bytes=500, compression="")
    assert [f.name for f in files] == [f"train-{i:05d}.jsonl" for i in range(len(files))]
    assert len(files) > 3
    assert [row["id"] for f in files for row in lines(f)] == [f"r{i}" for i in range(30)]
    assert max(f.stat().st_size for f in files) < 1000


# ---- Parquet and Hugging Face ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_parquet_comes_back_as_it_was(tmp_path: Path, kind: Kind) -> None:
    files = export_parquet.write(batches(kind, 5000), tmp_path, kind, shard_bytes=2000)
    count = len(files)
    assert count > 1
    assert [f.name for f in files] == [f"train-{i:05d}-of-{count:05d}.parquet" for i in range(count)]
    got = pa.concat_tables([pq.read_table(f) for f in files])
    assert got.equals(pa.Table.from_batches(batches(kind, 5000)))
    assert sorted(tmp_path.iterdir()) == files


def test_hf_folder_is_what_datasets_reads(tmp_path: Path) -> None:
    files = export_hf.write(batches("text", 5), tmp_path, "text", facts={"title": "T", "license": "MIT"})
    assert [f.relative_to(tmp_path).as_posix() for f in files] == ["data/train-00000-of-00001.parquet", "README.md"]
    datasets = pytest.importorskip("datasets")
    datasets.disable_progress_bars()
    made = datasets.load_dataset(str(tmp_path), split="train", cache_dir=str(tmp_path / "cache"))
    assert made["text"][:] == [OWN["text"]["text"]] * 5
    assert made["copy"][:] == [0, 1, 2, 0, 1]


# ---- tokens ----------------------------------------------------------------------------------------


def parse_megatron(prefix: Path) -> list[list[int]]:
    """The documents, by a reading of the format that shares nothing with the writer."""
    index = prefix.with_suffix(".idx").read_bytes()
    assert index[:9] == b"MMIDIDX\x00\x00"
    version, code, sequences, bounds = struct.unpack_from("<QBQQ", index, 9)
    assert version == 1
    dtype: np.dtype[Any] = np.dtype({4: "<i4", 8: "<u2"}[code])
    at = 34
    sizes = struct.unpack_from(f"<{sequences}i", index, at)
    pointers = struct.unpack_from(f"<{sequences}q", index, at + 4 * sequences)
    ends = struct.unpack_from(f"<{bounds}q", index, at + 12 * sequences)
    assert len(index) == at + 12 * sequences + 8 * bounds
    data = prefix.with_suffix(".bin").read_bytes()
    read = [np.frombuffer(data, dtype, n, p).tolist() for n, p in zip(sizes, pointers, strict=True)]
    assert sum(sizes) * dtype.itemsize == len(data)
    return [[i for part in read[a:b] for i in part] for a, b in pairwise(ends)]


@pytest.mark.parametrize("vocab_size", [60_000, 65_499, 65_500])
@pytest.mark.parametrize("eod", [None, 1])
def test_megatron(tmp_path: Path, vocab_size: int, eod: int | None) -> None:
    files = export_megatron.write(texts(), tmp_path, "text", tokenizer=Letters(vocab_size), eod=eod)
    assert [f.name for f in files] == ["train_text_document.bin", "train_text_document.idx"]
    tail = [] if eod is None else [eod]
    assert parse_megatron(files[0].with_suffix("")) == [ids_of(t) + tail for t in TEXTS if t or tail]
    assert files[1].read_bytes()[17] == (8 if vocab_size < 65_500 else 4)


@pytest.mark.parametrize("shard", [4, 10, 1000])
@pytest.mark.parametrize("eod", [None, 1])
def test_npy(tmp_path: Path, shard: int, eod: int | None) -> None:
    files = export_npy.write(texts(), tmp_path, "text", tokenizer=Letters(), eod=eod, shard_tokens=shard)
    documents: list[list[int]] = []
    for array, about in zip(files[::2], files[1::2], strict=True):
        tokens, told = np.load(array), json.loads(about.read_text())
        assert told["file"] == array.name
        assert (tokens.dtype, told["dtype"], told["eod"]) == (np.uint16, "uint16", eod)
        starts = told["documents"]
        assert starts[0] == 0
        assert starts[-1] == tokens.size
        assert tokens.size <= shard or len(starts) == 2
        documents += [tokens[a:b].tolist() for a, b in pairwise(starts)]
    tail = [] if eod is None else [eod]
    assert documents == [ids_of(t) + tail for t in TEXTS if t or tail]


def test_tokens_of_every_kind_are_those_of_its_text(tmp_path: Path) -> None:
    for kind in KINDS:
        (batch,) = batches(kind, 1)
        files = export_megatron.write(iter([batch]), tmp_path / kind, kind, tokenizer=Letters())
        assert parse_megatron(files[0].with_suffix("")) == [ids_of(render(kind, batch)[0].as_py())]


def test_ids_outside_the_vocabulary_are_refused(tmp_path: Path) -> None:
    for write in (export_megatron.write, export_npy.write):
        with pytest.raises(BadField, match="the vocabulary ends at 99"):
            write(texts(), tmp_path, "text", tokenizer=Letters(100))
        with pytest.raises(BadField, match="eod of an export gives ids from 100 to 100"):
            write(texts(["a"]), tmp_path, "text", tokenizer=Letters(100), eod=100)
    assert list(tmp_path.iterdir()) == []


# ---- all -------------------------------------------------------------------------------------------

Write = Callable[[Iterator[pa.RecordBatch], Path], list[Path]]
WRITERS: dict[str, Write] = {
    "jsonl": lambda r, f: export_jsonl.write(r, f, "text"),
    "jsonl.gz": lambda r, f: export_jsonl.write(r, f, "text", compression="gz"),
    "parquet": lambda r, f: export_parquet.write(r, f, "text"),
    "hf": lambda r, f: export_hf.write(r, f, "text"),
    "megatron": lambda r, f: export_megatron.write(r, f, "text", tokenizer=Letters(), eod=0),
    "npy": lambda r, f: export_npy.write(r, f, "text", tokenizer=Letters(), eod=0),
}


@pytest.mark.parametrize("name", WRITERS)
def test_equal_records_give_equal_bytes_however_they_arrive(tmp_path: Path, name: str) -> None:
    def hashes(size: int) -> list[tuple[str, str]]:
        folder = tmp_path / str(size)
        files = WRITERS[name](batches("text", 3000, size), folder)
        return [(f.relative_to(folder).as_posix(), hashlib.sha256(f.read_bytes()).hexdigest()) for f in files]

    assert hashes(1) == hashes(1024) == hashes(2999)


@pytest.mark.parametrize("name", WRITERS)
def test_nothing_to_write_still_gives_readable_files(tmp_path: Path, name: str) -> None:
    files = WRITERS[name](iter([]), tmp_path)
    assert files
    assert all(f.exists() for f in files)
    if name == "parquet":
        assert pq.read_table(files[0]).schema == schema("text")
    if name == "megatron":
        assert parse_megatron(files[0].with_suffix("")) == []


@pytest.mark.parametrize("name", WRITERS)
def test_a_failure_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    def failing() -> Iterator[pa.RecordBatch]:
        yield from batches("text", 2000)
        raise RuntimeError("pool went away")

    with pytest.raises(RuntimeError, match="pool went away"):
        WRITERS[name](failing(), tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
