"""addition: every spelling read back by a parser of our own, balance, and no sum in two splits."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

import numpy as np
import pytest

from tilth.core import Pool, Run
from tilth.core.errors import BadField, DataError
from tilth.probes.addition import Addition

Spelling = Literal["plain", "reversed", "scratchpad", "detailed"]


def rows_of(pool: Pool) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pool.table(["messages", "source", "truth"]).to_pylist()
    return rows


def plain(text: str) -> str:
    return re.sub("[a-z]", "", text)


def sum_of_digits(number: int) -> int:
    return sum(map(int, str(number)))


def check_steps(steps: list[str], a: int, b: int, detailed: bool) -> None:
    """Each step's digit and carry, and in detail what is left to add, recomputed from the numbers."""
    carry = 0
    for step in steps:
        total = a % 10 + b % 10 + carry
        said = f"{a}+{b}:{a % 10}+{b % 10}+{carry}=" if detailed else ""
        assert step == f"{said}{total % 10}C{total // 10}"
        a, b, carry = a // 10, b // 10, total // 10
    assert a == b == 0


@pytest.mark.parametrize("hints", [True, False])
@pytest.mark.parametrize("spelling", ["plain", "reversed", "scratchpad", "detailed"])
def test_every_reply_is_the_sum(spelling: Spelling, hints: bool) -> None:
    world = Addition(spelling=spelling, hints=hints, digits=4, items=50).build(700, Run(seed=1))
    assert world.goal is not None
    pairs = []
    for pool in (world.pool, world.goal.target, world.goal.holdout):
        for row in rows_of(pool):
            (ask, reply), truth = row["messages"], row["truth"]
            match = re.fullmatch(r"(\$?)(\d+)\+(\d+)=", plain(ask["content"]))
            assert match is not None
            a, b = int(match[2]), int(match[3])
            assert bool(match[1]) == (spelling == "reversed") == reply["content"].endswith("$")
            *steps, last = plain(reply["content"]).rstrip("$").split(" ")
            assert int(last[::-1] if spelling == "reversed" else last) == a + b
            if spelling in ("scratchpad", "detailed"):
                assert len(steps) == truth["digits"]
                check_steps(steps, a, b, spelling == "detailed")
            else:
                assert steps == []
            assert (truth["a"], truth["b"], truth["answer"]) == (str(a), str(b), str(a + b))
            assert truth["digits"] == max(len(str(a)), len(str(b)))
            assert truth["carries"] * 9 == sum_of_digits(a) + sum_of_digits(b) - sum_of_digits(a + b)
            assert row["source"] == f"digits{truth['digits']}"
            pairs.append(frozenset((a, b)))
    assert len(set(pairs)) == len(pairs) == 800, "a sum is asked twice, or once in each order"


