"""The card of a data set: a datasheet (Gebru et al., 2018, arXiv:1803.09010) in Markdown with YAML front matter."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

import yaml

__all__ = ["SECTIONS", "card", "escape"]

SECTIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "Motivation": {
        "purpose": "For what was it made?",
        "makers": "Who made it?",
        "funding": "Who paid for it?",
    },
    "Composition": {
        "kind": "What does a record hold?",
        "records": "How many records?",
        "tokens": "How many tokens?",
        "sources": "From which sources, and how much of each?",
        "requested": "Which mixture was asked for?",
        "realised": "Which mixture came out?",
        "licenses": "Under which licences do the records stand?",
        "synthetic": "How much was written by a model, and by which?",
        "duplicates": "What is known of duplicates, errors and noise?",
        "sensitive": "May it hold personal, confidential or offensive matter?",
    },
    "Collection": {
        "collected": "How and when was it collected?",
        "sampling": "How were the records chosen from what there was?",
        "consent": "Did the people in it know and agree?",
    },
    "Preprocessing": {
        "steps": "What was done to it?",
        "dropped": "What was left out, and why?",
        "quarantined": "How many inputs could not be read?",
        "raw": "Is the raw data kept?",
    },
    "Uses": {
        "uses": "What is it meant for?",
        "verdict": "What did a proof on small models find?",
        "contamination": "Which benchmarks was it checked against?",
        "not_for": "What should it not be used for?",
    },
    "Distribution": {
        "distribution": "How is it given out, and to whom?",
        "license": "Under which licence?",
    },
    "Maintenance": {
        "contact": "Who looks after it?",
        "withdrawal": "How can a record be withdrawn?",
        "versions": "How was it built, and how can it be built again?",
    },
}
"""Section -> fact -> the question it answers."""

_MARKUP: Final = re.compile(r"([\\`*_{}\[\]()#+!|~$@^=-])|(?<=[0-9])(\.)|(:)(?=//)|(?<=www)(\.)")


def card(facts: Mapping[str, Any], front: Mapping[str, Any] | None = None) -> str:
    """The datasheet of an export; a question without a fact is answered *unknown*, never left out.

    Args:
        facts: ``title``, and facts by their names in `SECTIONS`: text, numbers, a list, or name -> value. All of it
            is shown as text: markup in it, as in names that come from data, has no effect.
        front: further entries of the front matter, such as `configs`.

    Example:
        >>> print(card({"title": "A *bold* name", "records": 3, "sources": {"web": 0.25}})[:140])
        ---
        pretty_name: A *bold* name
        ---
        <BLANKLINE>
        # A \\*bold\\* name
        ...
    """
    title = str(facts.get("title", "A training set"))
    head: dict[str, Any] = {"pretty_name": " ".join(title.split())}  # a line of its own could end the front matter
    if isinstance(facts.get("license"), str):
        head["license"] = " ".join(facts["license"].lower().split())
    lines = ["---", yaml.safe_dump({**head, **(front or {})}, sort_keys=False, allow_unicode=False).rstrip(), "---"]
    lines += ["", f"# {escape(title)}"]
    for section, questions in SECTIONS.items():
        lines += ["", f"## {section}"]
        for name, question in questions.items():
            lines += ["", f"**{question}**", "", *_answer(facts.get(name))]
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Text that Markdown and HTML show as it is: one line, no markup, no links, no invisible or control characters."""
    text = " ".join(text.split())
    text = "".join(c for c in text if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Cn"))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(lambda m: "\\" + m[0], text)


def _answer(fact: Any) -> list[str]:
    if fact is None or fact in ("", [], {}):
        return ["*unknown*"]
    if isinstance(fact, Mapping):
        return [f"- {escape(str(name))}: {_number(value)}" for name, value in fact.items()]
    if isinstance(fact, (list, tuple)):
        return [f"- {_number(value)}" for value in fact]
    return [_number(fact)]


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if isinstance(value, float) else escape(str(value))
