"""JSON Lines: every way a line can be bad, and every way a file can end."""

from __future__ import annotations

import gzip
import tracemalloc
from pathlib import Path

import pytest
import zstandard

from tilth.core.errors import BadInput
from tilth.io.jsonl import read
from tilth.io.reader import Bad, Row


def lines_of(path: Path, data: bytes) -> list[Row | Bad]:
    path.write_bytes(data)
    return list(read(path))


def one_bad(tmp_path: Path, line: bytes) -> Bad:
    """The reason the middle one of three lines is refused; the other two must come through."""
    before, bad, after = lines_of(tmp_path / "a.jsonl", b'{"a":1}\n' + line + b'\n{"a":2}\n')
    assert before == Row(1, {"a": 1})
    assert after == Row(3, {"a": 2})
    assert isinstance(bad, Bad)
    assert bad.number == 2
    return bad


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": nope}', "invalid JSON: invalid literal, expected 'null' at column 7"),
        (b'{"a": NaN}', "invalid JSON"),
        (b'{"a": 1', "invalid JSON: unexpected end of data at column 8"),
        (b'{"a": "\\ud800"}', "invalid JSON"),
        (b'{"a": "\x00"}', "invalid JSON"),
        (b'{"a": "x\xff"}', "invalid UTF-8 at byte 8 of the line"),
        (b"[1, 2]", "not an object but an array"),
        (b"3", "not an object but a number"),
        (b"null", "not an object but null"),
        (b'"text"', "not an object but a string"),
        (b"true", "not an object but a boolean"),
        (b'{"a":' + b"[" * 101 + b"]" * 101 + b"}", "nested deeper than 100 levels"),
        (b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}", "invalid JSON: depth limit exceeded"),
        (b"{" + b",".join(b'"%d":0' % i for i in range(10_001)) + b"}", "an object with 10,001 keys"),
    ],
)
def test_a_bad_line_is_set_aside_with_its_reason(tmp_path: Path, line: bytes, reason: str) -> None:
    assert one_bad(tmp_path, line).reason.startswith(reason)


def test_braces_and_colons_inside_text_are_no_depth_and_no_keys(tmp_path: Path) -> None:
    text = b"{[" * 300 + b":" * 20_000
    assert lines_of(tmp_path / "a.jsonl", b'{"text":"' + text + b'"}') == [Row(1, {"text": text.decode()})]


def test_a_long_line_is_refused_without_being_held(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"a":1}\n' + b"x" * (40 << 20) + b'\n{"a":2}')
    tracemalloc.start()
    first, bad, last = read(path, max_line=1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert bad == Bad(2, "line of 41,943,040 bytes; at most 1,048,576 are accepted", "x" * 200)
    assert (first, last) == (Row(1, {"a": 1}), Row(3, {"a": 2}))
    assert peak < 8 << 20


def test_line_ends_blank_lines_and_byte_order_mark(tmp_path: Path) -> None:
    rows = lines_of(tmp_path / "a.jsonl", b'\xef\xbb\xbf{"a":1}\r\n\r\n  \n{"a":2}')
    assert rows == [Row(1, {"a": 1}), Row(4, {"a": 2})]


def test_empty_file_has_no_rows(tmp_path: Path) -> None:
    assert lines_of(tmp_path / "a.jsonl", b"") == []
    assert lines_of(tmp_path / "a.jsonl.gz", b"") == []
    assert lines_of(tmp_path / "a.jsonl.zst", b"") == []


def test_utf_16_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="iconv -f UTF-16"):
        lines_of(tmp_path / "a.jsonl", '{"a":1}'.encode("utf-16"))


def test_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: No such file"):
        list(read(tmp_path / "none.jsonl"))


MANY = b"".join(b'{"a": %d, "text": "%d words of some length"}\n' % (i, i * i) for i in range(5000))


def packed(suffix: str) -> bytes:
    if suffix == ".gz":
        return gzip.compress(MANY, mtime=0)
    # one frame of many blocks, so that a cut leaves whole blocks in front of it
    packer = zstandard.ZstdCompressor().compressobj()
    parts = (MANY[i : i + 20_000] for i in range(0, len(MANY), 20_000))
    return (
        b"".join(packer.compress(p) + packer.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK) for p in parts) + packer.flush()
    )


@pytest.mark.parametrize("suffix", [".gz", ".zst"])
class TestCompressed:
    def test_whole(self, tmp_path: Path, suffix: str) -> None:
        rows = lines_of(tmp_path / f"a.jsonl{suffix}", packed(suffix))
        assert [r.value["a"] for r in rows if isinstance(r, Row)] == list(range(5000))

    def test_two_members(self, tmp_path: Path, suffix: str) -> None:
        assert len(lines_of(tmp_path / f"a.jsonl{suffix}", packed(suffix) * 2)) == 10_000

    def test_what_is_before_a_cut_is_kept(self, tmp_path: Path, suffix: str) -> None:
        data = packed(suffix)
        *rows, last = lines_of(tmp_path / f"a.jsonl{suffix}", data[: len(data) // 2])
        assert all(isinstance(r, Row) for r in rows)
        assert [r.number for r in rows] == list(range(1, len(rows) + 1))
        assert 1000 < len(rows) < 4000
        assert isinstance(last, Bad)
        assert last.number == len(rows) + 1
        assert "cut off after" in last.reason
        assert "fetch the file again" in last.reason

    def test_a_cut_of_the_last_byte_is_noticed(self, tmp_path: Path, suffix: str) -> None:
        rows = lines_of(tmp_path / f"a.jsonl{suffix}", packed(suffix)[:-1])
        assert isinstance(rows[-1], Bad)

    def test_damage_is_reported_where_it_is(self, tmp_path: Path, suffix: str) -> None:
        data = bytearray(packed(suffix))
        data[len(data) // 2 : len(data) // 2 + 64] = b"\xa5" * 64
        *rows, last = lines_of(tmp_path / f"a.jsonl{suffix}", bytes(data))
        assert rows[0] == Row(1, {"a": 0, "text": "0 words of some length"})
        assert isinstance(last, Bad)

    def test_not_compressed_at_all(self, tmp_path: Path, suffix: str) -> None:
        (bad,) = lines_of(tmp_path / f"a.jsonl{suffix}", MANY[:1000])
        assert isinstance(bad, Bad)
        assert "damaged after 0 bytes" in bad.reason

    def test_a_bomb_does_not_fill_memory(self, tmp_path: Path, suffix: str) -> None:
        path = tmp_path / f"bomb.jsonl{suffix}"
        size = 300 << 20
        if suffix == ".gz":
            with gzip.open(path, "wb", 9) as file:
                for _ in range(size >> 20):
                    file.write(bytes(1 << 20))
        else:
            with zstandard.open(path, "wb") as file:
                for _ in range(size >> 20):
                    file.write(bytes(1 << 20))
        tracemalloc.start()
        (bad,) = read(path)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert isinstance(bad, Bad)
        assert bad.reason.startswith(f"line of {size:,} bytes")
        assert peak < 180 << 20
