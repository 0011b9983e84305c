from __future__ import annotations

import re

import yaml

from tilth.io.card import SECTIONS, card, escape


def test_every_question_is_asked_and_what_is_not_known_is_said() -> None:
    text = card({"title": "Barns", "records": 12345, "sources": {"web": 0.25, "docs": 0.75}, "synthetic": False})
    for section, questions in SECTIONS.items():
        assert f"\n## {section}\n" in text
        for question in questions.values():
            assert f"**{question}**" in text
    count = sum(len(q) for q in SECTIONS.values())
    assert text.count("*unknown*") == count - 3
    assert "\n12,345\n" in text
    assert "- web: 0.25\n- docs: 0.75\n" in text
    assert "\nno\n" in text


def test_front_matter_is_yaml_that_no_value_can_break() -> None:
    title = 'T: "x"\n---\nlicense: evil\n# y'
    text = card({"title": title, "license": "MIT"}, front={"configs": [{"config_name": "default"}]})
    rest = {"license": "mit", "configs": [{"config_name": "default"}]}
    _, front, body = text.split("---\n", 2)
    assert yaml.safe_load(front) == {"pretty_name": 'T: "x" --- license: evil # y', **rest}
    assert body.startswith("\n# T: ")


def test_hostile_names_have_no_effect() -> None:
    hostile = [
        "<script>alert(1)</script>",
        "</details><img src=x onerror=alert(1)>",
        "[click](javascript:alert(1))",
        "![x](http://evil.example/pixel.png)",
        "http://evil.example www.evil.example a@evil.example",
        "x\n\n# A heading\n- a list\n```\ncode",
        "| a | b |\n|---|---|",
        "&lt;script&gt; &#60;",
        "\u202eevil\u202c \x1b[31m \x00",
        "$x$ ~~y~~ <!-- z -->",
    ]
    text = card({"title": hostile[0], "sources": dict.fromkeys(hostile, 0.1), "steps": hostile, "purpose": hostile[5]})
    body = text.split("---\n", 2)[2]
    assert not re.search(r"<|>|[\u202a-\u202e\x00\x1b]", body)
    assert not re.search(r"(?<!\\)\]\(", body)
    assert not re.search(r"(?<!\\)://|www\.|(?<!\\)@", body)
    assert "&lt;script&gt;alert\\(1\\)&lt;/script&gt;" in body
    headings = [line for line in body.splitlines() if line.startswith("#")]
    assert len(headings) == 1 + len(SECTIONS)


def test_plain_words_stay_readable() -> None:
    assert escape("Simple English, 3rd ed.") == "Simple English, 3rd ed."
    assert escape("a_b*c") == "a\\_b\\*c"
    assert escape("1. not a list") == "1\\. not a list"
    assert escape("a & b") == "a &amp; b"
