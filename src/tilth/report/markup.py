"""HTML that cannot be injected into: `el` is the only way to make an element, and it escapes what is not one."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable

__all__ = ["Markup", "el", "shown"]

VOID = frozenset({"meta", "br"})

# Characters that are invisible or that reorder the text around them. Zero-width joiners stay: scripts and emoji
# need them. A lone surrogate can only come from escaped JSON, and could not be written as UTF-8.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ud800-\udfff\ufeff"
    "\ufff9-\ufffb\ufffe\uffff\U000e0000-\U000e007f]"
)


class Markup(str):
    """Text that is already HTML. Only `el` makes it; everything else is text and is escaped."""

    __slots__ = ()


def el(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. Children that are not Markup are escaped, None is left out, lists are flattened.

    >>> el("p", "1 < 2", el("b", "yes"), class_="note", title='"')
    '<p class="note" title="&quot;">1 &lt; 2<b>yes</b></p>'
    """
    written = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{_text(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    if name in VOID:
        return Markup(f"<{name}{written}>")
    return Markup(f"<{name}{written}>{_inside(children)}</{name}>")


def shown(value: object, most: int | None = None) -> str:
    """A value as text for people: at most `most` characters, with what cannot be seen made visible.

    >>> shown("a\\x00b\\u202ec", 4)
    'a‹U+0000›b‹U+202E›…'
    """
    text = str(value)
    if most is not None and len(text) > most:
        text = text[:most] + "…"
    return _HIDDEN.sub(_visible, text.replace("\r\n", "\n"))


def _visible(match: re.Match[str]) -> str:
    return f"‹U+{ord(match[0]):04X}›"


def _text(value: object) -> str:
    return html.escape(shown(value), quote=True)


def _inside(children: Iterable[object]) -> str:
    parts = []
    for child in children:
        if isinstance(child, Markup):
            parts.append(str(child))
        elif isinstance(child, (list, tuple)):
            parts.append(_inside(child))
        elif child is not None:
            parts.append(_text(child))
    return "".join(parts)
