"""quality: the published C4 and Gopher rules, as docs/quality_signals.md states them over these columns.

Most documents break one rule of Gopher's and no other, and some lie exactly on a bound: a wrong number flips a
verdict.
"""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pyarrow as pa

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.policies.select.keep import Keep
from tilth.signals.quality.quality import Quality

PAGE = (Path(__file__).parents[2] / "docs" / "quality_signals.md").read_text(encoding="utf-8")

STEMS = "amber basin cedar delta ember fjord grove heath inlet jetty knoll ledge marsh north ocean prairie quarry ridge"
ENDS = ["", "s", "ish", "ful", "less", "like", "wards", "er"]
WORDS = [stem + end for end in ENDS for stem in STEMS.split()]


def rule(name: str) -> str:
    """The condition the page gives under a heading."""
    found = re.search(rf"## {name}\n.*?```sql\n(.*?)```", PAGE, re.DOTALL)
    assert found, f"docs/quality_signals.md has no rule {name}"
    return " ".join(found[1].split())


def prose(n: int, first: int = 0) -> str:
    """n different words in sentences of six, each sentence a line, after two stop words."""
    words = [WORDS[(first + i) % len(WORDS)] for i in range(n)]
    lines = [" ".join(words[i : i + 6]) + "." for i in range(0, n, 6)]
    return "the " + "\n".join(lines) + "\nwith."


GOOD = {
    "plain": prose(72),
    "windows line ends": prose(72).replace("\n", "\r\n"),
    "one long line": prose(72).replace("\n", " "),
    "fifty words exactly": prose(48),
    "accented": prose(72).replace("e", "é").replace("thé", "the"),
    "a repeated line": prose(72) + "\n" + prose(72).splitlines()[3],
    "a tenth symbols": prose(70) + " #" * 8,
    "some bullets": "\n".join("- " + line for line in prose(72).splitlines()) + "\nlast\nwords\nhere",
    "digits, few": prose(70) + " 1 2 3 4 5 6 7 8 9",
}
LINE = "harbour lights glimmer over quiet water until morning"
GRAMS = {f"rps_doc_frac_chars_dupe_{n}grams" for n in range(5, 11)}
BAD = {  # the text, and every number that is out of bounds
    "too short": (prose(47), {"rps_doc_word_count"}),
    "empty": ("", {"rps_doc_word_count", "rps_doc_mean_word_length", "gopher_stop_words"}),
    "white space": (" \n\r\n\u00a0", {"rps_doc_word_count", "rps_doc_mean_word_length", "gopher_stop_words"}),
    "short words": (
        "the be " + " ".join(f"{a}{b}" for a in "bcdfghjklm" for b in "aeiouyxw"),
        {"rps_doc_mean_word_length"},
    ),
    "long words": (
        "the with " + " ".join(f"{a}{b}ishwardness" for a, b in zip(WORDS[:70], WORDS[40:110], strict=True)),
        {"rps_doc_mean_word_length"},
    ),
    "no stop words": (prose(72).replace("the ", "").replace("\nwith.", ""), {"gopher_stop_words"}),
    "one stop word": (prose(72).replace("\nwith.", ""), {"gopher_stop_words"}),
    "symbols": (prose(70) + " #" * 9, {"rps_doc_symbol_to_word_ratio"}),
    "ellipses inside": (re.sub(r"(\w+ \w+ \w+) ", r"\1... ", prose(72)), {"rps_doc_symbol_to_word_ratio"}),
    "all bullets": (
        "\n".join("• " + line for line in prose(72).splitlines()),
        {"rps_lines_start_with_bulletpoint"},
    ),
    "lines that trail off": (
        "\n".join(
            line + ".." if i < 5 else line + " " + " ".join(WORDS[80 + 4 * i : 84 + 4 * i])
            for i, line in enumerate(prose(72).splitlines())
        ),
        {"rps_doc_frac_lines_end_with_ellipsis"},
    ),
    "numbers": (prose(72) + "".join(f" {i}" for i in range(100, 125)), {"rps_doc_frac_no_alph_words"}),
    "repeated short lines": (
        "\n".join(line + f"\nitem {i // 10}" for i, line in enumerate(prose(150).splitlines())),
        {"frac_dupe_lines"},
    ),
    "repeated long lines": (
        prose(60) + ("\n" + LINE) * 4,
        {"frac_chars_dupe_lines", "rps_doc_frac_chars_top_4gram", *GRAMS},
    ),
    "repeated short paragraphs": (
        "\n\n".join(prose(72).splitlines()) + "\n\nok" * 9,
        {"frac_dupe_lines", "frac_dupe_paragraphs"},
    ),
    "repeated long paragraphs": (
        "\n\n".join(
            line + "\n\n" * (i < 10) + " ".join(WORDS[100 + i % 5 * 4 :][: 4 * (i < 10)])
            for i, line in enumerate(prose(72).splitlines())
        ),
        {"frac_chars_dupe_lines", "frac_chars_dupe_paragraphs"},
    ),
    "a frequent pair": (re.sub(r"(\w+ \w+ \w+) ", r"\1 misty moorland ", prose(72)), {"rps_doc_frac_chars_top_2gram"}),
    "a frequent triple": (
        re.sub(r"((?:\w+\W+){9})", r"\1lonely winter meadow ", prose(72)),
        {"rps_doc_frac_chars_top_3gram"},
    ),
    "a refrain": (" ".join(f"{prose(18, 18 * i)} {LINE}" for i in range(4)), GRAMS),
}


