"""The claim about language first and code second in miniature: the sources, what each arm reads, and the judgement."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import tao2024_crystal as claim

TOY = claim.Scale(words=12, alone=3000, texts=200, length=15, held=10, depth=1)


def test_sources_share_one_chain_and_differ_in_the_other() -> None:
    pool, held, vocab, least = claim.world(Run(), TOY)
    texts = dict.fromkeys(claim.SIDES, "")
    after: dict[str, dict[str, set[str]]] = {side: {} for side in claim.SIDES}
    for text, side in zip(pool.column("text").to_pylist(), pool.column("source").to_pylist(), strict=True):
        words = text.split()
        assert [word.startswith("both") for word in words] == [True] * 7 + [False] * 8
        assert all(word.startswith(side) for word in words[7:])
        for place, (a, b) in enumerate(pairwise(words)):
            if place != 6:
                after[side].setdefault(a, set()).add(b)
        texts[side] += text
    assert {len(some) for one in after.values() for some in one.values()} == {TOY.next}
    shared = [{k: v for k, v in one.items() if k.startswith("both")} for one in after.values()]
    assert shared[0] == shared[1]
    numbers = [{k[len(s) :]: {w[len(s) :] for w in v} for k, v in after[s].items() if k.startswith(s)} for s in after]
    assert numbers[0] != numbers[1]
    assert len(vocab) == 3 * TOY.words + 1
    assert least[0] == pytest.approx((2 * np.log(12) + 13 * np.log(4)) / 15)
    assert [len(some) for some in held] == [10, 10]


def test_all_arms_run_and_read_what_they_should() -> None:
    found = claim.measured(Run(), TOY)
    assert {*claim.MIXED, "language alone", "code alone", "truth"} == found.keys()
    policy = claim.POLICY
    code = policy.turn * policy.before + (1 - policy.turn) * policy.after
    for arm, share in (("two phases", code), ("turned round", code), ("even", 0.5)):
        assert found[arm]["share of code"] == pytest.approx(share, abs=0.02)
    assert found["three phases"]["share of code"] == pytest.approx(code * 0.92 + 0.08, abs=0.02)
    assert found["language alone"]["language"] < found["language alone"]["code"]
    assert found["code alone"]["code"] < found["code alone"]["language"]
    assert all(found[arm][side] > found["truth"][side] - 0.3 for arm in claim.MIXED for side in claim.SIDES)


def test_statements_hold_where_they_should() -> None:
    def arm(language: float, code: float, turn: float = 2.0) -> dict[str, float]:
        return {"language": language, "code": code, "language at the turn": turn, "share of code": 0.5}

    def holds(two: dict[str, float], turned: float, even: float, three: float) -> list[str]:
        found = {"language alone": arm(1.5, 4.0), "code alone": arm(4.0, 1.5), "two phases": two}
        found |= {"turned round": arm(1.5, turned), "even": arm(even, even), "three phases": arm(three, three)}
        return [row["holds"] for row in claim.statements([found | {"truth": arm(1.4, 1.4)}] * 3, claim.Scale())[:6]]

    assert holds(arm(1.52, 1.52, 1.6), 1.6, 1.6, 1.6) == ["yes"] * 6
    assert holds(arm(1.6, 1.6, 1.5), 1.5, 1.5, 1.5) == ["no"] * 6
