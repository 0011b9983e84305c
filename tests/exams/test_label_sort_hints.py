"""label_sort_hints: replies recomputed from the questions; short programs that look back solve what is expected."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
import pytest

from tilth.core import Pool, Run
from tilth.core.errors import BadField, DataError
from tilth.probes.label_sort_hints import LabelSortHints

Task = Literal["count", "mode", "copy_unique", "copy_repeat", "sort", "parity", "add_forward", "add_reverse"]
PLAIN: tuple[Task, ...] = (
    "count",
    "mode",
    "copy_unique",
    "copy_repeat",
    "sort",
    "parity",
    "add_forward",
    "add_reverse",
)
SETTINGS: list[tuple[Task, bool, bool]] = [
    *((task, False, False) for task in PLAIN),
    *((task, True, False) for task in PLAIN[2:]),
    *((task, hints, True) for task in PLAIN[5:] for hints in (False, True)),
]
EXPECTED = {  # task -> the (hints, scratchpad) settings in which it is easy
    "count": {(False, False)},
    "mode": {(False, False)},
    "copy_unique": {(False, False), (True, False)},
    "copy_repeat": {(True, False)},
    "sort": {(False, False), (True, False)},
    "parity": {(True, True)},
    "add_forward": {(True, True)},
    "add_reverse": {(True, False), (True, True)},
}


def rows_of(pool: Pool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.table(["messages", "source", "truth"]).to_pylist()
    return rows


def asked(row: dict[str, Any]) -> str:
    return str(row["messages"][0]["content"])


def replied(row: dict[str, Any]) -> str:
    return str(row["messages"][1]["content"])


def bare(text: str) -> list[str]:
    return [word for word in text.split() if not re.fullmatch(r"i\d+", word)]


def solved(task: str, question: str) -> tuple[int, list[str]]:
    """Length and answer, computed from the bare question."""
    words = bare(question)
    if task == "count":
        low, high = map(int, words)
        return high - low + 1, [str(i) for i in range(low, high + 1)]
    if task == "mode":
        return len(words), [max(sorted(set(words)), key=words.count)]
    if task.startswith("add"):
        one, other = " ".join(words).split(" + ")
        n = len(one.split())
        assert n == len(other.split())
        total = f"{int(one.replace(' ', '')) + int(other.replace(' ', '')):0{n + 1}d}"
        return n, [*(total if task == "add_forward" else total[::-1])]
    if task == "parity":
        return len(words), [str(words.count("1") & 1)]
    return len(words), sorted(words, key=int) if task == "sort" else words


@pytest.mark.parametrize(("task", "hints", "scratchpad"), SETTINGS)
def test_replies_lengths_and_splits(task: Task, hints: bool, scratchpad: bool) -> None:
    probe = LabelSortHints(task=task, hints=hints, scratchpad=scratchpad, train=10, test=20, items=30)
    world = probe.build(600, Run(seed=1))
    assert world.goal is not None
    pools = {
        "pool": world.pool,
        "same": world.more["same"],
        "target": world.goal.target,
        "holdout": world.goal.holdout,
    }
    prompts: dict[str, list[tuple[str, ...]]] = {}
    for name, pool in pools.items():
        rows = rows_of(pool)
        prompts[name] = [tuple(bare(asked(row))) for row in rows]
        lengths = Counter(row["truth"]["length"] for row in rows)
        for row in rows:
            n, answer = solved(task, asked(row))
            final = replied(row).split(" = ")[-1]
            assert bare(final) == answer
            assert ("=" in replied(row)) == scratchpad
            assert row["truth"] == {
                "task": task,
                "length": n,
                "answer": " ".join(answer),
                "expected": (hints, scratchpad) in EXPECTED[task],
            }
            assert row["source"] == f"length{n}"
            assert (re.search(r"i\d", asked(row)) is not None) == hints
            if task == "mode":
                often = sorted(Counter(bare(asked(row))).values(), reverse=True)
                assert len(often) <= 5
                assert len(often) == 1 or often[0] > often[1], "the mode is not the only one"
            if task in ("copy_unique", "sort"):
                assert len(set(bare(asked(row)))) == n
        if name == "holdout":
            assert min(lengths) > 10
            assert set(lengths) == set(range(11, 21))
            assert max(lengths.values()) - min(lengths.values()) <= 1
        else:
            assert max(lengths) <= 10
    assert pools["pool"].count == 600
    counts = Counter(row["truth"]["length"] for row in rows_of(pools["pool"]))
    assert set(counts) >= set(range(2, 11))
    assert max(counts.values()) < 600 * 0.17
    for one in pools:
        for other in pools:
            assert one == other or not set(prompts[one]) & set(prompts[other])
        assert one == "pool" or len(set(prompts[one])) == len(prompts[one]) == 30


def test_working_and_hints_of_a_known_question() -> None:
    """One question of each kind, its working recomputed: running parity; digits and carries from the units up."""
    for hints in (False, True):
        for row in rows_of(LabelSortHints(task="parity", hints=hints, scratchpad=True).build(50, Run()).pool):
            working = replied(row).split(" = ")[0].split()
            bits = [int(b) for b in bare(asked(row))]
            assert bare(" ".join(working)) == [str(sum(bits[: i + 1]) % 2) for i in range(len(bits))]
            if hints:
                assert working[0::2] == asked(row).split()[0::2]
        for row in rows_of(LabelSortHints(task="add_forward", hints=hints, scratchpad=True).build(50, Run()).pool):
            one, other = (bare(number) for number in asked(row).split(" + "))
            working, carry = bare(replied(row).split(" = ")[0]), 0
            for i, (x, y) in enumerate(zip(one[::-1], other[::-1], strict=True)):
                carry, digit = divmod(int(x) + int(y) + carry, 10)
                assert working[2 * i : 2 * i + 2] == [str(digit), f"c{carry}"]
            assert len(working) == 2 * len(one)
    firsts = set()
    for row in rows_of(LabelSortHints(task="add_reverse", hints=True).build(200, Run()).pool):
        first, second = asked(row).split(" + ")
        marks = [int(h[1:]) for h in first.split()[0::2]]
        assert second.split()[0::2] == first.split()[0::2]
        assert marks == [*range(marks[0], marks[0] + len(marks))]
        assert [int(h[1:]) for h in replied(row).split()[0::2]] == [*marks[::-1], marks[0] - 1]
        firsts.add(marks[0])
    assert len(firsts) > 30
    for row in rows_of(LabelSortHints(task="sort", hints=True).build(50, Run()).pool):
        words, back = asked(row).split(), replied(row).split()
        assert {*zip(words[0::2], words[1::2], strict=True)} == {*zip(back[0::2], back[1::2], strict=True)}


# Short programs: the next word from the words so far, by comparing words and looking back, never by counting places.
Program = Callable[[Sequence[str], Sequence[str]], str]
END = "."


def after(words: Sequence[str], word: str) -> str:
    """The word behind the last occurrence of `word`."""
    at = [i for i, w in enumerate(words[:-1]) if w == word]
    return words[at[-1] + 1] if at else END


def count(question: Sequence[str], reply: Sequence[str]) -> str:
    if not reply:
        return question[0]
    return END if reply[-1] == question[-1] else str(int(reply[-1]) + 1)


def mode(question: Sequence[str], reply: Sequence[str]) -> str:
    return END if reply else max(question, key=lambda w: sum(w == other for other in question))


def induct(question: Sequence[str], reply: Sequence[str]) -> str:
    """Copy: say what followed the word just said."""
    return question[0] if not reply else after(question, reply[-1])


def rising(question: Sequence[str], reply: Sequence[str]) -> str:
    return min((w for w in question if not reply or int(w) > int(reply[-1])), key=int, default=END)


def hinted(question: Sequence[str], reply: Sequence[str]) -> str:
    """Copy with hints: a hint is said once, so what follows it is never in doubt; then the hint behind that one."""
    if not reply:
        return question[0]
    return after(question, reply[-1]) if reply[-1].startswith("i") else next_hint(question, reply[-2])


def next_hint(question: Sequence[str], hint: str) -> str:
    wanted = f"i{int(hint[1:]) + 1}"
    return wanted if wanted in question else END


def parity(question: Sequence[str], reply: Sequence[str]) -> str:
    """With hints and scratchpad: the bit at this hint, against the parity said last."""
    if not reply:
        return question[0]
    if reply[-1] == "=":
        return reply[-2]
    if "=" in reply:
        return END
    if not reply[-1].startswith("i"):
        hint = next_hint(question, reply[-2])
        return "=" if hint == END else hint
    before = reply[-2] if len(reply) > 1 else "0"
    return str(int(before != after(question, reply[-1])))


def digits(question: Sequence[str], hint: str) -> list[int]:
    return [int(question[i + 1]) for i, word in enumerate(question) if word == hint]


def add_reverse(question: Sequence[str], reply: Sequence[str]) -> str:
    """With hints: the digits at this hint, and a carry that the place before, its digits and its sum, gives away."""
    if not reply:
        return question[-2]
    if not reply[-1].startswith("i"):
        return f"i{int(reply[-2][1:]) - 1}" if digits(question, reply[-2]) else END
    carry = 0
    if len(reply) > 1:
        plain = sum(digits(question, reply[-3]))
        carry = int(plain > 9 or (plain == 9 and reply[-2] == "0"))
    return str((sum(digits(question, reply[-1])) + carry) % 10)


def said_by(program: Program, question: str) -> str:
    reply: list[str] = []
    while len(reply) < 1000 and (word := program(question.split(), reply)) != END:
        reply.append(word)
    return " ".join(reply)


@pytest.mark.parametrize(
    ("fields", "program"),
    [
        ({"task": "count"}, count),
        ({"task": "mode"}, mode),
        ({"task": "copy_unique"}, induct),
        ({"task": "sort"}, rising),
        ({"task": "copy_repeat", "hints": True}, hinted),
        ({"task": "parity", "hints": True, "scratchpad": True}, parity),
        ({"task": "add_reverse", "hints": True}, add_reverse),
    ],
)
def test_what_is_expected_has_a_short_program_for_all_lengths(fields: dict[str, Any], program: Program) -> None:
    probe = LabelSortHints(**fields)
    world = probe.build(60, Run(seed=2))
    assert world.goal is not None
    assert probe.expected
    for pool in (world.pool, world.goal.holdout):
        assert all(said_by(program, asked(row)) == replied(row) for row in rows_of(pool))
    assert probe.grade(world, [said_by(program, asked(row)) for row in rows_of(world.goal.holdout)]) == 1.0


def test_repeats_defeat_the_program_for_unique_copies() -> None:
    probe = LabelSortHints(task="copy_repeat")
    world = probe.build(60, Run(seed=3))
    assert world.goal is not None
    assert not probe.expected
    assert probe.grade(world, [said_by(induct, asked(row)) for row in rows_of(world.goal.holdout)]) == 0.0


def test_marks_and_chance() -> None:
    def graded(task: Task, answers: Callable[[dict[str, Any]], str | None], **fields: Any) -> float:
        probe = LabelSortHints(task=task, **fields)
        world = probe.build(60, Run(seed=4))
        assert world.goal is not None
        return probe.grade(world, [answers(row) for row in rows_of(world.goal.holdout)])

    for task, hints, scratchpad in SETTINGS:
        assert graded(task, replied, hints=hints, scratchpad=scratchpad) == 1.0
        assert graded(task, lambda row: None, hints=hints, scratchpad=scratchpad) == 0.0
    assert graded("parity", lambda row: "1", items=400) == pytest.approx(0.5, abs=0.07)
    assert graded("parity", lambda row: row["truth"]["answer"], scratchpad=True) == 0.0, "an answer comes after ="
    rng = np.random.default_rng(0)
    kinds = graded("mode", lambda row: str(rng.choice(sorted(set(bare(asked(row)))))), items=400)
    assert kinds == pytest.approx(0.2, abs=0.06)
    assert graded("sort", asked) == 0.0
    assert graded("add_reverse", lambda row: replied(row)[::-1]) < 0.05


def test_refusals() -> None:
    refused: list[tuple[dict[str, Any], str]] = [
        ({"task": "mode", "hints": True}, "hints go with"),
        ({"task": "sort", "scratchpad": True}, "a scratchpad goes with"),
        ({"train": 20, "test": 20}, "must be above train"),
        ({"task": "count", "test": 200}, "needs a vocabulary"),
    ]
    for fields, said in refused:
        with pytest.raises(BadField, match=said):
            LabelSortHints(**fields)
    with pytest.raises(DataError, match="keeps at most 15 questions of parity apart"):
        LabelSortHints(task="parity", train=5, items=10).build(60, Run())
    world = LabelSortHints().build(60, Run())
    with pytest.raises(DataError, match="Got 1 for 100"):
        LabelSortHints().grade(world, ["1"])
