from __future__ import annotations

import csv
import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tilth.core.errors import BadInput
from tilth.io.delimited import read
from tilth.io.reader import Bad, Row


def parse(tmp_path: Path, data: str | bytes, name: str = "a.csv", **options: int) -> list[Row | Bad]:
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return list(read(path, **options))


def test_quoting(tmp_path: Path) -> None:
    rows = parse(tmp_path, 'text,label\r\n"two\r\nlines, one comma",a\r\n"say ""hi""",b\r\n\r\n5" disk,c\r\n,\n"",d')
    assert rows == [
        Row(2, {"text": "two\r\nlines, one comma", "label": "a"}),
        Row(4, {"text": 'say "hi"', "label": "b"}),
        Row(6, {"text": '5" disk', "label": "c"}),
        Row(7, {"text": "", "label": ""}),
        Row(8, {"text": "", "label": "d"}),
    ]


def test_tabs_and_gzip(tmp_path: Path) -> None:
    rows = parse(tmp_path, gzip.compress(b"text\tlabel\na, b\tx\n"), "a.tsv.gz")
    assert rows == [Row(2, {"text": "a, b", "label": "x"})]


def test_formulas_and_markup_are_text(tmp_path: Path) -> None:
    hostile = ["=cmd|' /C calc'!A0", "@SUM(1+1)", "</script><script>alert(1)</script>", "-1+1"]
    rows = parse(tmp_path, "text\n" + "\n".join(hostile))
    assert [r.value["text"] for r in rows if isinstance(r, Row)] == hostile


def test_ragged_rows(tmp_path: Path) -> None:
    _, short, long, last = parse(tmp_path, "a,b\n1,2\n1\n1,2,3\n5,6\n")
    assert short == Bad(3, "1 fields where the header has 2", "1")
    assert long == Bad(4, "3 fields where the header has 2", "1 | 2 | 3")
    assert last == Row(5, {"a": "5", "b": "6"})


def test_bad_quotes(tmp_path: Path) -> None:
    bad, good = parse(tmp_path, 'a,b\n"x"y,2\n1,2\n')
    assert isinstance(bad, Bad)
    assert bad.reason.startswith("text after the closing quote of field 1")
    assert isinstance(good, Row)
    first, never = parse(tmp_path, 'a,b\n1,2\n3,"open\nmore\n')
    assert isinstance(first, Row)
    assert isinstance(never, Bad)
    assert never.number == 3
    assert "not closed before the file ends (line 4)" in never.reason


def test_a_runaway_quote_is_stopped_and_reading_goes_on(tmp_path: Path) -> None:
    rows = parse(tmp_path, 'a\n"' + "filler\n" * 40 + "last\n", max_record=100)
    assert isinstance(rows[0], Bad)
    assert rows[0].number == 2
    assert "is a quote opened on line 2 never closed?" in rows[0].reason
    assert rows[-1] == Row(42, {"a": "last"})


def test_a_field_longer_than_the_standard_librarys_limit_leaves_that_limit_alone(tmp_path: Path) -> None:
    before = csv.field_size_limit()
    (row,) = parse(tmp_path, 'a\n"' + "x" * 500_000 + '"\n')
    assert isinstance(row, Row)
    assert len(row.value["a"]) == 500_000
    assert csv.field_size_limit() == before


def test_invalid_utf8(tmp_path: Path) -> None:
    bad, good = parse(tmp_path, b"a,b\nx,12\xff\ny,z\n")
    assert isinstance(bad, Bad)
    assert bad.reason == "invalid UTF-8 at byte 2 of a field"
    assert good == Row(3, {"a": "y", "b": "z"})


@pytest.mark.parametrize("header", ["a,a\n", "a,,b\n", ",".join(map(str, range(10_001)))])
def test_a_header_names_each_column_once(tmp_path: Path, header: str) -> None:
    with pytest.raises(BadInput, match="the first line must name the columns"):
        parse(tmp_path, header)


def test_a_cut_file(tmp_path: Path) -> None:
    data = gzip.compress(b"a,b\n" + "".join(f"{i},{i * i}\n" for i in range(20_000)).encode())
    *rows, last = parse(tmp_path, data[:-20], "a.csv.gz")
    assert len(rows) > 1000
    assert isinstance(last, Bad)
    assert "cut off" in last.reason


CELL = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r"), max_size=12)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(CELL, CELL, CELL), max_size=8))
def test_reads_what_the_standard_library_writes(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, ...]]
) -> None:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([("a", "b", "c"), *cells])
    path = tmp_path_factory.mktemp("csv") / "a.csv"
    path.write_bytes(file.getvalue().encode())
    assert [tuple(r.value.values()) for r in read(path) if isinstance(r, Row)] == cells
