from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tilth.core.errors import MissingExtra
from tilth.io.html import page, read
from tilth.io.reader import Bad, Row

pytest.importorskip("trafilatura")

BODY = "<p>The harvest was good this year, and the barns were full before the first frost came down.</p>" * 3
PAGE = f"""<html><head><title>Barns &amp; frost</title></head><body><nav><a href="/">Home</a></nav>
<article><h1>Barns</h1>{BODY}</article><footer>Copyright</footer></body></html>"""


def test_main_text_without_the_navigation(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_text(PAGE)
    (row,) = read(path)
    assert isinstance(row, Row)
    assert "The harvest was good" in row.value["text"]
    assert "Home" not in row.value["text"]
    assert row.value["title"] == "Barns & frost"
    assert row.value["file"] == "a.html"


def test_encodings() -> None:
    latin = PAGE.replace("harvest", "récolte")
    assert "récolte" in page(latin.encode())["text"]  # type: ignore[index]
    assert "récolte" in page(latin.encode("cp1252"), "iso-8859-1")["text"]  # type: ignore[index]
    declared = latin.replace("<head>", '<head><meta charset="windows-1252">')
    assert "récolte" in page(declared.encode("cp1252"))["text"]  # type: ignore[index]
    assert page(latin.encode("cp1252")) == "not UTF-8, and no charset it declares fits"
    assert page(latin.encode("cp1252"), "unicode_escape") == "not UTF-8, and no charset it declares fits"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"<div>" * 30_000, "tags nested deeper than 500"),
        (b"<html><body></body></html>", "no main text found"),
        (b"   ", "no main text found"),
        (b"<" * 100_000, "100,000 tags; at most 30,000 are accepted"),
        (b"<" * 30_000, "no main text found"),
    ],
)
def test_pages_without_text(data: bytes, reason: str) -> None:
    start = time.process_time()
    got = page(data)
    assert isinstance(got, str)
    assert got == reason or got.startswith("the HTML parser failed")
    assert time.process_time() - start < 5


def test_paragraphs_without_end_tags_do_not_nest() -> None:
    data = PAGE.replace(BODY, "<p>" + BODY.replace("</p>", "") * 300).encode()
    assert isinstance(page(data), dict)


def test_a_huge_page_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.html"
    path.write_bytes(b"x" * (3 << 20))
    (bad,) = read(path)
    assert isinstance(bad, Bad)
    assert bad.reason.startswith("larger than 2,097,152 bytes")


def test_a_parser_failure_is_the_pages_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def fail(*args: object, **kwargs: object) -> None:
        raise RecursionError("too deep")

    monkeypatch.setattr(trafilatura, "extract", fail)
    assert page(PAGE.encode()) == "the HTML parser failed (RecursionError: too deep)"


def test_without_the_extra_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trafilatura", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tilth\[web\]'"):
        page(PAGE.encode())
