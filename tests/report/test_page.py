from __future__ import annotations

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pyarrow as pa
import pytest

from tilth.build import Build
from tilth.core.pool import TablePool
from tilth.core.records import FIELDS, Kind
from tilth.report.page import CONTENTS, POLICY, write_report

ELEMENTS = set(
    re.findall(
        r"\S+",
        """
html head meta title style body header nav main section h1 h2 h3 h4 p a ul li div span strong i bdi code pre
article details summary table caption thead tbody tr th td figure figcaption
svg desc rect line circle path text
""",
    )
)
ATTRIBUTES = set(
    re.findall(
        r"\S+",
        """
lang charset http-equiv content name href id class title open scope colspan tabindex role aria-label dir
width height viewbox preserveaspectratio x y x1 x2 y1 y2 cx cy r rx d dx text-anchor transform fill-opacity
""",
    )
)
VOID = {"meta", "br"}
VISIBLE = {0x202E: "‹U+202E›", 0x2066: "‹U+2066›"}


class Reader(HTMLParser):
    """Every element, attribute and text of a document, checked for balance."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.stack: list[str] = []
        self.odd: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.stack.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def handle_comment(self, data: str) -> None:
        self.odd.append(data)

    def handle_pi(self, data: str) -> None:
        self.odd.append(data)

    def unknown_decl(self, data: str) -> None:
        self.odd.append(data)


def read(page: str) -> Reader:
    reader = Reader()
    reader.feed(page)
    reader.close()
    assert not reader.stack
    return reader


def made(build: Build) -> str:
    return write_report(build).read_text(encoding="utf-8")


def test_strings_from_data_are_text_and_nothing_else(everything: Build) -> None:
    reader = read(made(everything))
    assert set(reader.elements) <= ELEMENTS
    assert {name for _, name, _ in reader.attributes} <= ATTRIBUTES
    assert not reader.odd
    for _, name, value in reader.attributes:
        if name == "href":
            assert value.removeprefix("#") in CONTENTS
        if name in ("class", "id"):
            assert re.fullmatch(r"[a-z0-9 -]+", value)
    text = "".join(reader.texts)
    for planted in ("</script><img src=x onerror=alert(1)>", '"><svg onload=alert(2)>', "<iframe src=//evil.example>"):
        assert planted in text


def test_each_place_that_data_reaches_is_covered(everything: Build, hostile: list[str]) -> None:
    # Were one of these not shown at all, the test above would prove nothing about it.
    reader = read(made(everything))
    text = "".join(reader.texts)
    for place in (
        f"{hostile[0]}-8",  # an id
        f"vs {hostile[0][:24]}…: better",  # a label in a picture
        f"not run: {hostile[1]} ({hostile[6]})",
        f"signal to noise on goal {hostile[1]}",
        f"to reach the final loss of {hostile[0]}",
        f"cannot read data/bad0.jsonl: {hostile[0]}",
        f"'{hostile[1]}'",  # a licence in the recipe
        f", {hostile[-1]}",  # a licence of a record
        "</pre><img src=x onerror=alert(4)>",  # a method's field
        f"{hostile[1]}-9\n{hostile[4].translate(VISIBLE)}\nconfidence",  # id and source of a point in a data map
    ):
        assert place in text, place
    assert any(tag == "svg" and name == "aria-label" and "onerror" in v for tag, name, v in reader.attributes)


def test_a_map_curves_and_correlations_are_in_the_report(everything: Build) -> None:
    page = made(everything)
    reader = read(page)
    text = "".join(reader.texts)
    assert "Data map of learned" in text
    assert "all 110 mapped records" in text
    assert "Records that are right: learned" in text
    assert "Rank correlation of signals" in text
    assert "Spearman, of all 120 records" in text
    marks = [v for t, n, v in reader.attributes if n == "class" and v.startswith("mark ")]
    dots = [v for v in marks if "fifth" in v]
    assert len(dots) == 110 + 5  # the map by correctness, and its legend
    rows = tables(read_rows(page), "The strongest between different signals")
    assert len(rows) > 1
    assert all(a.partition(".")[0] != b.partition(".")[0] for a, b, _ in rows[1:])


def test_what_cannot_be_seen_is_made_visible(everything: Build) -> None:
    page = made(everything)
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", page)
    assert "nul‹U+0000›bell‹U+0007›escape‹U+001B›" in page
    assert "safe‹U+202E›gnp.exe‹U+2066›" in page
    assert "‹U+D800›" in page


def test_nothing_is_loaded_and_a_policy_forbids_it(everything: Build) -> None:
    reader = read(made(everything))
    contents = dict.fromkeys(v for t, n, v in reader.attributes if t == "meta" and n == "content")
    assert POLICY in contents
    assert POLICY.startswith("default-src 'none'")
    style = (Path(__file__).parents[2] / "src" / "tilth" / "report" / "style.css").read_text()
    assert "url(" not in style
    assert "@import" not in style
    assert "<" not in style


def test_equal_builds_give_equal_bytes_without_a_machine_path(tmp_path: Path, make: Callable[..., Build]) -> None:
    one, two = (made(make(tmp_path / name)) for name in ("one", "a much longer place"))
    assert one == two
    assert str(tmp_path) not in one


@pytest.mark.parametrize(("goal", "proof"), [(True, True), (True, False), (False, False)])
def test_every_section_is_there_and_reachable(
    tmp_path: Path, make: Callable[..., Build], goal: bool, proof: bool
) -> None:
    page = made(make(tmp_path / "b", goal=goal, proof=proof))
    reader = read(page)
    ids = [v for t, n, v in reader.attributes if t == "section" and n == "id"]
    assert ids == [*CONTENTS]
    assert ("No proof was run" in page) == (not proof)
    assert ("NO DIFFERENCE" in page or "BETTER than the best baseline" in page) == proof
    assert ("there is no plan" in page) == (not goal)


def test_numbers_are_those_of_the_plan(everything: Build) -> None:
    rows = tables(read_rows(made(everything)), "Records kept and dropped, by source and decision")
    plan = everything.plan
    kept = {row[0]: [int(v.replace(",", "")) for v in row[1:]] for row in rows[1:]}
    assert sum(v[0] for v in kept.values()) == int(plan.kept.sum())
    for number in range(len(plan.decisions)):
        assert sum(v[1 + number] for v in kept.values()) == int((plan.dropped_by == number).sum())
    sources = tables(read_rows(made(everything)), "The plan, by source")
    read_amounts = [float(row[6].replace(",", "")) for row in sources[1:]]
    assert sources[0][6] == "records read"
    assert sum(read_amounts) == plan.amount


def test_a_signal_that_touches_nothing_is_named_and_others_are_not(everything: Build) -> None:
    text = " ".join(read(made(everything)).texts)
    assert "still touches nothing" in text
    for name in ("quality", "minhash", "contamination"):
        assert f"{name} touches nothing" not in text


def test_a_rare_value_still_counts_as_touching(
    tmp_path: Path, make: Callable[..., Build], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilth.report.measured.SAMPLE", 10)
    text = " ".join(read(made(make(tmp_path / "b"))).texts)
    assert "every 12th record" in text
    assert "contamination touches nothing" not in text


def test_clusters_are_counted_and_the_keeper_comes_first(everything: Build) -> None:
    text = " ".join(read(made(everything)).texts)
    # 120 records in clusters of 7: 17 of them and one of a single record
    assert "17 clusters of two or more hold 119 records; 102 of the pool's 120 records" in text
    first = text[text.index("Cluster 1: 7 records") :]
    assert first.index("kept") < first.index("duplicate")


def test_quarantine_is_grouped_by_reason(everything: Build) -> None:
    rows = tables(read_rows(made(everything)), "Quarantine, by reason")
    assert len(rows) == 1 + 2
    assert [row[2] for row in rows[1:]] == ["6", "6"]
    assert {row[3] for row in rows[1:]} == {"data/bad0.jsonl, line 1", "data/bad1.jsonl, line 2"}


def test_a_damaged_quarantine_does_not_lose_the_report(everything: Build) -> None:
    file = everything.out / "pool" / "quarantine.jsonl"
    file.write_bytes(file.read_bytes() + json.dumps({"reason": "odd"}).encode() + b"\n")
    assert "odd" in made(everything)


def read_rows(page: str) -> list[tuple[str, list[list[str]]]]:
    """Caption and cells of every table."""
    found: list[tuple[str, list[list[str]]]] = []

    class Tables(HTMLParser):
        where = ""

        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag == "table":
                found.append(("", []))
            elif tag == "tr":
                found[-1][1].append([])
            elif tag in ("th", "td"):
                found[-1][1][-1].append("")
            if tag in ("caption", "th", "td"):
                self.where = tag

        def handle_endtag(self, tag: str) -> None:
            if tag == self.where:
                self.where = ""

        def handle_data(self, data: str) -> None:
            if self.where == "caption":
                found[-1] = (found[-1][0] + data, found[-1][1])
            elif self.where:
                found[-1][1][-1][-1] += data

    Tables().feed(page)
    return found


def tables(found: list[tuple[str, list[list[str]]]], caption: str) -> list[list[str]]:
    (rows,) = [rows for name, rows in found if name == caption]
    return rows


RECORDS: dict[str, dict[str, list[object]]] = {
    "instruction": {"messages": [[{"role": "user", "content": "<b>hi"}], [], None]},
    "labeled": {"text": ["a", None, ""], "label": ["x", "y", None]},
    "preference": {"prompt": ["p", None, ""], "chosen": ["c", "d", None], "rejected": ["r", "s", "t"]},
    "retrieval": {"query": ["q", None, ""], "positive": ["c", "d", None], "negatives": [["n"], [], None]},
}


@pytest.mark.parametrize("kind", RECORDS)
def test_every_kind_of_record_has_a_report(tmp_path: Path, make: Callable[..., Build], kind: Kind) -> None:
    build = make(tmp_path / "b", goal=False, proof=False)
    build.signals.clear()
    columns = {name: pa.array(RECORDS[kind][name], type_) for name, type_ in FIELDS[kind].items()}
    build.pool = TablePool(pa.table(columns), kind)  # type: ignore[assignment]
    page = made(build)
    assert f"3 {kind} records" in page
    assert page.count('<article class="record">') == 3
    assert page.count("(no text)") <= 2


def test_a_pool_without_records_has_a_report(tmp_path: Path, make: Callable[..., Build]) -> None:
    build = make(tmp_path / "b", goal=False, proof=False)
    build.pool = TablePool(build.pool.table(build.pool.schema.names).slice(0, 0))  # type: ignore[assignment]
    assert "touches nothing" not in made(build)
