"""The claim on order at a toy size: what is scarce, what is read when, and who is beyond the static front."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from tilth.core import Plan, Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import choi2023_order as claim
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.transformer import Decoder
from tilth.policies.mix.two_phase import TwoPhase

TOY = claim.Scale(plenty=60, scarce=3, items=6, longest=60, vocab=300, context=32)


def texts(letters: str, count: int = 90) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice([f"{a}{b}" for a in letters for b in "xyzuvw"], 30)) for _ in range(count)]


def test_a_world_has_little_of_one_and_holds_texts_out() -> None:
    pool, goal = claim.world(texts("lm"), texts("pq"), Run(), TOY)
    assert pool.shares("source") == {claim.PLENTY: pytest.approx(60 / 63), claim.SCARCE: pytest.approx(3 / 63)}
    assert goal.holdout.shares("source") == {claim.PLENTY: 0.5, claim.SCARCE: 0.5}
    assert not set(pool.column("text").to_pylist()) & set(goal.holdout.column("text").to_pylist())


def test_a_second_schedule_begins_where_the_second_phase_does(monkeypatch: pytest.MonkeyPatch) -> None:
    pool, goal = claim.world(texts("lm"), texts("pq"), Run(), TOY)
    start = Plan.everything(pool, goal.budget)
    plan = TwoPhase(late=(claim.SCARCE,), before=0.0, after=0.4, turn=0.7, cap=30).revise(start, pool, goal, Run())
    read: list[npt.NDArray[np.int64]] = []

    def train(model: Decoder, feed: Fixed, options: Options) -> None:
        read.append(feed.windows.order)

    monkeypatch.setattr(claim, "train_lm", train)
    scarce = np.array(pool.column("source").to_pylist())[plan.kept] == claim.SCARCE
    claim.trained(plan, pool, goal, Run(), TOY, again=True)
    assert [bool(scarce[part].any()) for part in read] == [False, True]
    read.clear()
    claim.trained(plan, pool, goal, Run(), TOY, again=False)
    assert [part.size for part in read] == [int(plan.repeats.sum())]
    read.clear()
    claim.trained(start, pool, goal, Run(), TOY, again=True)
    assert read[0].size / (read[0].size + read[1].size) == pytest.approx(0.7, abs=0.05)


def test_marks_of_a_seed() -> None:
    found = claim.marks(texts("lm"), texts("pq"), Run(), TOY)
    assert len(found) == 2 * (len(claim.STATIC) + len(claim.LATE) + 1)
    for when in claim.SCHEDULES:
        little, much = (found[f"{when}: static {share:g}"] for share in (0.01, 0.5))
        assert much[2] > little[2]
        assert much[1] < little[1], "what is read more is known better"
    assert all(np.isfinite(v).all() for v in found.values())


def test_at_the_same_loss_by_the_front() -> None:
    static = np.array([[1.0, 5.0, 1], [2.0, 3.0, 2], [3.0, 4.0, 3]])  # the last is worse on both than the second
    assert claim.at_same(static, 1.5) == 4.0
    assert claim.at_same(static, 2.5) == 3.0
    assert claim.at_same(static, 0.5) == 5.0


def test_statements_tell_what_is_beyond_the_front() -> None:
    rng = np.random.default_rng(0)

    def seed(late: float) -> dict[str, npt.NDArray[np.float64]]:
        out = {}
        for when in claim.SCHEDULES:
            for i, share in enumerate(claim.STATIC):
                out[f"{when}: static {share:g}"] = np.array([2 + 0.1 * i, 5 - 0.3 * i, 9.0])
            for share in claim.LATE:
                out[f"{when}: late {share:g}"] = np.array([2.25, 4.25 + late + rng.normal(0, 0.01), 3.0])
            out[f"{when}: turned round"] = np.array([2.25, 5 + rng.normal(0, 0.01), 3.0])
        return out

    won, lost = ([row["holds"] for row in claim.statements([seed(x) for _ in range(3)])] for x in (-0.1, 0.1))
    assert won.count("yes") == 8
    assert lost.count("no") == 6
    assert lost.count("yes") == 2


def test_says_what_to_give(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="law_german"):
            claim.run(data)
