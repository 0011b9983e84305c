"""Makes examples/data, the small real sample, from the full files in the folder that TILTH_DATA names.

Run: TILTH_DATA=/path/to/data python scripts/make_sample.py

Documents are drawn by a hash of their text, so that exact duplicates are drawn together and stay in, some of them and
some near-duplicates (ordinances that return with another year or trade) first. Long documents are cut into pieces
at paragraph borders. Pieces that hold an e-mail address, a phone number or the like, or a slur, are left out. Target
and holdout come from documents that the pool does not use, and share fewer than a quarter of their word 8-grams with
anything else, except for three papers that arXiv listed twice: one listing is in the holdout, the other in the pool.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import zstandard

from tilth.signals.audit.pii import find

OUT = Path(__file__).parents[1] / "examples" / "data"
DOMAIN_BYTES = 335_000
TWIN_BYTES = 25_000  # of which at most this much are documents known to have a twin
PIECE_BYTES = 2000
PIECES = 5  # of one document
GOAL_ITEMS = 34  # of each goal domain, in target and in holdout
LISTED_TWICE = 3
TWIN_LAWS = re.compile(r"/(?:patinfozbek|milch.ausbsteignv|auslwbgdv|rag_19|persstdauszuebkg|ehefzeugnuebkg)")
SLURS = re.compile(r"\b(?:fuck|faggot|nigg|cunt)", re.IGNORECASE)
FREE = {"public-domain", "CC0-1.0", "CC-BY-4.0"}
LANGUAGES = re.findall(
    r"\w+",
    "arb ben bul ces cmn_hans dan deu ell_monotonic eng fin fra heb hin hun ind ita jpn kor nld pes_1 pol por_BR rus "
    "spa swe swh tha tur ukr vie",
)
Row = dict[str, Any]


def lot(text: str) -> str:
    """A place in a shuffled order that is a function of the text alone."""
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"sample").hexdigest()


def read(name: str) -> list[Row]:
    """The rows of one file that may be shared, each with `origin` for what the import will call source."""
    file = Path(os.environ["TILTH_DATA"]) / "A_text" / f"{name}.jsonl.zst"
    with file.open("rb") as raw:
        lines = io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(raw), encoding="utf-8")
        rows = [json.loads(line) for line in lines]
    kept = ("id", "text", "domain", "license", "url", "lang", "date")
    return [{k: r[k] for k in kept if k in r} | {"origin": r["source"]} for r in rows if r["license"] in FREE]


def cut(text: str, borders: tuple[str, ...] = ("\n\n", "\n", ". ")) -> Iterator[str]:
    """Pieces of at most about PIECE_BYTES, cut at paragraphs, else lines, else sentences; joined they are the text."""
    if len(text.encode()) <= PIECE_BYTES or not borders:
        yield text
        return
    parts = [p for part in re.split(f"(?<={re.escape(borders[0])})", text) for p in cut(part, borders[1:])]
    held = ""
    for part in parts:
        if held and len((held + part).encode()) > PIECE_BYTES:
            yield held
            held = ""
        held += part
    yield held


def pieces(row: Row) -> list[Row]:
    """The first pieces of a document, without those that hold personal data or slurs."""
    texts = [text.strip() for text in cut(row["text"])]
    parts = [{**row, "id": f"{row['id']}#{n}" if len(texts) > 1 else row["id"], "text": t} for n, t in enumerate(texts)]
    return [p for p in parts[:PIECES] if p["text"] and not find(p["text"]) and not SLURS.search(p["text"])]


def line(row: Row) -> bytes:
    """The row as it is stored."""
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def draw(rows: list[Row]) -> list[Row]:
    """Pieces up to DOMAIN_BYTES by lot, some documents with a twin first."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["text"]].append(row)
    order = sorted(groups.values(), key=lambda g: lot(g[0]["text"]))
    drawn: dict[str, Row] = {}
    for share, among in ((TWIN_BYTES, twins(order)), (DOMAIN_BYTES, order)):
        size = sum(len(line(r)) for r in drawn.values())
        for group in among:
            new = [p for row in group for p in pieces(row) if p["id"] not in drawn]
            weight = sum(len(line(p)) for p in new)
            if size + weight <= share:
                drawn |= {p["id"]: p for p in new}
                size += weight
    return sorted(drawn.values(), key=lambda r: lot(str(r["id"])))


