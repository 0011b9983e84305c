"""HTML pages: the main text, by trafilatura (extra `web`)."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tilth.core.errors import MissingExtra
from tilth.io.reader import Bad, Row, excerpt
from tilth.io.streams import Broken, whole

__all__ = ["MAX_PAGE", "page", "read"]

MAX_PAGE: Final = 2 << 20
MAX_NESTING: Final = 500
MAX_TAGS: Final = 30_000
"""Start and end tags of a page. Extraction takes time with the square of them: this many lists take seconds."""
_TITLE: Final = re.compile(r"<title[^>]{0,200}>([^<]{1,1000})", re.IGNORECASE)
_CHARSET: Final = re.compile(rb"charset\s*=\s*[\"']?([A-Za-z0-9_.:-]{1,40})", re.IGNORECASE)
_FLAT: Final = (
    "area|base|br|col|embed|hr|img|input|link|meta|param|source|track|wbr|p|li|dt|dd|tr|td|th|thead|tbody|tfoot|"
    "option|optgroup|rt|rp|colgroup|html|head|body"
)
"""Tags that take no end tag, or may leave it out: they do not nest."""
_TAG: Final = re.compile(rf"<(/?)(?!(?:{_FLAT})\b)[a-z]", re.IGNORECASE)
_ENCODING: Final = re.compile(
    "utf-?8|iso-8859-[0-9]+|windows-125[0-9]|cp125[0-9]|shift[_-]jis|euc-(jp|kr)|iso-2022-jp|gb2312|gbk|gb18030|big5|koi8-[ru]"
)
"""What pages are written in. Python knows more encodings, some of which take for ever on hostile bytes."""


def read(path: Path) -> Iterator[Row | Bad]:
    """One row: the page's main text and its title."""
    try:
        data = whole(path, MAX_PAGE)
    except Broken as error:
        yield Bad(1, str(error))
        return
    if data:
        value = page(data)
        yield Bad(1, value, excerpt(data)) if isinstance(value, str) else Row(1, {**value, "file": path.name})


def page(data: bytes, charset: str = "") -> dict[str, str] | str:
    """The text and title of a page, or why there is none.

    Args:
        charset: what the HTTP header said, if anything; used when the bytes are not UTF-8.
    """
    text = _decode(data, charset)
    if text is None:
        return "not UTF-8, and no charset it declares fits"
    if (tags := text.count("<")) > MAX_TAGS:
        return f"{tags:,} tags; at most {MAX_TAGS:,} are accepted"
    if _nesting(text) > MAX_NESTING:
        return f"tags nested deeper than {MAX_NESTING}"
    try:
        import trafilatura
    except ImportError:
        raise MissingExtra("Reading HTML needs trafilatura. Install it: pip install 'tilth[web]'.") from None
    try:
        body = trafilatura.extract(text, include_comments=False, include_tables=True, deduplicate=False)
    except Exception as error:  # a foreign parser on hostile input: whatever it raises is the page's fault
        return f"the HTML parser failed ({type(error).__name__}: {error})"
    if not body or not body.strip():
        return "no main text found"
    title = _TITLE.search(text)
    return {"text": body, **({"title": html.unescape(title[1]).strip()} if title else {})}


def _decode(data: bytes, charset: str) -> str | None:
    declared = _CHARSET.search(data[:2048])
    for name in ("utf-8", charset.lower(), declared[1].decode().lower() if declared else ""):
        if _ENCODING.fullmatch(name):
            try:
                # browsers read Latin-1 as Windows-1252, and pages are made for browsers
                return data.decode("cp1252" if name == "iso-8859-1" else name)
            except (LookupError, UnicodeDecodeError):
                continue
    return None


def _nesting(text: str) -> int:
    depth = deepest = 0
    for end in _TAG.findall(text):
        depth = max(0, depth - 1) if end else depth + 1
        deepest = max(deepest, depth)
    return deepest
