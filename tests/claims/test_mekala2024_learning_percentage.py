"""The claim about learning percentages at a toy size: the world, the thirds, and what the statements judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import mekala2024_learning_percentage as claim

TOY = claim.Scale(size=48, unseen=8, small=1, large=1, passes=2, batch=8)


def test_instructions_have_right_replies() -> None:
    asks, says, kinds = claim.instructions(400, Run())
    for ask, reply, kind in zip(asks, says, kinds.tolist(), strict=True):
        name = claim.KINDS[kind]
        given = ask.strip("=!").split(" ")[-1]
        if name == "add":
            assert reply == str(sum(map(int, given.split("+"))))[::-1]
        elif name == "greet":
            assert ask.startswith(f"{reply} ")
        else:
            assert reply == (given if name == "copy" else "".join(sorted(given)))
    assert np.bincount(kinds).tolist() == [100] * 4


def test_dealt_replies_stay_in_their_kind_and_others_as_they_are() -> None:
    _, says, kinds = claim.instructions(400, Run())
    which = np.arange(400) < 200
    out = claim.dealt(says, kinds, which, Run())
    assert out[200:] == says[200:]
    for kind in range(4):
        mine = [i for i in range(200) if kinds[i] == kind]
        assert sorted(out[i] for i in mine) == sorted(says[i] for i in mine)
    sums = [i for i in range(200) if kinds[i] == claim.KINDS.index("add")]
    assert np.mean([out[i] == says[i] for i in sums]) < 0.1


def test_the_lowest_third_is_of_each_kind_and_unknowns_come_last() -> None:
    values = np.tile([3.0, 1.0, 2.0, np.nan, 5.0, 4.0], 4)
    kinds = np.repeat(np.arange(4), 6)
    chosen = claim.lowest(values, kinds, np.ones(24, np.bool_))
    assert np.flatnonzero(chosen).tolist() == [1, 2, 7, 8, 13, 14, 19, 20]
    among = np.ones(24, np.bool_)
    among[[1, 2]] = False
    assert np.flatnonzero(claim.lowest(values, kinds, among)).tolist()[:2] == [0, 7]


def test_one_seed_measures_all_the_statements_judge() -> None:
    found = claim.measured(Run(), TOY)
    rows = claim.statements([found, found])
    assert [row["holds"] for row in rows].count("-") == len(rows) - 8
    assert all(np.isfinite(v) for v in found.values())


def test_a_third_to_learn_from_is_what_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    learnt: list[list[str]] = []
    talks = lab.talks

    def seen(vocab: Any, prompts: Any, replies: Any) -> Any:
        learnt.append(list(prompts))
        return talks(vocab, prompts, replies)

    monkeypatch.setattr(lab, "talks", seen)
    asks, says, _ = claim.instructions(56, Run())
    train, held = np.arange(56) < 16, np.arange(56) >= 48
    claim._unseen(asks, says, train, held, Run(), TOY)
    assert learnt == [asks, asks[:16]]


def verdicts(**changes: float) -> list[str]:
    names = ("rank", "within", "common", "dealt", "again", "garbage small", "garbage large")
    one = dict(zip(names, (0.7, 0.4, 0.6, 0.0, 0.5, 0.3, 0.3), strict=True))
    one |= {"loss: all": 1.0, "loss: low": 1.01, "loss: random": 1.3, "loss: high": 1.5}
    one |= {f"within {kind}": 0.4 for kind in claim.KINDS}
    one |= {f"{size} {kind}": 0.5 for size in ("small", "larger") for kind in claim.KINDS}
    one |= {name.replace("_", " "): value for name, value in changes.items() if not name.startswith("loss")}
    one |= {f"loss: {name[5:]}": value for name, value in changes.items() if name.startswith("loss")}
    noise = np.random.default_rng(0).normal(size=4) * 0.005
    return [row["holds"] for row in claim.statements([{k: v + e for k, v in one.items()} for e in noise])][:8]


def test_statements_hold_where_they_should() -> None:
    assert verdicts() == ["yes"] * 8
    for place, changes in enumerate(
        (
            {"rank": 0.5},
            {"within": 0.0},
            {"common": 1 / 3},
            {"dealt": 0.4},
            {"garbage_large": 0.1},
            {"garbage_small": 0.05},
            {"loss_low": 1.2},
            {"loss_random": 1.0},
        )
    ):
        assert verdicts(**changes)[place] == "no", changes
