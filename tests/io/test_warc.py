from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import zstandard

from tilth.io.reader import Bad, Row
from tilth.io.warc import read

pytest.importorskip("trafilatura")
pytest.importorskip("warcio")

BODY = "<p>The harvest was good this year, and the barns were full before the first frost came down.</p>" * 3
PAGE = f"<html><head><title>Barns</title></head><body><article>{BODY}</article></body></html>".encode()


def record(kind: str, url: str, payload: bytes) -> bytes:
    head = f"WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2024-02-29T00:00:00Z\r\n"
    head += f"WARC-Record-ID: <urn:uuid:{url}>\r\nContent-Length: {len(payload)}\r\n"
    kinds = {"response": "application/http; msgtype=response", "request": "application/http; msgtype=request"}
    head += f"Content-Type: {kinds.get(kind, 'text/plain')}\r\n\r\n"
    return head.encode() + payload + b"\r\n\r\n"


def archive(gzipped: bool = False) -> bytes:
    records = [record("warcinfo", "http://info.example/", b"software: test\r\n")]
    for url, status, kind, data in [
        ("http://a.example/", "200 OK", "text/html; charset=utf-8", PAGE),
        ("http://b.example/", "404 Not Found", "text/html", PAGE),
        ("http://c.example/", "200 OK", "image/png", b"\x89PNG"),
        ("http://d.example/", "200 OK", "text/html; charset=iso-8859-1", PAGE.replace(b"harvest", b"r\xe9colte")),
    ]:
        records.append(record("request", url, b"GET / HTTP/1.1\r\n\r\n"))
        http = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(data)}\r\n\r\n"
        records.append(record("response", url, http.encode() + data))
    records.append(record("conversion", "http://e.example/", b"plain text of a page"))
    return b"".join(gzip.compress(r, mtime=0) if gzipped else r for r in records)


@pytest.mark.parametrize("suffix", ["", ".gz", ".zst"])
def test_pages_of_an_archive(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.warc{suffix}"
    path.write_bytes(zstandard.compress(archive()) if suffix == ".zst" else archive(suffix == ".gz"))
    first, missing, image, french, plain = read(path)
    assert isinstance(first, Row)
    assert first.number == 3
    assert "The harvest was good" in first.value["text"]
    assert first.value["title"] == "Barns"
    assert first.value["url"] == "http://a.example/"
    assert first.value["id"].startswith("<urn:uuid:")
    assert missing == Bad(5, "HTTP status 404", "http://b.example/")
    assert image == Bad(7, "not HTML but image/png", "http://c.example/")
    assert isinstance(french, Row)
    assert "récolte" in french.value["text"]
    assert isinstance(plain, Row)
    assert plain.value["text"] == "plain text of a page"


def test_what_is_before_a_cut_is_kept(tmp_path: Path) -> None:
    data = archive(gzipped=True)
    path = tmp_path / "a.warc.gz"
    path.write_bytes(data[: len(data) - 120])
    first, *_, last = read(path)
    assert isinstance(first, Row)
    assert isinstance(last, Bad)
    assert "cut off" in last.reason


def test_no_archive_at_all(tmp_path: Path) -> None:
    path = tmp_path / "a.warc"
    path.write_bytes(b"nothing of the kind\n" * 10)
    (bad,) = read(path)
    assert isinstance(bad, Bad)
    assert "cannot be read on" in bad.reason
    path.write_bytes(gzip.compress(b""))
    assert all(isinstance(item, Bad) for item in read(path))
