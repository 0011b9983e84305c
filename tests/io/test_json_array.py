from __future__ import annotations

from pathlib import Path

import pytest

from tilth.core.errors import BadInput
from tilth.io.json_array import read
from tilth.io.reader import Bad, Row


def test_array_of_objects(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('\n [{"a": 1}, 2, {"a": 3}, {"b": ' + "[" * 100 + "]" * 100 + "}]")
    deep = Bad(4, "nested deeper than 100 levels")
    assert list(read(path)) == [Row(1, {"a": 1}), Bad(2, "not an object", "2"), Row(3, {"a": 3}), deep]


def test_json_lines_under_the_name_json(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert list(read(path)) == [Row(1, {"a": 1}), Row(2, {"a": 2})]


@pytest.mark.parametrize("text", ['[{"a": 1}', "[1,,2]"])
def test_a_damaged_array_is_an_error_for_the_file(tmp_path: Path, text: str) -> None:
    path = tmp_path / "a.json"
    path.write_text(text)
    with pytest.raises(BadInput, match="one JSON array and cannot be read"):
        list(read(path))


def test_a_large_array_is_refused_with_a_remedy(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("[" + '{"a": 1},' * 100 + '{"a": 1}]')
    with pytest.raises(BadInput, match="jq -c"):
        list(read(path, max_file=100))


def test_empty(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("")
    (tmp_path / "b.json").write_text("[]")
    assert list(read(tmp_path / "a.json")) == list(read(tmp_path / "b.json")) == []
