"""QaMatchPairs: every answer once right and once wrong, never across categories, and what topics alone tell."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Run, TablePool
from tilth.core.errors import BadField, MissingColumns, UsageError
from tilth.core.records import MESSAGES
from tilth.engine.write import write
from tilth.transforms.augment.qa_match_pairs import QaMatchPairs


def conversations(turns: list[Any], **more: Any) -> TablePool:
    return TablePool(pa.table({"messages": pa.array(turns, MESSAGES), **more}), "instruction")


def talk(*said: str | None) -> list[dict[str, str | None]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(said)]


def world(count: int = 300, topics: int = 5) -> TablePool:
    """Question i of topic t is ``t i`` and its answer ``t i!``."""
    topic = [f"t{t}" for t in np.random.default_rng(0).integers(0, topics, count)]
    return conversations([talk(f"{t} {i}", f"{t} {i}!") for i, t in enumerate(topic)], source=topic)


def pairs(pool: TablePool, **fields: Any) -> list[tuple[str, str, str]]:
    made = write(QaMatchPairs(**fields), pool, Run())
    sides = [text.split("\n\n") for text in made.column("text").to_pylist()]
    return [(q, a, label) for (q, a), label in zip(sides, made.column("label").to_pylist(), strict=True)]


def test_labels_are_right_and_neither_side_tells_them() -> None:
    made = pairs(world())
    assert len(made) == 600
    assert all((q + "!" == a) == (label == "match") for q, a, label in made)
    for side in (0, 1):
        told = Counter((row[side], row[2]) for row in made)
        assert set(told.values()) == {1}, "each question and each answer is in one match and in one other"
    assert len(told) == 600


def test_topics_tell_nothing_unless_negatives_are_easy() -> None:
    def by_topic(made: list[tuple[str, str, str]]) -> float:
        return float(np.mean([(q.split()[0] == a.split()[0]) == (label == "match") for q, a, label in made]))

    assert by_topic(pairs(world())) == 0.5
    assert by_topic(pairs(world(), negatives="any")) > 0.85


def test_what_cannot_be_paired_is_left_out() -> None:
    pool = conversations(
        [talk("a", "x"), talk("b", "x"), talk("c", "y"), talk("d", None), talk("e"), None, talk("f", "z")],
        source=["one", "one", "one", "one", "one", "one", "alone"],
    )
    made = pairs(pool)
    (first,) = {q for q, a, label in made if (a, label) == ("x", "match")}
    assert first in ("a", "b"), "x is the answer of more than half, so one of its questions is left out"
    assert sorted(made) == sorted(
        [(first, "x", "match"), (first, "y", "other"), ("c", "y", "match"), ("c", "x", "other")]
    )
    alike = conversations([talk("a", "x"), talk("b", "x")])
    assert pairs(alike) == []


def test_answers_that_many_give_do_not_tell_the_label() -> None:
    said = ["Yes."] * 60 + ["No."] * 20 + [f"{i}." for i in range(20)]
    made = pairs(conversations([talk(f"q{i}", text) for i, text in enumerate(said)]))
    counts = Counter((a, label) for _, a, label in made)
    assert {counts[a, "match"] - counts[a, "other"] for a in set(said)} == {0}
    assert counts["Yes.", "match"] == 40, "its surplus over all others is left out"
    assert len(made) == 160


def test_a_pair_is_never_both_right_and_wrong() -> None:
    made = pairs(conversations([talk("q", "x"), talk("q", "y"), talk("r", "y"), talk("s", "x")]))
    right, wrong = ({(q, a) for q, a, label in made if label == name} for name in ("match", "other"))
    assert right
    assert not right & wrong


def test_lineage_and_licence_are_stamped() -> None:
    pool = conversations([talk("a", "x"), talk("b", "y")], license=["MIT", "CC0-1.0"], id=["i", "j"])
    rows = write(QaMatchPairs(), pool, Run()).table(["label", "parents", "license", "made_by", "source"]).to_pylist()
    for row in rows:
        assert (row["made_by"], row["source"]) == ("qa_match_pairs", "qa_match_pairs")
        known = {"i": "MIT", "j": "CC0-1.0"}
        assert row["license"] == ("CC0-1.0 AND MIT" if row["label"] == "other" else known[row["parents"][0]])
    choice = conversations([talk("a", "x"), talk("b", "y")], license=["MIT OR GPL-2.0-only", "CC0-1.0"])
    told = write(QaMatchPairs(), choice, Run()).table(["label", "license"]).to_pylist()
    both = {row["license"] for row in told if row["label"] == "other"}
    assert both == {"CC0-1.0 AND (MIT OR GPL-2.0-only)"}, "AND binds more tightly than OR"
    unknown = conversations([talk("a", "x"), talk("b", "y")], license=["MIT", None], id=["i", "j"])
    told = write(QaMatchPairs(), unknown, Run()).table(["label", "license"]).to_pylist()
    assert [row["license"] for row in told if row["label"] == "other"] == [None, None]


def test_says_what_is_wrong() -> None:
    with pytest.raises(UsageError, match="kind instruction"):
        write(QaMatchPairs(), TablePool(pa.table({"text": ["a"]})))
    with pytest.raises(MissingColumns, match="topic"):
        write(QaMatchPairs(by="topic"), world())
    with pytest.raises(BadField):
        QaMatchPairs(negatives="none")
