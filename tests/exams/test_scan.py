"""SCAN: an executor that shares nothing with the probe reproduces every output."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import BadField, DataError
from tilth.probes.scan import Scan, interpret

PUBLISHED = Path(os.environ.get("TILTH_DATA", "")) / "E_compositional" / "scan.jsonl.zst"


def execute(command: str) -> str:
    """Rewriting by regular expressions until only actions are left."""
    text = f" {command} "
    text = re.sub(r" turn (left|right)(?= )", r" none \1", re.sub(r" turn (opposite|around) ", r" none \1 ", text))
    text = re.sub(r" (\w+) around (left|right)(?= )", r" <\2 \1 \2 \1 \2 \1 \2 \1>", text)
    text = re.sub(r" (\w+) opposite (left|right)(?= )", r" <\2 \2 \1>", text)
    text = re.sub(r" (\w+) (left|right)(?= )(?![^<]*>)", r" <\2 \1>", text)
    text = re.sub(r" (?!twice|thrice|and|after)(\w+)(?= )(?![^<]*>)", r" <\1>", text)
    text = re.sub(r"<([^>]*)> twice", r"\1 \1", text)
    text = re.sub(r"<([^>]*)> thrice", r"\1 \1 \1", text)
    text = re.sub(r"(.*) after (.*)", r"\2 \1", text).replace(" and ", " ").replace("<", "").replace(">", "")
    names = {"left": "I_TURN_LEFT", "right": "I_TURN_RIGHT", "none": ""}
    return " ".join(names.get(word, f"I_{word.upper()}") for word in text.split()).replace("  ", " ").strip()


def rows(pool: Pool) -> list[tuple[str, str, dict[str, object]]]:
    turns = pool.column("messages").to_pylist()
    return [(m[0]["content"], m[1]["content"], t) for m, t in zip(turns, pool.column("truth").to_pylist(), strict=True)]


def parts(world: World) -> tuple[list[str], list[str], list[str]]:
    assert world.goal is not None
    pool, target, holdout = (
        [command for command, _, _ in rows(p)] for p in (world.pool, world.goal.target, world.goal.holdout)
    )
    return pool, target, holdout


@pytest.mark.parametrize("split", ["add_primitive", "length", "random"])
@pytest.mark.parametrize("fields", [{}, {"primitives": 20}, {"complexity": 2}, {"primitives": 5, "linked": False}])
def test_outputs_splits_and_no_leak(split: str, fields: dict[str, object]) -> None:
    probe = Scan(split=split, **fields)
    world = probe.build(400, Run(seed=1))
    assert world.goal is not None
    assert world.pool.count == 400
    for pool in (world.pool, world.goal.target, world.goal.holdout):
        for command, actions, truth in rows(pool):
            assert execute(command) == actions == truth["answer"]
            assert truth["length"] == len(actions.split())
    train, target, holdout = parts(world)
    assert not set(holdout) & {*train, *target}
    assert not set(target) & set(train)
    assert len(set(holdout)) == len(holdout) > 5
    if split == "add_primitive":
        assert {c for c in [*train, *target] if re.search(r"\bjump\b", c)} == {"jump"}
        assert all(re.search(r"\bjump\b", c) and c != "jump" for c in holdout)
        assert train.count("jump") == 40
    if split == "length":
        assert max(len(execute(c).split()) for c in [*train, *target]) <= 22
        assert min(len(execute(c).split()) for c in holdout) > 22


def test_the_number_of_words_is_the_number_of_primitives() -> None:
    def heads(**fields: object) -> tuple[set[str], set[str]]:
        train, _, _ = parts(Scan(**fields).build(3000, Run()))
        composed = {w for c in train if " " in c for w in re.split(r"\W+", c)}
        alone = {c for c in train if " " not in c}
        grammar = {"turn", "left", "right", "opposite", "around", "twice", "thrice", "and", "after"}
        return composed - grammar, alone

    assert heads() == ({"walk", "look", "run"}, {"walk", "look", "run", "jump"})
    composed, alone = heads(primitives=20)
    assert len(composed) == 22
    assert alone == composed | {"jump"}
    composed, alone = heads(primitives=20, linked=False)
    assert len(composed) == 22
    assert alone == {"walk", "look", "run", "jump"}


def test_hard_share_and_repeats_are_as_asked() -> None:
    for hard, unique in ((0.9, 1.0), (0.1, 0.02), (0.5, 0.25)):
        world = Scan(hard=hard, unique=unique, alone=0, primitives=20).build(1001, Run())
        train, _, _ = parts(world)
        train.remove("jump")
        joined = [c for c in train if re.search("and|after", c)]
        assert len(train) == 1000
        assert len(joined) == hard * 1000
        assert len(set(joined)) == pytest.approx(unique * len(joined), abs=1)
        counts = np.unique(joined, return_counts=True)[1]
        assert counts.max() - counts.min() <= 1
        copies = world.pool.column("truth.copy").to_pylist()
        assert copies.count(0) == len(set(train)) + 1


def test_size_scales_past_the_language() -> None:
    world = Scan(complexity=1).build(5000, Run())
    assert world.pool.count == 5000
    train, target, holdout = parts(world)
    assert len(set(train)) + len(target) == 3 + 3 * 6 + 6 + 1  # the language without jump's compositions
    assert len(holdout) == 6


def test_grading_and_its_chance() -> None:
    probe = Scan(primitives=3)
    world = probe.build(300, Run())
    assert world.goal is not None
    _, _, holdout = parts(world)
    right = [" ".join(interpret(c)) for c in holdout]
    assert probe.grade(world, right) == 1
    assert probe.grade(world, [*right[:50], *[""] * 50]) == pytest.approx(0.5)
    commonest = max(set(right), key=right.count)
    assert probe.grade(world, [commonest] * len(right)) <= 0.05
    naive = [" ".join(interpret(c.replace("jump", "walk"))) for c in holdout]  # composes, but does not know the word
    assert probe.grade(world, naive) == 0
    with pytest.raises(DataError, match="Got 3 answers for 100 records"):
        probe.grade(world, ["a", "b", "c"])


def test_text_kind_holds_the_same_worlds() -> None:
    world, text = (Scan(kind=kind).build(50, Run()) for kind in ("instruction", "text"))
    assert text.pool.kind == "text"
    assert text.pool.column("text").to_pylist() == [f"{c}\n{a}" for c, a, _ in rows(world.pool)]


def test_bad_commands_and_bad_fields_are_refused() -> None:
    for command in ("", "walk twice left", "walk around", "walk left left", "twice", "turn", "turn twice"):
        with pytest.raises(DataError, match="Not a command"):
            interpret(command)
    with pytest.raises(BadField, match="no command of complexity 1 has more than 8 actions"):
        Scan(split="length", complexity=1, longest=8)


@pytest.mark.skipif(not PUBLISHED.is_file(), reason="TILTH_DATA names no folder with the published SCAN commands")
def test_agrees_with_the_published_set() -> None:
    import zstandard

    seen = 0
    done: dict[str, str] = {}
    with zstandard.open(PUBLISHED, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["input"] not in done:
                done[row["input"]] = " ".join(interpret(row["input"]))
                assert execute(row["input"]) == done[row["input"]]
            assert done[row["input"]] == row["output"]
            seen += 1
    assert seen == 83_897
    assert len(done) == 20_910