@pytest.mark.parametrize("spelling", ["plain", "reversed", "scratchpad", "detailed"])
def test_hints_name_the_place(spelling: Spelling) -> None:
    world = Addition(spelling=spelling, hints=True, low=3, digits=20, items=5).build(300, Run(seed=2))
    starts = set()
    for row in rows_of(world.pool):
        ask, reply = (turn["content"] for turn in row["messages"])
        a, b = re.findall(r"(?:[a-z]\d)+", ask)
        units = a[-2]  # the letter of the units; one place up, one letter down
        starts.add(units)
        final = re.findall(r"(?:[a-z]\d)+", reply)[-1]
        numbers = [a, b] if spelling == "reversed" else [a, b, final]
        for number in numbers:
            letters = number[0::2]
            assert letters == "".join(chr(ord(units) - place) for place in range(len(letters) - 1, -1, -1))
        if spelling == "reversed":
            assert final[0::2] == "".join(chr(ord(units) - place) for place in range(len(final) // 2))
        if spelling == "scratchpad":
            assert re.findall(r"([a-z])\dC", reply) == [
                chr(ord(units) - place) for place in range(row["truth"]["digits"])
            ]
        if spelling == "detailed":
            for place, step in enumerate(reply.split(" ")[:-1]):
                left = re.match(r"([a-z\d]+)\+([a-z\d]+):", step)
                assert left is not None
                assert left[1][-2] == left[2][-2] == chr(ord(units) - place)
    assert len(starts) > 10, "the first letter is always the same"


def test_balance() -> None:
    rows = rows_of(Addition(digits=4).build(4000, Run(seed=3)).pool)
    counts = Counter((r["truth"]["digits"], r["truth"]["carries"]) for r in rows)
    lengths = {n: sum(c for (m, _), c in counts.items() if m == n) for n in range(1, 5)}
    assert lengths[1] <= 18  # a third of 55 pairs
    for n in (2, 3, 4):
        assert lengths[n] == pytest.approx((4000 - lengths[1]) / 3, rel=0.06)
        for carries in range(n + 1):
            assert counts[(n, carries)] == pytest.approx(lengths[n] / (n + 1), rel=0.15)
    first_longer = np.mean([len(r["truth"]["a"]) > len(r["truth"]["b"]) for r in rows])
    second_longer = np.mean([len(r["truth"]["a"]) < len(r["truth"]["b"]) for r in rows])
    assert first_longer == pytest.approx(second_longer, abs=0.03)
    assert second_longer > 0.05
    uniform = rows_of(Addition(digits=4, balanced=False).build(4000, Run(seed=3)).pool)
    long = [r for r in uniform if r["truth"]["digits"] == 4]
    assert len(long) / 4000 == pytest.approx(0.99, abs=0.01)
    assert np.mean([int(r["truth"]["a"]) for r in uniform]) == pytest.approx(5000, rel=0.05)


def test_the_left_out_number() -> None:
    world = Addition(left_out=77, digits=2, items=40).build(1000, Run(seed=4))
    assert world.goal is not None
    for pool in (world.pool, world.goal.target, world.goal.holdout):
        assert not any("77" in (r["truth"]["a"], r["truth"]["b"]) for r in rows_of(pool))
    left = rows_of(world.more["left_out"])
    assert len(left) == 40
    for row in left:
        a, b = map(int, row["messages"][0]["content"][:-1].split("+"))
        assert 77 in (a, b)
        assert row["messages"][1]["content"] == str(a + b)
    assert Addition().build(50, Run()).more == {}


@pytest.mark.parametrize("spelling", ["plain", "reversed", "scratchpad", "detailed"])
def test_marks(spelling: Spelling) -> None:
    probe = Addition(spelling=spelling, hints=True, low=2)
    world = probe.build(100, Run(seed=5))
    assert world.goal is not None
    rows = rows_of(world.goal.holdout)
    replies = [r["messages"][1]["content"] for r in rows]
    assert probe.grade(world, replies) == 1.0
    assert probe.grade(world, [*replies[:50], *[None] * 50]) == 0.5
    sums = [r["truth"]["answer"] for r in rows]
    palindromes = np.mean([s == s[::-1] for s in sums])
    assert probe.grade(world, sums) == (pytest.approx(palindromes) if spelling == "reversed" else 1.0)
    off = [str(int(s) + 10) for s in sums]
    assert probe.grade(world, off) <= 0.05
    rng = np.random.default_rng(0)
    assert probe.grade(world, [str(rng.integers(10 ** (len(s) - 1), 10 ** len(s))) for s in sums]) <= 0.05


def test_refusals() -> None:
    with pytest.raises(DataError, match="takes at most 18"):
        Addition(digits=1).build(10, Run())
    assert Addition(digits=1, items=2).build(14, Run()).pool.count == 14
    with pytest.raises(BadField, match="low"):
        Addition(low=4, digits=3)
    with pytest.raises(BadField, match="left_out"):
        Addition(left_out=1000)
    world = Addition().build(60, Run())
    with pytest.raises(DataError, match="Got 2 for 100"):
        Addition().grade(world, ["1", "2"])
