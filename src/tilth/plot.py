"""Draw a picture of a pool's signals into a file: ``tilth plot``."""

from __future__ import annotations

from difflib import get_close_matches
from pathlib import Path
from typing import Any

from tilth.core.errors import MissingColumns, UsageError
from tilth.core.files import write_atomic
from tilth.core.plan import groups
from tilth.engine.apply import signal_state
from tilth.engine.store import StoredPool
from tilth.report import measured, pictures, standalone
from tilth.report.pictures import Picture

__all__ = ["KINDS", "plot"]

KINDS = ("map", "curves", "histogram", "correlation")
COLOURS = ("region", "correctness")
FORMATS = (".svg", ".png", ".html")
REMEDY = "To add a signal, name it in the recipe's `signals:` and run `tilth score`."


def plot(
    folder: Path,
    signal: str = "",
    out: Path | None = None,
    kind: str | None = None,
    colour: str = "region",
    dark: bool = False,
) -> dict[str, Any]:
    """Draw a signal, or without one the correlations of all; returns what was drawn from how many records, and where.

    Args:
        folder: of a pool, or of a build, which holds one.
        signal: a signal's name, or dotted that of one of its outputs.
        out: the file; its ending, svg, png or html, says what is written.
        kind: one of `KINDS`; by default the data map where there is one, else histograms.
        colour: what colours tell in a data map: ``region`` or ``correctness``.
        dark: whether a PNG has the dark colours; SVG and HTML follow the reader's.

    Raises:
        MissingColumns: when the pool does not have the signal or output.
        MissingExtra: when a PNG is asked for and resvg is not installed.
        UsageError: when the signal has no such picture, or the file's ending is unknown.
    """
    for what, value, known in (("--kind", kind or KINDS[0], KINDS), ("--colour", colour, COLOURS)):
        if value not in known:
            raise UsageError(f"{what} is {', '.join(known[:-1])} or {known[-1]}. Got {value!r}.")
    path = out or Path(f"{signal or 'correlation'}.svg")
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"--out ends in {', '.join(FORMATS[:-1])} or {FORMATS[-1]}. Got {str(path)!r}.")
    pool = _open(folder)
    found = _pictures(pool, signal, kind, colour)
    figures = [(p.title, p.figure) for p in found]
    write_atomic(path, _written(figures, path.suffix.lower(), f"{pool.count:,} {pool.kind} records", dark))
    told: dict[str, Any] = {"picture": str(path), "records": pool.count}
    return told | {"drawn": [{"title": p.title} | p.told for p in found]}


def _written(figures: list[tuple[str, Any]], ending: str, about: str, dark: bool) -> bytes:
    if ending == ".html":
        return standalone.html_page("tilth plot", about, figures).encode()
    document = standalone.svg(figures)
    return standalone.png(document, dark) if ending == ".png" else document.encode()


def _open(folder: Path) -> StoredPool:
    for place in (folder, folder / "pool"):
        if (place / "pool.json").exists():
            return StoredPool(place)
    raise UsageError(f"No pool is in {folder}. Give a build's folder, such as build/recipe, or the pool inside it.")


def _pictures(pool: StoredPool, signal: str, kind: str | None, colour: str) -> list[Picture]:
    if not signal:
        if kind not in (None, "correlation"):
            raise UsageError(f"--kind {kind} is a picture of one signal. Name it: {_there_are(pool)}.")
        return [_correlations(pool, pictures.numeric_outputs(pool))]
    name, _, output = signal.partition(".")
    known = pictures.outputs(pool)
    if name not in known:
        raise MissingColumns(f"The pool has no signal {name!r}.{_near(name, [*known])} {_there_are(pool)}. {REMEDY}")
    if output and output not in known[name]:
        raise MissingColumns(f"{name} has no output {output!r}.{_near(output, known[name])} It has "
                             f"{', '.join(known[name])}.")  # fmt: skip
    if output and kind not in (None, "histogram"):
        raise UsageError(f"--kind {kind} is a picture of a whole signal: write {name}, without .{output}.")
    if kind == "correlation":
        return [_correlations(pool, [n for n in pictures.numeric_outputs(pool) if n.startswith(f"{name}.")])]
    mapped = pictures.has_map(pool, name)
    if kind == "curves":
        return _curves(pool, name)
    if kind == "map" or (kind is None and not output and mapped):
        if not mapped:
            raise MissingColumns(
                f"A data map needs {name}.confidence and {name}.variability, and {name} has "
                f"{', '.join(known[name])}. cartography makes both. {REMEDY}"
            )
        return [pictures.data_map(pool, name, colour)]
    sources = groups(pool, "source")
    found = [measured.distribution(pool, name, each, sources) for each in ([output] if output else known[name])]
    drawn = [picture for picture in found if picture]
    if not drawn:
        raise UsageError(f"{signal} has nothing to draw: its outputs are the same for all records, or no numbers.")
    return drawn


def _correlations(pool: StoredPool, names: list[str]) -> Picture:
    found = pictures.correlations(pool, names) if len(names) > 1 else None
    if found is None:
        raise MissingColumns(
            f"Correlations need two outputs that are numbers and vary; there is {', '.join(names) or 'none'}. "
            f"{_there_are(pool)}. {REMEDY}"
        )
    return found


def _curves(pool: StoredPool, name: str) -> list[Picture]:
    found = pictures.curves_of(name, signal_state(pool, name))
    if not found:
        raise UsageError(
            f"{name} kept no curves over passes. cartography keeps them, where records have a label (or, with "
            f"learner: {{model: lm}}, a text). {REMEDY}"
        )
    return found


def _near(name: str, known: list[str]) -> str:
    near = get_close_matches(name, known, n=2)
    return f" Did you mean {' or '.join(near)}?" if near else ""


def _there_are(pool: StoredPool) -> str:
    known = pictures.outputs(pool)
    if not known:
        return "It has no signal yet"
    return "It has " + "; ".join(f"{name} ({', '.join(own)})" for name, own in known.items())
