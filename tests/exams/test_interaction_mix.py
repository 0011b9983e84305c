"""InteractionMix on skills whose transfer is planted: the matrix, the programme, and what it is worth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Limits, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.policies.mix.interaction_mix import InteractionMix
from tilth.proofs.ngram import Ngram

SKILLS = ("base", "code", "maths", "noise")
# Rows: a group; columns: the part of its words that are of each skill.
TRANSFER = np.array([[0.5, 0.25, 0.25, 0.0], [0.1, 0.9, 0.0, 0.0], [0.1, 0.0, 0.9, 0.0], [0.0, 0.0, 0.0, 1.0]])
NATURAL = np.array([0.15, 0.25, 0.2, 0.4])
PROOF = Ngram(order=1, vocab=500, tokens=60_000)
POLICY = InteractionMix(proof=PROOF, move=0.1)


def skills(seed: int, judged: bool = True) -> tuple[TablePool, Goal]:
    rng = np.random.Generator(np.random.PCG64(seed))

    def text(parts: npt.NDArray[np.float64]) -> str:
        skill, word = rng.choice(4, 30, p=parts), np.floor(30 ** rng.random(30)).astype(int)
        return " ".join(f"{SKILLS[s]}{w}" for s, w in zip(skill, word, strict=True))

    group = np.repeat(np.arange(4), (NATURAL * 1600).astype(int))
    pool = TablePool(pa.table({"text": [text(TRANSFER[g]) for g in group], "source": [SKILLS[g] for g in group]}))
    asked = np.repeat(np.arange(3), 30)  # nobody asks for noise
    columns = {"text": [text(np.eye(4)[s]) for s in asked]} | ({"goal": [SKILLS[s] for s in asked]} if judged else {})
    target = TablePool(pa.table(columns))
    return pool, Goal(target, target, Budget(400, "records"))


def test_the_matrix_is_the_planted_transfer() -> None:
    """The loss of a word falls by the logarithm of its share: its slope is what a group has more of it."""
    has = NATURAL @ TRANSFER
    truth = (TRANSFER[:, :3] / has[:3] - 1).T  # (goals, groups)
    for seed in range(3):
        pool, goal = skills(seed)
        told = POLICY.revise(Plan.everything(pool, goal.budget), pool, goal, Run(seed=seed)).decisions[0].details
        found = np.array([[told["interaction"][g][name] for name in SKILLS] for g in SKILLS[:3]])
        assert np.corrcoef(found.ravel(), truth.ravel())[0, 1] >= 0.9


def test_moved_shares_beat_proportional_ones_and_worst_does_not() -> None:
    for seed in range(3):
        pool, goal = skills(seed)
        start = Plan.everything(pool, goal.budget)
        made, worst = (p.revise(start, pool, goal, Run(seed=seed)) for p in (POLICY, POLICY.worst()))
        shares = np.array([NATURAL, *([p.mixture()[name] for name in start.sources.names] for p in (made, worst))])
        shares[0] = [start.mixture()[name] for name in start.sources.names]
        losses = PROOF.mixtures(shares, start.sources, start, pool, goal, Run(seed=9)).mean(1)
        assert losses[1] < losses[0] < losses[2]
        assert made.mixture()["noise"] == pytest.approx(0.3, abs=0.01), "moved as far as allowed, and no farther"
        assert abs(shares[1] - shares[0]).max() <= 0.1 + 0.01


def test_every_group_its_goal_gives_equivalence() -> None:
    pool, goal = skills(0)
    known = pool.table(pool.schema.names).filter(pa.array(np.array(pool.column("source").to_pylist()) != "noise"))
    small = TablePool(known)
    told = POLICY.revise(Plan.everything(small, goal.budget), small, goal, Run()).decisions[0].details
    assert told["equivalence"]
    plain, one = skills(0, judged=False)
    told = POLICY.revise(Plan.everything(plain, one.budget), plain, one, Run()).decisions[0].details
    assert not told["equivalence"]
    assert list(told["interaction"]) == ["target"]


def test_limits_bound_the_programme() -> None:
    pool, goal = skills(1)
    held = Plan.everything(pool, goal.budget, Limits(floor={"noise": 0.38}))
    plan = POLICY.revise(held, pool, goal, Run())
    assert plan.mixture()["noise"] >= 0.38 - 0.005
    apart = Plan.everything(pool, goal.budget, Limits(floor={"base": 0.6}))
    with pytest.raises(UsageError, match="Raise `move` or `cap`"):
        POLICY.revise(apart, pool, goal, Run())
