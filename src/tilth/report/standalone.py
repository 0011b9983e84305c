"""Pictures as files of their own: SVG and HTML from the report's own figures, PNG from the same SVG."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from tilth.core.errors import MissingExtra, UsageError
from tilth.report.markup import Markup, el

__all__ = ["flat", "html_page", "png", "svg"]

WIDTH, MARGIN, HEAD = 760, 16, 30
ZOOM, TALLEST = 2, 20_000  # dots per pixel, and dots of a PNG's height
BEGIN = "/* pictures */"  # what stands below this in the style sheet is for pictures


def svg(figures: Sequence[tuple[str, str]], titled: bool = True) -> str:
    """One SVG document: the pictures one below the other, with the style they need.

    Args:
        figures: title and figure of each, as `charts` and `plots` draw them.
        titled: whether the titles are drawn.
    """
    top, wide, parts = float(MARGIN), WIDTH, []
    for title, figure in figures:
        found = re.search(r"<svg.*</svg>", figure, re.DOTALL)
        if not found:
            raise ValueError(f"{title!r} is a figure without a picture.")
        if titled:
            parts.append(el("text", title, x=MARGIN, y=top + 14, class_="title"))
            top += HEAD
        width, height = (re.search(rf'{side}="([\d.]+)(%?)"', found[0]) for side in ("width", "height"))
        assert width
        assert height
        inner = found[0].replace("<svg ", f'<svg x="{MARGIN}" y="{top:g}" ', 1)
        if width[2]:
            inner = inner.replace(width[0], f'width="{WIDTH - 2 * MARGIN}"', 1)
        else:
            wide = max(wide, int(float(width[1])) + 2 * MARGIN)
        parts.append(Markup(inner))
        top += float(height[1]) + MARGIN
    ground = el("rect", width=wide, height=f"{top:g}", class_="ground")
    style = el("style", Markup(_style()))
    return el("svg", style, ground, parts, xmlns="http://www.w3.org/2000/svg", width=wide, height=f"{top:g}") + "\n"


def html_page(title: str, about: str, figures: Sequence[tuple[str, str]]) -> str:
    """One HTML document that needs nothing else: no script, no network."""
    from tilth.report.page import document

    body = [el("section", el("h2", name), Markup(figure)) for name, figure in figures]
    return document(title, el("header", el("h1", title), el("p", about)), el("main", body))


def png(document: str, dark: bool = False) -> bytes:
    """An SVG document of `svg` as a PNG, two dots per pixel.

    Raises:
        MissingExtra: when resvg is not installed.
        UsageError: when the machine has no font, and the PNG would have no text.
    """
    try:
        from resvg_py import svg_to_bytes
    except ImportError:
        raise MissingExtra(
            "A PNG needs resvg. Install it: pip install 'tilth[plot]'; or write .svg or .html, which need nothing more."
        ) from None
    font = family(partial(_letter, svg_to_bytes))
    if font is None:
        raise UsageError(
            f"A PNG needs a font, and none of {', '.join(FAMILIES)} is installed here. Install one, or write .svg or "
            f".html."
        )
    height = re.search(r'height="([\d.]+)"', document)
    if height and ZOOM * float(height[1]) > TALLEST:
        raise UsageError("So many pictures do not fit a PNG. Name one output, as in SIGNAL.OUTPUT, or write .html.")
    return bytes(svg_to_bytes(svg_string=flat(document, dark), zoom=ZOOM, sans_serif_family=font))


def family(drawn: Callable[[str, str], bytes]) -> str | None:
    """The first of `FAMILIES` that is installed; the first of all where another font is; None where none is.

    A renderer does not say what is missing: it draws nothing, or takes any other font, with serifs or not. So a family
    is taken for installed when its letter is neither blank nor that of a family there is none of.

    Args:
        drawn: a text as it is drawn in a family.
    """
    blank, other = drawn("", FAMILIES[0]), drawn("M", "no such family")
    own = next((name for name in FAMILIES if drawn("M", name) not in (blank, other)), None)
    return own or (FAMILIES[0] if drawn("M", FAMILIES[0]) != blank else None)


def _letter(svg_to_bytes: Callable[..., Any], text: str, family: str) -> bytes:
    drawing = LETTER.replace("M<", f"{text}<")
    return bytes(svg_to_bytes(svg_string=drawing, sans_serif_family=family))


FAMILIES = ("Arial", "Helvetica", "Liberation Sans", "DejaVu Sans", "Noto Sans", "Open Sans", "Roboto", "Ubuntu",
            "Segoe UI", "FreeSans")  # fmt: skip
"""What ``sans-serif`` may be in a PNG, the first that is installed; resvg by itself knows Arial only."""

LETTER = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="20" height="20">'
    '<text y="15" style="font: 13px system-ui, sans-serif">M</text></svg>'
)


def flat(document: str, dark: bool = False) -> str:
    """The document with the colours of one theme written out, for programs that know no variables."""
    begin, end = document.index("<style>"), document.index("</style>")  # the first is ours: text of data is escaped
    style = document[begin:end]
    themes = re.findall(r":root \{(.*?)\}", style, re.DOTALL)
    colours: dict[str, str] = {}
    for theme in themes[: 1 + dark]:  # the light theme comes first, the dark one changes it
        colours |= dict(re.findall(r"--([\w-]+): ([^;]+);", theme))
    rules = style[style.index(BEGIN) + len(BEGIN) :]
    rules = re.sub(r"var\(--([\w-]+)\)", lambda found: colours[found[1]], rules)
    return f"{document[:begin]}<style>{rules}{document[end:]}"


def _style() -> str:
    """The colours of both themes and the rules for pictures."""
    sheet = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")
    colours = sheet[: sheet.index("* {")]
    rules = sheet[sheet.index(BEGIN) : sheet.index("@media print")]
    return f"\n{colours}{rules}"