def twins(groups: list[list[Row]]) -> list[list[Row]]:
    """Documents of some length with an exact twin; of laws, those nearly the same as another year's or trade's."""
    if groups[0][0]["domain"] == "law":
        return [g for g in groups if TWIN_LAWS.search(g[0]["id"])]
    return [g for g in groups if len(g) > 1 and len(g[0]["text"]) > 200]


def page(row: Row) -> str:
    """The document that an item comes from: questions on one page, and listings of one paper, share text."""
    return re.sub(r"(-\d+|@.*)$", "", row["id"])


def grams(text: str) -> set[str]:
    """Its word 8-grams, or all its words when it has fewer."""
    words = re.findall(r"\w+", text.lower())
    return {" ".join(words[i : i + 8]) for i in range(max(1, len(words) - 7))}


def goal(domain: list[Row], pool: list[Row], seen: set[str]) -> tuple[list[Row], list[Row]]:
    """Target and holdout items of one domain, from pages the pool does not use; `seen` holds all 8-grams so far."""
    used = {page(row) for row in pool}
    chosen: list[Row] = []
    for row in sorted(domain, key=lambda r: lot(r["text"] + "goal")):
        if page(row) in used or not 500 <= len(row["text"]) <= 2500 or find(row["text"]):
            continue
        own = grams(row["text"])
        if len(own & seen) / len(own) < 0.25:
            chosen.append(row)
            seen |= own
            used.add(page(row))
        if len(chosen) == 2 * GOAL_ITEMS:
            break
    return chosen[:GOAL_ITEMS], chosen[GOAL_ITEMS:]


def write(name: str, rows: list[Row]) -> None:
    """One compressed file."""
    raw = b"".join(map(line, rows))
    (OUT / f"{name}.jsonl.zst").write_bytes(zstandard.ZstdCompressor(level=19).compress(raw))
    print(f"{name}: {len(rows)} records, {len(raw):,} bytes")


def main() -> None:
    """Draw, check apart, write."""
    files = {
        "fiction": read("fiction_novels"),
        "health": read("health_medquad"),
        "science": read("science_arxiv_2025"),
        "techdocs": read("techdocs_peps"),
        "encyclopedia": read("encyclopedia_factbook"),
        "law": read("law_german"),
        "chat": read("chat_irc_ubuntu"),
        "languages": [r for r in read("languages_udhr") if r["lang"] in LANGUAGES],
    }
    pools = {name: draw(rows) for name, rows in files.items()}
    twice = [g for g in listed_twice(pools["science"]) if 500 <= len(g[0]["text"]) <= 2500][:LISTED_TWICE]
    moved = [group[1] for group in twice]
    pools["science"] = [row for row in pools["science"] if row not in moved]
    seen = {gram for rows in pools.values() for row in rows for gram in grams(row["text"])}
    target, holdout = [], moved
    for name in ("health", "science"):
        first, second = goal(files[name], pools[name], seen)
        target += first
        holdout += second
    for name, rows in pools.items():
        write(name, rows)
    write("target", sorted(target, key=lambda r: lot(r["id"])))
    write("holdout", sorted(holdout, key=lambda r: lot(r["id"])))


def listed_twice(rows: list[Row]) -> list[list[Row]]:
    """Papers of which the pool holds exactly two listings with one text."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["text"]].append(row)
    return [g for g in groups.values() if len(g) == 2 and page(g[0]) == page(g[1])]


if __name__ == "__main__":
    main()
