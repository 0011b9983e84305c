"""Hostile bytes: a reader gives rows and reasons or a TilthError, never anything else, and never hangs."""

from __future__ import annotations

import gzip
import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path

import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tilth.core.errors import TilthError
from tilth.core.records import schema
from tilth.io.detect import detect, to_record
from tilth.io.importer import pack
from tilth.io.reader import Bad, Row, open_reader

few = settings(deadline=None, max_examples=120, suppress_health_check=list(HealthCheck))

ROWS = [{"id": str(i), "text": f"text {i} " * 5, "n": i} for i in range(30)]
LINES = "".join(json.dumps(r) + "\n" for r in ROWS).encode()


def _parquet() -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), sink, row_group_size=10)
    return sink.getvalue()


def _arrow() -> bytes:
    sink = io.BytesIO()
    table = pa.Table.from_pylist(ROWS)
    with pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    return sink.getvalue()


def _warc() -> bytes:
    page = (
        b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html><p>" + b"Some words of a page. " * 20 + b"</p></html>"
    )
    head = b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:1>\r\nWARC-Target-URI: http://a.example/\r\n"
    kind = b"Content-Type: application/http; msgtype=response\r\n"
    return (head + kind + b"Content-Length: %d\r\n\r\n" % len(page) + page + b"\r\n\r\n") * 3


VALID: dict[str, bytes] = {
    "a.jsonl": LINES,
    "a.jsonl.gz": gzip.compress(LINES, mtime=0),
    "a.jsonl.zst": zstandard.compress(LINES),
    "a.json": orjson.dumps(ROWS),
    "a.csv": b"id,text,n\n" + b"".join(b'%d,"text, ""%d""\nand more",%d\n' % (i, i, i) for i in range(30)),
    "a.tsv": b'id\ttext\n1\tabc\n2\t"d"\n',
    "a.txt": "Einige Wörter.\n".encode(),
    "a.html": b"<html><head><meta charset=cp1252><title>T</title></head><body><p>Words of a page.</p></body></html>",
    "a.parquet": _parquet(),
    "a.arrow": _arrow(),
    "a.warc": _warc(),
    "a.warc.gz": gzip.compress(_warc(), mtime=0),
}


@st.composite
def mutated(draw: st.DrawFn, valid: bytes) -> bytes:
    """A valid file with a few bytes changed, cut out, doubled or put in, or cut short."""
    data = bytearray(valid)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.integers(0, 20))
        how = draw(st.integers(0, 4))
        if how == 0:
            data[at : at + length] = draw(st.binary(max_size=20))
        elif how == 1:
            del data[at : at + length]
        elif how == 2:
            data[at:at] = data[at : at + length] * draw(st.integers(1, 5))
        elif how == 3:
            data[at:at] = draw(
                st.sampled_from([b'"', b"\n", b"\x00", b"[" * 200, b"<div>" * 600, b"\xff", b"\r", b","])
            )
        else:
            del data[at:]
    return bytes(data)


def read(name: str, data: bytes) -> list[Row | Bad] | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(data)
        try:
            items = list(open_reader(path)(path))
        except TilthError:
            return None
    for item in items:
        assert isinstance(item, (Row, Bad))
        assert item.number >= 0
        if isinstance(item, Bad):
            assert item.reason
            assert item.excerpt.isprintable() or not item.excerpt
    return items


def make_test(name: str, source: Callable[[str], st.SearchStrategy[bytes]]) -> Callable[[], None]:
    @few
    @given(source(name))
    def run(data: bytes) -> None:
        items = read(name, data)
        if items and (rows := [i.value for i in items if isinstance(i, Row)]):
            _import(rows, items)

    return run


def _import(rows: list[dict[str, object]], items: list[Row | Bad]) -> None:
    """Whatever was read goes on through detection and import: every item ends as a record or as a reason."""
    try:
        layout = detect(rows)
    except TilthError:
        return
    done = list(pack(iter(items), "f", layout, "s", {}, 500))
    assert all(chunk.table.schema == schema(layout.kind) for chunk in done)
    assert sum(len(c.table) + len(c.quarantine) for c in done) == len(items)


@pytest.mark.parametrize("name", VALID)
def test_mutated_files(name: str) -> None:
    make_test(name, lambda n: mutated(VALID[n]))()


@pytest.mark.parametrize("name", VALID)
def test_random_bytes(name: str) -> None:
    make_test(name, lambda n: st.binary(max_size=300))()


@pytest.mark.parametrize("name", VALID)
def test_the_files_are_valid_before_they_are_mutated(name: str) -> None:
    items = read(name, VALID[name])
    assert items
    assert all(isinstance(i, Row) for i in items)


@few
@given(mutated(LINES))
def test_rows_and_reasons_account_for_every_line_of_json(data: bytes) -> None:
    items = read("a.jsonl", data)
    if items is not None:
        body = data.removeprefix(b"\xef\xbb\xbf")
        wanted = [n for n, line in enumerate(body.split(b"\n"), 1) if line.strip()]
        assert [i.number for i in items] == wanted


@few
@given(st.lists(st.lists(st.sampled_from(["a", "", "b c", "\u00e4"]), min_size=1, max_size=4), max_size=20))
def test_rows_and_reasons_account_for_every_line_of_a_table(rows: list[list[str]]) -> None:
    data = "x,y\n" + "".join(",".join(row) + "\n" for row in rows)
    items = read("a.csv", data.encode())
    assert items is not None
    assert [i.number for i in items] == [n for n, row in enumerate(rows, 2) if "".join(row).strip() or len(row) > 1]
    assert [isinstance(i, Row) for i in items] == [len(r) == 2 for r in rows if "".join(r).strip() or len(r) > 1]


ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "text", "x"]), inner, max_size=3)
    ),
    max_leaves=8,
)
NAMES = ["id", "text", "label", "messages", "prompt", "completion", "chosen", "rejected", "query", "positive"]
NAMES += [
    "negatives",
    "positive_passages",
    "instruction",
    "output",
    "history",
    "meta",
    "url",
    "parents",
    "conversations",
]


@few
@given(st.lists(st.dictionaries(st.sampled_from(NAMES), ANY, max_size=6), max_size=4))
def test_any_values_under_known_names(rows: list[dict[str, object]]) -> None:
    try:
        layout = detect(rows)
    except TilthError:
        return
    for row in rows:
        got = to_record(row, layout, "s", {})
        assert isinstance(got, str) or pa.Table.from_pylist([got], schema(layout.kind)).num_rows == 1
