from __future__ import annotations

from pathlib import Path

import pytest

from tilth.core.errors import BadInput
from tilth.io import delimited, json_array, jsonl, parquet, text
from tilth.io.reader import excerpt, expand, open_reader, unfit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("web/b.jsonl", "web/a.jsonl.zst", "web/deep/c.jsonl", "docs/x.md", "docs/y.pdf", "data[1].csv"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("a.jsonl", jsonl),
        ("A.JSONL.ZST", jsonl),
        ("a.json", json_array),
        ("a.tsv.gz", delimited),
        ("a.md", text),
        ("a.parquet", parquet),
    ],
)
def test_readers_are_chosen_by_suffix(name: str, module: object) -> None:
    assert open_reader(Path(name)) is module.read  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["a.pdf", "a", "a.parquet.gz", "a.gz"])
def test_unknown_suffixes_are_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(BadInput, match=r"Supported: \.jsonl, .*\.parquet"):
        open_reader(Path(name))


def test_patterns(folder: Path) -> None:
    def names(pattern: str) -> list[str]:
        return [p.relative_to(folder).as_posix() for p in expand(pattern, folder)]

    assert names("web/*.jsonl") == ["web/b.jsonl"]
    assert names("web/**/*.jsonl*") == ["web/a.jsonl.zst", "web/b.jsonl", "web/deep/c.jsonl"]
    assert names("data[1].csv") == ["data[1].csv"]
    assert names("docs") == ["docs/x.md"]
    assert names(str(folder / "docs" / "*.md")) == ["docs/x.md"]


def test_no_match_names_the_nearest(folder: Path) -> None:
    with pytest.raises(BadInput, match=r"web has b\.jsonl"):
        expand("web/bb.jsonl", folder)
    with pytest.raises(BadInput, match=r"Nothing matches .* has web"):
        expand("wob/*.jsonl", folder)
    (folder / "empty").mkdir()
    with pytest.raises(BadInput, match="holds no file of a supported format"):
        expand("empty", folder)
    with pytest.raises(BadInput, match="is empty"):
        expand("empty/*.txt", folder)


def test_an_excerpt_is_short_and_safe_to_print() -> None:
    assert excerpt("a\x1b[31m\u202eb\n") == "a\\x1b[31m\\u202eb\\n"
    assert excerpt(b"\xffabc") == "\\xffabc"
    assert len(excerpt(b"x" * 10_000)) == 200


def test_limits() -> None:
    deep: object = 1
    for _ in range(5000):
        deep = [deep]
    assert unfit(deep) == "nested deeper than 100 levels"
    assert unfit({"a": [{str(i): i for i in range(10_001)}]}).startswith("an object with 10,001 keys")
    assert unfit({"a": [[{}]], "b": 1}) == ""
