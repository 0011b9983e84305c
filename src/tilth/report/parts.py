"""What every section is built from: headings, tables that scroll in their own box, records, and how paths are shown."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import pyarrow.compute as pc
import yaml

from tilth.core.pool import Pool
from tilth.report.charts import number
from tilth.report.markup import Markup, el, shown

__all__ = ["Paths", "as_yaml", "fold", "note", "p_value", "record", "section", "table", "take", "warning"]

NAME, SENTENCE, ROWS = 80, 400, 200


class Paths:
    """Paths as the recipe's author would write them, so that a report does not depend on the machine it was made on."""

    def __init__(self, base: Path) -> None:
        self.base = str(base)

    def file(self, path: str) -> str:
        """A file's path, relative to the recipe's folder."""
        if os.path.isabs(path) or (path and not os.path.isabs(self.base)):
            return os.path.relpath(path, self.base)
        return path

    def files(self, value: Any) -> Any:
        """Plain data in which absolute paths, as users sometimes write them, are made relative."""
        if isinstance(value, dict):
            return {key: self.files(item) for key, item in value.items()}
        if isinstance(value, list):
            return [self.files(item) for item in value]
        return self.file(value) if isinstance(value, str) and os.path.isabs(value) else value

    def text(self, text: str) -> str:
        """A sentence in which the recipe's folder is not spelled out."""
        return text.replace(f"{self.base}{os.sep}", "") if os.path.isabs(self.base) else text


def section(anchor: str, title: str, *children: object) -> Markup:
    """A section with a heading that the table of contents links to."""
    return el("section", el("h2", title), children, id=anchor)


def note(*children: object) -> Markup:
    """A sentence that explains."""
    return el("p", children, class_="note")


def warning(*children: object) -> Markup:
    """A sentence that must not be overlooked."""
    return el("p", el("strong", "Warning: "), children, class_="warning")


def fold(title: object, *children: object, is_open: bool = False) -> Markup:
    """Something the reader can open."""
    return el("details", el("summary", title), children, open="" if is_open else None)


def p_value(p: float) -> str:
    """Three digits; what they would round to 0 is said to be smaller."""
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]], caption: str) -> Markup:
    """A table in a box that scrolls by itself; numbers are set right, long values are cut, at most 200 rows."""
    lines = [list(row) for row in rows]
    numeric = [i > 0 and all(_is_number(line[i]) for line in lines) for i in range(len(heads))]
    body = []
    for first, *rest in lines[:ROWS]:
        cells = [el("td", _cell(v), class_="n" if is_n else None) for v, is_n in zip(rest, numeric[1:], strict=True)]
        body.append(el("tr", el("th", _cell(first), scope="row"), cells))
    if len(lines) > ROWS:
        body.append(el("tr", el("td", f"and {len(lines) - ROWS:,} more", colspan=len(heads))))
    names = [el("th", h, scope="col", class_="n" if is_n else None) for h, is_n in zip(heads, numeric, strict=True)]
    whole = el("table", el("caption", caption), el("thead", el("tr", names)), el("tbody", body))
    return el("div", whole, class_="scroll", tabindex="0", role="region", aria_label=caption)


def _is_number(value: object) -> bool:
    return value is None or bool(re.fullmatch(r"(|[<+-]? ?[\d.,]+(e[+-]\d+)?%?)", str(value)))


def _cell(value: object) -> object:
    if value is None:
        return "–"
    if isinstance(value, Markup):
        return value
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return number(float(value))
    return el("bdi", shown(value, SENTENCE))


def take(pool: Pool, rows: npt.ArrayLike, most: int) -> list[dict[str, Any]]:
    """The records at these rows: id, source, licence and the first characters of the text."""
    names = [n for n in ("id", "source", "license") if n in pool.schema.names]
    found = pool.take(rows, [*names, "text"])
    # One more than is shown, so that `shown` can say that there is more.
    text = pc.utf8_slice_codeunits(found.column("text"), 0, most + 1)
    rows_: list[dict[str, Any]] = found.set_column(len(names), "text", text).to_pylist()
    return rows_


def record(row: dict[str, Any], most: int, *facts: object) -> Markup:
    """One record: who it is, and how it begins."""
    line = [
        el("code", el("bdi", shown(row["id"], NAME))),
        el("span", el("bdi", shown(row["source"], NAME))),
        el("span", el("bdi", shown(row["license"], NAME))) if row.get("license") else None,
        [el("span", fact) for fact in facts if fact is not None],
    ]
    text = row["text"]
    body = el("pre", shown(text, most), dir="auto") if text else note("(no text)")
    return el("article", el("p", line, class_="who"), body, class_="record")


def as_yaml(value: object) -> Markup:
    """Plain data as YAML."""
    text = yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=100)
    return el("pre", text, class_="code")
