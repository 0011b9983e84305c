from __future__ import annotations

from pathlib import Path

from tilth.io.reader import Bad, Row
from tilth.io.text import read


def test_one_record_per_file_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "a.md"
    path.write_bytes("# Title\r\n\r\ntext \u202e\n\n".encode())
    assert list(read(path)) == [Row(1, {"text": "# Title\r\n\r\ntext \u202e\n\n", "file": "a.md"})]


def test_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"abc\xffd")
    assert list(read(path)) == [Bad(1, "invalid UTF-8 at byte 3", "abc\\xffd")]
    path.write_bytes(b"x" * 11)
    assert list(read(path, max_file=10)) == [Bad(1, "larger than 10 bytes; split it into smaller files")]
    path.write_bytes(b"")
    assert list(read(path)) == []
