"""The ledger fits the methods and claims, both ways, and its page is up to date. Never skipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tilth import catalog, ledger
from tilth.ledger import Paper

ROOT = Path(__file__).parents[1]


def test_ledger_and_code_agree() -> None:
    assert ledger.check() == []


def test_every_seed_paper_has_a_row() -> None:
    rows = ledger.papers()
    assert len(rows) == 367
    assert all(p.title and p.what for p in rows.values())
    assert all(p.works_when for p in rows.values() if p.verdict in ("core", "lab"))


def test_page_is_up_to_date() -> None:
    page = (ROOT / "docs" / "papers.md").read_text(encoding="utf-8")
    assert page == ledger.docs_page(), (
        "run: python -c \"from tilth import ledger; open('docs/papers.md', 'w').write(ledger.docs_page())\""
    )


def test_methods_of_works_rows_are_in_the_catalog() -> None:
    named = {name for p in ledger.papers().values() for name in p.methods}
    assert named <= set(catalog.names())


GOOD = Paper("k", "T", "core", "works", "Signal", "quality", "w", "when", methods=("m",), claims=("c",))


@pytest.mark.parametrize(
    ("paper", "methods", "claimed", "said"),
    [
        (GOOD, {"m": "k"}, {"c": "k"}, None),
        (GOOD, {}, {"c": "k"}, "k: there is no method m"),
        (GOOD, {"m": "k"}, {}, "k: there is no claim c"),
        (GOOD, {"m": "k", "n": "nope"}, {"c": "k"}, "method n names the paper 'nope', which"),
        (GOOD, {"m": "k", "n": "k"}, {"c": "k"}, "method n names the paper 'k', whose row does not name it back"),
        (GOOD, {"m": "k"}, {"c": "k", "d": "k"}, "claim d names the paper 'k', whose row"),
        (GOOD, {"m": "k"}, {"c": "k", "d": ""}, "Claim d names no paper"),
        (replace(GOOD, methods=(), claims=()), {}, {}, "names neither a method nor a claim"),
        (replace(GOOD, status="planned"), {"m": "k"}, {"c": "k"}, "status cannot be planned"),
        (replace(GOOD, status="done"), {"m": "k"}, {"c": "k"}, "status 'done' is none of"),
        (replace(GOOD, verdict="reference"), {"m": "k"}, {"c": "k"}, "contradict"),
        (replace(GOOD, verdict="maybe"), {"m": "k"}, {"c": "k"}, "verdict 'maybe' is none of"),
    ],
)
def test_each_kind_of_disagreement_is_told(
    paper: Paper, methods: dict[str, str], claimed: dict[str, str], said: str | None
) -> None:
    wrong = ledger.check({paper.key: paper}, methods, claimed)
    assert wrong == [] if said is None else any(said in line for line in wrong)


def test_reading_a_ledger(tmp_path: Path) -> None:
    row = '[[paper]]\nkey = "a"\ntitle = "T | U"\nverdict = "core"\nstatus = "works"\nnoun = "Signal"\nfamily = "f"\n'
    file = tmp_path / "papers.toml"
    file.write_text(row + 'what = "w"\nmethod = "m"\nclaim = ["c", "d"]\n')
    rows = ledger.papers(file)
    assert (rows["a"].methods, rows["a"].claims) == (("m",), ("c", "d"))
    page = ledger.docs_page(rows)
    assert "| T \\| U | works | `m` | `c`, `d` | w |" in page
    assert "1 papers: 1 works" in page
    file.write_text(row + 'what = "w"\n' + row + 'what = "w"\n')
    with pytest.raises(ValueError, match="more than one row for a"):
        ledger.papers(file)
