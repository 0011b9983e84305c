"""``tilth plot`` from outside: files of three kinds, the same picture as in the report, errors that say what to do."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.core.errors import MissingExtra, UsageError
from tilth.plot import plot
from tilth.report import standalone

EVIL = "</script><img src=x onerror=alert(1)>"
SVG = "{http://www.w3.org/2000/svg}"
RECIPE = """
sources:
  "{evil}": {{path: one.jsonl}}
  two: {{path: two.jsonl}}
signals: [{{use: cartography, learner: {{seeds: 2}}}}, {{use: el2n, learner: {{seeds: 2}}}}, tokens]
"""


def tilth(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tilth", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("plot")
    rng = np.random.default_rng(0)
    for part in ("one", "two"):
        rows = []
        for i in range(60):
            label = i % 2
            words = " ".join(rng.choice([f"{EVIL}{label}", "and", "but", "so", f"word{label}"], 5 + i % 7))
            rows.append({"id": f"{EVIL}{part}{i}", "text": words, "label": f"{EVIL}{label}"})
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "recipe.yaml").write_text(RECIPE.format(evil=EVIL))
    (folder / "bare.yaml").write_text("sources:\n  two: {path: two.jsonl}\n")
    for recipe in ("recipe.yaml", "bare.yaml"):
        done = tilth("build", recipe, "--workers", "1", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def draw(built: Path, folder: str, signal: str = "", out: str = "out.svg", **options: Any) -> Any:
    """What the command does, in this process."""
    return plot(built / folder, signal, built / out, **options)


def titles(path: Path) -> list[str]:
    return [e.text or "" for e in ET.parse(path).getroot().iter(f"{SVG}text") if e.get("class") == "title"]


def test_each_kind_of_picture_becomes_a_file(built: Path) -> None:
    done = tilth("plot", "build/recipe", "cartography", "--json", cwd=built)
    told = json.loads(done.stdout)
    assert told["picture"] == "cartography.svg"
    assert told["drawn"] == [{"title": "Data map of cartography", "drawn": 120, "of": 120, "colour": "region"}]
    assert titles(built / "cartography.svg") == ["Data map of cartography"]
    curves = draw(built, "build/recipe/pool", "cartography", "new/folder/curves.svg", kind="curves")
    assert len(titles(built / "new/folder/curves.svg")) == 3
    assert curves["drawn"][0]["passes"] == 6
    assert len(curves["drawn"][0]["right"]["all"]) == 6
    found = draw(built, "build/recipe", "", "corr.svg")["drawn"][0]
    assert found["pairs"][0].keys() == {"a", "b", "spearman"}
    assert {"el2n.score", "tokens.count"} <= {p[k] for p in found["pairs"] for k in "ab"}
    draw(built, "build/recipe", "el2n", "el2n.svg")
    assert titles(built / "el2n.svg") == ["el2n.score", "el2n.spread"]
    one = draw(built, "build/recipe", "cartography.region")
    assert [p["title"] for p in one["drawn"]] == ["cartography.region"]
    within = draw(built, "build/recipe", "el2n", kind="correlation")
    assert {p[k] for p in within["drawn"][0]["pairs"] for k in "ab"} == {"el2n.score", "el2n.spread"}


def test_the_report_and_the_command_show_the_same_picture(built: Path) -> None:
    report = (built / "build/recipe/report.html").read_text()
    draw(built, "build/recipe", "cartography", "map.html")
    (drawn,) = re.findall(r"<figure.*?</figure>", (built / "map.html").read_text(), re.DOTALL)
    assert drawn in report
    draw(built, "build/recipe", "", "corr.html")
    (drawn,) = re.findall(r"<figure.*?</figure>", (built / "corr.html").read_text(), re.DOTALL)
    assert drawn in report


@pytest.mark.parametrize("signal", ["cartography", "el2n", ""])
def test_text_of_data_is_text_in_every_file(built: Path, signal: str) -> None:
    for ending in ("svg", "html"):
        draw(built, "build/recipe", signal, f"evil.{ending}")
        page = (built / f"evil.{ending}").read_text()
        assert "<img" not in page
        assert "<script" not in page
        assert ("&lt;/script&gt;&lt;img" in page) == bool(signal)
    ET.parse(built / "evil.svg")


def test_a_png_is_the_svg_at_twice_its_size(built: Path) -> None:
    pytest.importorskip("resvg_py")
    for dark in (False, True):
        draw(built, "build/recipe", "el2n.score", "el2n.png", dark=dark)
        png = (built / "el2n.png").read_bytes()
        assert png.startswith(b"\x89PNG\r\n\x1a\n")
        draw(built, "build/recipe", "el2n.score", "el2n.svg")
        root = ET.parse(built / "el2n.svg").getroot()
        assert struct.unpack(">II", png[16:24]) == tuple(2 * int(float(root.get(k) or 0)) for k in ("width", "height"))
        colours = _pixels(png, 200)
        assert colours[0, 0].tolist()[:3] == ([0x14, 0x18, 0x1D] if dark else [255, 255, 255])
        bars = [0x56, 0xB4, 0xE9] if dark else [0x00, 0x72, 0xB2]
        assert (colours[..., :3] == bars).all(-1).mean() > 0.005


def _pixels(png: bytes, rows: int) -> Any:
    """The first rows of a PNG of 8-bit RGBA."""
    import zlib

    data, at = b"", 8
    while at < len(png):
        size = struct.unpack(">I", png[at : at + 4])[0]
        if png[at + 4 : at + 8] == b"IDAT":
            data += png[at + 8 : at + 8 + size]
        at += size + 12
    width, height, depth, kind = struct.unpack(">IIBB", png[16:26])
    assert (depth, kind) == (8, 6)
    raw = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, 1 + 4 * width)
    out = np.zeros((rows + 1, 4 * width + 4), np.int64)
    for y in range(rows):
        line, how = raw[y, 1:].astype(np.int64), int(raw[y, 0])
        for x in range(4 * width):
            a, b, c = out[y + 1, x], out[y, x + 4], out[y, x]
            near = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
            out[y + 1, x + 4] = (line[x] + (0, a, b, (a + b) // 2, near)[how]) % 256
    return out[1:, 4:].reshape(rows, width, 4)


def test_without_resvg_a_png_is_refused_and_the_others_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(MissingExtra, match=r"pip install 'tilth\[plot\]'; or write .svg or .html"):
        standalone.png("<svg/>")


def test_a_png_without_text_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoFonts:
        @staticmethod
        def svg_to_bytes(svg_string: str, **options: Any) -> bytes:
            return b"blank"

    monkeypatch.setitem(sys.modules, "resvg_py", NoFonts)
    with pytest.raises(UsageError, match="needs a font"):
        standalone.png("<svg/>")


@pytest.mark.parametrize(
    ("installed", "other", "wanted"),
    [
        ({"DejaVu Sans", "Ubuntu"}, "blank", "DejaVu Sans"),
        ({"Liberation Sans", "DejaVu Sans"}, "serif", "Liberation Sans"),  # what is missing is drawn, with serifs
        (set(), "serif", "Arial"),
    ],
)
def test_a_png_is_drawn_in_a_family_that_is_installed(
    installed: set[str], other: str, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str]] = []

    class Fonts:
        @staticmethod
        def svg_to_bytes(svg_string: str, sans_serif_family: str, **options: Any) -> bytes:
            asked.append((svg_string, sans_serif_family))
            font = sans_serif_family if sans_serif_family in installed else other
            return font.encode() if "M<" in svg_string else b"blank"

    monkeypatch.setitem(sys.modules, "resvg_py", Fonts)
    monkeypatch.setattr(standalone, "flat", lambda document, dark: document)
    standalone.png("<svg/>")
    assert asked[-1] == ("<svg/>", wanted)


@pytest.mark.parametrize(
    ("folder", "signal", "options", "says"),
    [
        ("nowhere", "", {}, "nowhere. Give a build's folder"),
        (
            "build/recipe",
            "cartografy",
            {},
            "no signal 'cartografy'. Did you mean cartography? It has cartography (confid",
        ),
        ("build/recipe", "minhash", {}, "name it in the recipe's `signals:` and run `tilth score`"),
        ("build/recipe", "el2n.scor", {}, "el2n has no output 'scor'. Did you mean score? It has score, spread."),
        ("build/recipe", "el2n", {"kind": "map"}, "el2n has score, spread. cartography makes both. To add a signal"),
        ("build/recipe", "el2n", {"kind": "curves"}, "el2n kept no curves over passes. cartography keeps them"),
        ("build/recipe", "el2n.score", {"kind": "correlation"}, "write el2n, without .score"),
        ("build/recipe", "", {"kind": "map"}, "is a picture of one signal. Name it: It has cartography"),
        ("build/recipe", "el2n", {"kind": "pie"}, "--kind is map, curves, histogram or correlation. Got 'pie'"),
        ("build/recipe", "cartography", {"colour": "red"}, "--colour is region or correctness. Got 'red'"),
        ("build/recipe", "el2n", {"out": "el2n.gif"}, "--out ends in .svg, .png or .html. Got '"),
        ("build/bare", "", {}, "two outputs that are numbers and vary; there is none. It has no signal yet. To add"),
        ("build/bare", "el2n", {}, "It has no signal yet"),
        ("build/recipe", "tokens", {"kind": "correlation"}, "there is tokens.count"),
    ],
)
def test_errors_say_what_there_is_and_what_to_do(
    built: Path, folder: str, signal: str, options: dict[str, str], says: str
) -> None:
    before = {*built.iterdir()}
    with pytest.raises(UsageError) as error:
        draw(built, folder, signal, **options)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert {*built.iterdir()} == before


def test_an_error_is_one_line_with_an_exit_code(built: Path) -> None:
    done = tilth("plot", "build/recipe", "cartografy", cwd=built)
    assert done.returncode == 2
    assert done.stderr.startswith("tilth: The pool has no signal 'cartografy'. Did you mean cartography?")
    assert done.stderr.count("\n") == 1


def test_signals_that_do_not_vary_have_no_picture(built: Path) -> None:
    (built / "same.jsonl").write_text("".join(json.dumps({"text": "a b c"}) + "\n" for _ in range(9)))
    (built / "same.yaml").write_text("sources:\n  s: {path: same.jsonl}\nsignals: [tokens]\n")
    assert tilth("build", "same.yaml", "--workers", "1", cwd=built).returncode == 0
    with pytest.raises(UsageError, match="nothing to draw"):
        plot(built / "build/same", "tokens", built / "same.svg")


def test_help_has_an_example(built: Path) -> None:
    done = tilth("plot", "--help", cwd=built)
    assert "Example: tilth plot build/recipe cartography --out map.html" in done.stdout
