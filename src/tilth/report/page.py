"""``report.html``: one self-contained file that says what was done, why, and whether it works."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tilth.engine.local import write_atomic
from tilth.report.decided import dropped, goes_in, verdict
from tilth.report.markup import Markup, el
from tilth.report.measured import clusters, contamination, signals
from tilth.report.origin import made, quarantine, samples
from tilth.report.parts import Paths

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["document", "render", "write_report"]

# Text comes from strangers. It is escaped, and should an escape ever be missing, this forbids it to load or run.
POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
CONTENTS = {
    "verdict": "Verdict",
    "goes-in": "What goes in",
    "dropped": "What was dropped",
    "signals": "Signals",
    "clusters": "Duplicates",
    "contamination": "Contamination",
    "samples": "Samples",
    "quarantine": "Quarantine",
    "made": "How it was made",
}


def write_report(build: Build) -> Path:
    """Write ``report.html`` into the build's folder; equal builds give equal bytes."""
    path = build.out / "report.html"
    write_atomic(path, render(build).encode("utf-8"))
    return path


def render(build: Build) -> str:
    """The report as one HTML document: no script, no network, no clock, no path of this machine."""
    paths = Paths(build.base)
    contents = el("nav", [el("a", name, href=f"#{anchor}") for anchor, name in CONTENTS.items()], aria_label="Sections")
    sections = [
        verdict(build),
        goes_in(build),
        dropped(build),
        signals(build),
        clusters(build),
        contamination(build),
        samples(build),
        quarantine(build, paths),
        made(build, paths),
    ]
    header = el("header", el("h1", "tilth report"), _subtitle(build), contents)
    return document("tilth report", header, el("main", sections))


def document(title: str, *body: Markup) -> str:
    """One HTML file with everything in it: its style, a header that forbids scripts and loading, and the body."""
    style = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    head = el(
        "head",
        el("meta", charset="utf-8"),
        el("meta", http_equiv="Content-Security-Policy", content=POLICY),
        el("meta", name="viewport", content="width=device-width, initial-scale=1"),
        el("meta", name="color-scheme", content="light dark"),
        el("meta", name="referrer", content="no-referrer"),
        el("title", title),
        el("style", Markup(style)),
    )
    return f"<!DOCTYPE html>\n{el('html', head, el('body', *body), lang='en')}\n"


def _subtitle(build: Build) -> Markup:
    sources = len(build.recipe.sources)
    pool = f"{build.pool.count:,} {build.pool.kind} records from {sources} source{'' if sources == 1 else 's'}"
    if build.goal is None:
        return el("p", pool)
    plan = build.plan
    return el("p", f"{pool}; {int(plan.kept.sum()):,} of them in the plan, {plan.amount:,} {plan.budget.unit} to read")