def verdicts(texts: list[str], where: str) -> list[bool]:
    """Through DuckDB, as any user of the columns would ask."""
    made = score_in_memory(Quality(), TablePool(pa.table({"text": texts})), None, Run()).column("quality")
    records = pa.table({"n": range(len(texts)), "quality": made})  # noqa: F841 - DuckDB finds it by name
    return [row[0] for row in duckdb.sql(f"select {where} from records order by n").fetchall()]


def test_gopher_rules_keep_and_drop_what_they_should() -> None:
    bad = [text for text, _ in BAD.values()]
    assert verdicts([*GOOD.values(), *bad], rule("Gopher")) == [True] * len(GOOD) + [False] * len(BAD)
    # The naive rival, a minimum length alone, lets most of what is bad pass.
    assert sum(len(text.split()) >= 50 for text in bad) > len(bad) / 2


def test_every_bad_document_is_bad_for_the_reason_it_was_made() -> None:
    broken: dict[str, set[str]] = {name: set() for name in BAD}
    conditions = re.split(r" and (?=quality\.)", rule("Gopher"))
    for condition in conditions:
        column = condition.removeprefix("quality.").split()[0]
        for name, holds in zip(BAD, verdicts([text for text, _ in BAD.values()], condition), strict=True):
            if not holds:
                broken[name].add(column)
    assert broken == {name: columns for name, (_, columns) in BAD.items()}
    assert len(set.union(*broken.values())) == len(conditions)


def test_c4_rules_keep_and_drop_what_they_should() -> None:
    assert verdicts(["A one. A two. A three.", "Only one. And two.", prose(30)], rule("C4")) == [True, False, True]
    spoilt = ["int f() { return 1; }", "Please turn on JavaScript.", "Lorem Ipsum dolor sit amet."]
    assert verdicts([f"{prose(30)} {spoil}" for spoil in spoilt], rule("C4")) == [False] * 3


def test_both_rules_are_conditions_for_keep() -> None:
    pool = TablePool(pa.table({"text": [GOOD["plain"], BAD["symbols"][0], GOOD["plain"] + " {}"]}))
    pool = score_in_memory(Quality(), pool, None, Run())
    goal = Goal(pool, pool, Budget(3, "records"))
    for name, want in (("Gopher", [True, False, True]), ("C4", [True, True, False])):
        plan = Keep(where=rule(name)).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
        assert plan.kept.tolist() == want
