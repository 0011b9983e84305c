from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.core.errors import BadInput
from tilth.core.records import KINDS, schema
from tilth.io.detect import Layout, detect
from tilth.io.hf import read_table
from tilth.io.importer import Chunk, chunks, pack, sample

TEXT = Layout("text", "text", {"text": "text", "id": "id"})


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(r if isinstance(r, str) else json.dumps(r) + "\n" for r in rows))
    return path


def test_records_and_quarantine(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"id": 1, "text": "one"}, "nonsense\n", {"id": 2}, {"id": 3, "text": "three"}])
    (chunk,) = chunks(path, TEXT, "src", {"license": "MIT"}, name="a.jsonl")
    assert chunk.table.schema == schema("text")
    assert chunk.table["text"].to_pylist() == ["one", "three"]
    assert chunk.table["license"].to_pylist() == ["MIT", "MIT"]
    why = "invalid JSON: unexpected character, expected a JSON value at column 1"
    assert chunk.quarantine[0] | {"reason": ""} == {"file": "a.jsonl", "line": 2, "reason": "", "excerpt": "nonsense"}
    assert chunk.quarantine[0]["reason"].startswith("invalid JSON"), why
    assert chunk.quarantine[1] == {"file": "a.jsonl", "line": 3, "reason": "'text' is missing", "excerpt": '{"id":2}'}


def test_the_same_file_gives_the_same_chunks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"id": i, "text": f"text {i} " * (i % 40)} for i in range(500)])

    def run() -> list[Chunk]:
        return list(chunks(path, TEXT, "src", {}, 4000))

    one, two = run(), run()
    assert [c.index for c in one] == list(range(len(one)))
    assert len(one) > 20
    assert all(a.table.equals(b.table) and a.quarantine == b.quarantine for a, b in zip(one, two, strict=True))
    whole = list(chunks(path, TEXT, "src", {}))
    assert len(whole) == 1
    assert pa.concat_tables([c.table for c in one]).equals(whole[0].table)
    assert max(c.table.nbytes for c in one) < 3 * 4000
    assert sum(len(c.quarantine) for c in one) == len([i for i in range(500) if i % 40 == 0])


def test_strict_raises_at_the_first(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"text": "one"}, {"text": 2}, "nonsense\n"])
    with pytest.raises(BadInput, match=r"a\.jsonl, line 2: 'text' is a number, expected text\. Got: \{\"text\":2\}"):
        list(chunks(path, TEXT, "src", {}, strict=True))


def test_a_file_that_fails_as_a_whole_is_one_line_of_quarantine(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and no more")
    (chunk,) = chunks(path, TEXT, "src", {})
    assert len(chunk.table) == 0
    assert chunk.quarantine[0]["line"] == 0
    assert "no whole Parquet file" in chunk.quarantine[0]["reason"]
    with pytest.raises(BadInput, match="no whole Parquet file"):
        list(chunks(path, TEXT, "src", {}, strict=True))
    assert sample(path) == []


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [])
    assert list(chunks(path, TEXT, "src", {})) == []
    assert sample(path) == []


def test_an_unknown_format_is_an_error_whether_strict_or_not(tmp_path: Path) -> None:
    for strict in (False, True):
        with pytest.raises(BadInput, match="Supported"):
            list(chunks(tmp_path / "a.pdf", TEXT, "src", {}, strict=strict))


def test_a_sample_is_short_and_passes_over_what_is_bad(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", ["nonsense\n", *({"text": str(i)} for i in range(500))])
    assert sample(path) == [{"text": str(i)} for i in range(100)]


ROWS: dict[str, list[dict[str, Any]]] = {
    "text": [{"id": "a", "text": 'eins\r\n"zwei", 3\u0301 🌱'}, {"id": "b", "text": "=1+1</script>"}],
    "instruction": [{"id": "a", "prompt": "P?", "completion": "C."}, {"id": "b", "prompt": "x\ny", "completion": "🌱"}],
    "labeled": [{"id": "a", "text": "good", "label": "1"}, {"id": "b", "text": "bad", "label": "0"}],
    "preference": [{"id": "a", "prompt": "P?", "chosen": "good", "rejected": "bad"}],
    "retrieval": [{"id": "a", "query": "q?", "positive": "p", "negative_1": "n1", "negative_2": "n2"}],
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_format_gives_the_same_records_for_every_kind(tmp_path: Path, kind: str) -> None:
    import csv
    import gzip

    import lance
    import zstandard

    rows = ROWS[kind]
    lines = "".join(json.dumps(r) + "\n" for r in rows).encode()
    table = pa.Table.from_pylist(rows)
    (tmp_path / "a.jsonl").write_bytes(lines)
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines))
    (tmp_path / "a.jsonl.zst").write_bytes(zstandard.compress(lines))
    (tmp_path / "a.json").write_text(json.dumps(rows))
    pq.write_table(table, tmp_path / "a.parquet")
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t")):
        with (tmp_path / name).open("w", newline="", encoding="utf-8") as file:
            out = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            out.writeheader()
            out.writerows(rows)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    lance.write_dataset(table, str(tmp_path / "a.lance"))

    layout = detect(rows)
    assert layout.kind == kind
    (memory,) = pack(read_table(table), "memory", layout, "s", {})
    assert memory.table.num_rows == len(rows)
    assert memory.quarantine == []
    for path in sorted(tmp_path.iterdir()):
        assert detect(sample(path)) == layout, path
        (chunk,) = chunks(path, layout, "s", {})
        assert chunk.table.equals(memory.table), path
        assert chunk.quarantine == [], path
