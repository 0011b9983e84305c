"""The ledger: papers.toml against the methods and claims there are, both ways."""

from __future__ import annotations

import ast
import tomllib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tilth import catalog

__all__ = ["Paper", "check", "claims", "docs_page", "papers"]

STATUSES = ("works", "partial", "planned", "reference", "outfield")
VERDICTS = ("core", "lab", "reference", "outfield")
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Paper:
    """One row of the ledger; the head of papers.toml says what each field means."""

    key: str
    title: str
    verdict: str
    status: str
    noun: str
    family: str
    what: str
    works_when: str = ""
    headline: str = ""
    methods: tuple[str, ...] = ()
    claims: tuple[str, ...] = ()


def papers(file: Path | None = None) -> dict[str, Paper]:
    """Key -> row, in the ledger's order."""
    if file is None:
        packed = _HERE / "papers.toml"  # an installed wheel carries the ledger inside the package
        file = packed if packed.exists() else _HERE.parents[1] / "papers.toml"
    rows = tomllib.loads(file.read_text(encoding="utf-8"))["paper"]
    read = [_paper(dict(row)) for row in rows]
    twice = [key for key, n in Counter(p.key for p in read).items() if n > 1]
    if twice:
        raise ValueError(f"{file.name} has more than one row for {', '.join(twice)}.")
    return {p.key: p for p in read}


def _paper(row: dict[str, Any]) -> Paper:
    for one, many in (("method", "methods"), ("claim", "claims")):
        value = row.pop(one, [])
        row[many] = (value,) if isinstance(value, str) else tuple(value)
    return Paper(**row)


def claims() -> dict[str, str]:
    """Claim -> the key of its paper (its module's ``PAPER``; empty if it states none), read without running it."""
    found = {}
    for file in sorted((_HERE / "claims").glob("[!_]*.py")):
        found[file.stem] = ""
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            named = any(isinstance(t, ast.Name) and t.id == "PAPER" for t in targets)
            value = getattr(node, "value", None)
            if named and isinstance(value, ast.Constant):
                found[file.stem] = str(value.value)
    return found


def check(
    rows: Mapping[str, Paper] | None = None,
    methods: Mapping[str, str] | None = None,
    claimed: Mapping[str, str] | None = None,
) -> list[str]:
    """Everything that does not fit together, one sentence each; empty when all is well.

    Args:
        rows: the ledger; papers.toml unless given.
        methods: method name -> key of its paper or ""; the classes' own unless given.
        claimed: claim name -> key of its paper; the modules' own unless given.
    """
    rows = papers() if rows is None else rows
    methods = {name: catalog.find(name).paper for name in catalog.names()} if methods is None else methods
    claimed = claims() if claimed is None else claimed
    return [
        *(line for paper in rows.values() for line in _check_row(paper, methods, claimed)),
        *_check_back("method", methods, rows, {p.key: p.methods for p in rows.values()}),
        *_check_back("claim", claimed, rows, {p.key: p.claims for p in rows.values()}),
        *(f"Claim {name} names no paper: set PAPER to its key." for name, key in claimed.items() if not key),
    ]


def _check_row(paper: Paper, methods: Mapping[str, str], claimed: Mapping[str, str]) -> list[str]:
    """What is wrong with one row, looked at from the ledger."""
    wrong = []
    if paper.status not in STATUSES:
        wrong.append(f"{paper.key}: status {paper.status!r} is none of {', '.join(STATUSES)}.")
    if paper.verdict not in VERDICTS:
        wrong.append(f"{paper.key}: verdict {paper.verdict!r} is none of {', '.join(VERDICTS)}.")
    elif paper.verdict in ("reference", "outfield") and paper.status != paper.verdict:
        wrong.append(f"{paper.key}: verdict {paper.verdict} and status {paper.status} contradict each other.")
    if paper.status in ("works", "partial") and not (paper.methods or paper.claims):
        wrong.append(f"{paper.key}: status {paper.status} names neither a method nor a claim.")
    if paper.status not in ("works", "partial") and (paper.methods or paper.claims):
        wrong.append(f"{paper.key}: names a method or claim, so its status cannot be {paper.status}.")
    wrong += [f"{paper.key}: there is no method {name}." for name in paper.methods if name not in methods]
    wrong += [f"{paper.key}: there is no claim {name}." for name in paper.claims if name not in claimed]
    return wrong


def _check_back(
    noun: str, made: Mapping[str, str], rows: Mapping[str, Paper], listed: Mapping[str, Sequence[str]]
) -> list[str]:
    """What is wrong looked at from the methods or claims: each that names a paper is named by it."""
    wrong = []
    for name, key in made.items():
        if key and key not in rows:
            wrong.append(f"The {noun} {name} names the paper {key!r}, which papers.toml does not have.")
        elif key and name not in listed[key]:
            wrong.append(
                f"The {noun} {name} names the paper {key!r}, whose row does not name it back: "
                f'add {noun} = "{name}" there and set its status.'
            )
    return wrong


def docs_page(rows: Mapping[str, Paper] | None = None) -> str:
    """docs/papers.md: what works first, then the counts, then everything else."""
    found = list((papers() if rows is None else rows).values())
    count = Counter(p.status for p in found)
    lines = [
        "# Papers",
        "",
        "Made from `papers.toml` by `tilth.ledger.docs_page`; do not edit.",
        "",
        f"{len(found)} papers: " + ", ".join(f"{count[s]} {s}" for s in STATUSES) + ".",
        "",
        "*works*: built, and its exam or claim holds. *partial*: built in part. *planned*: not built yet. "
        "*reference*: read, nothing to build. *outfield*: outside what a compiler for text data does.",
        "",
        "## What works",
        "",
        "| paper | status | methods | claims | what it does | the paper reports |",
        "|---|---|---|---|---|---|",
    ]
    built = [p for p in found if p.status in ("works", "partial")]
    for p in sorted(built, key=lambda p: STATUSES.index(p.status)):
        named = [", ".join(f"`{n}`" for n in names) for names in (p.methods, p.claims)]
        lines.append(f"| {_cell(p.title)} | {p.status} | {' | '.join(named)} | {_cell(p.what)} | {_cell(p.headline)} |")
    lines += ["", "## Counts by family", "", f"| family | {' | '.join(STATUSES)} |", "|---|" + "--:|" * len(STATUSES)]
    families = sorted({p.family for p in found})
    for family in families:
        per = Counter(p.status for p in found if p.family == family)
        lines.append(f"| {family} | {' | '.join(str(per[s]) for s in STATUSES)} |")
    for status in STATUSES[2:]:
        lines += ["", f"## {status.capitalize()}"]
        for family in families:
            here = [p for p in found if (p.status, p.family) == (status, family)]
            if here:
                lines += ["", f"### {family.capitalize()} ({status})", ""]
                lines += [f"- **{p.title}** (`{p.key}`, {p.noun}). {p.what}" for p in here]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
