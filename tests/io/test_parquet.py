from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tilth.core.errors import BadInput
from tilth.io.parquet import read, rows
from tilth.io.reader import Bad, Row

WRONG = "a value is not what its type says: In column 0: Invalid: Invalid UTF8 sequence at string index 0"


def test_types_become_plain_values(tmp_path: Path) -> None:
    when = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.UTC)
    value: dict[str, Any] = {"text": "a\u0301", "n": 3, "x": [{"role": "user"}], "none": None, "raw": b"\xff"}
    table = pa.Table.from_pylist([value | {"when": when, "day": when.date()}] * 600)
    pq.write_table(table, tmp_path / "a.parquet", row_group_size=100)
    got = list(read(tmp_path / "a.parquet"))
    assert [r.number for r in got] == list(range(1, 601))
    assert isinstance(got[-1], Row)
    assert got[-1].value == value | {"when": "2024-02-29 12:30:00.000000Z", "day": "2024-02-29"}


def test_nanoseconds_do_not_depend_on_pandas() -> None:
    table = pa.table({"t": pa.array([1], pa.timestamp("ns"))})
    assert list(rows(table.to_batches())) == [Row(1, {"t": "1970-01-01 00:00:00.000000001"})]


def test_a_string_that_is_none_spoils_only_its_row() -> None:
    raw = pa.array([b"good", b"b\xffd", b"fine"])
    strings = pa.Array.from_buffers(pa.string(), 3, raw.buffers())
    got = list(rows(pa.table({"text": strings}).to_batches()))
    assert got == [Row(1, {"text": "good"}), Bad(2, WRONG), Row(3, {"text": "fine"})]


def test_damaged_files_are_errors_that_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": ["some text"] * 1000}), path)
    data = path.read_bytes()
    for broken in (b"", b"PAR1", data[: len(data) // 2], b"\0" * len(data), data[:40] + b"\xa5" * 40 + data[80:]):
        path.write_bytes(broken)
        with pytest.raises(BadInput, match=r"a\.parquet is no whole Parquet file"):
            list(read(path))


def test_empty_table(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert list(read(tmp_path / "a.parquet")) == []
