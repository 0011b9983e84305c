"""Dga: its closed form, and a planted target that it must read towards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from tests.exams.test_steered import PROOF, plan_of, world
from tests.models.test_influence import DOMAINS, TARGETS
from tests.models.test_train import model

from tilth.core import Budget, Goal, Run, TablePool, World
from tilth.models.feeds import Batch
from tilth.models.influence import Known, LastLayer, influence
from tilth.models.train import threads
from tilth.policies.mix.dga import Dga

A = Known.of({"a": [2.0, 0.0], "b": [0.0, 1.0], "c": [-1.0, 0.0]}, {"x": [1.0, 0.0], "y": [0.0, 2.0]}, [3, 1])
# products: a (2, 0), b (0, 2), c (-1, 0); weighted .75, .25: a 1.5, b .5, c -.75; lengths 2, 1, 1 times 1, 2


def told(step: int = 5, **more: Any) -> dict[str, Any]:
    return {"step": step, "influence": A, **more}


@pytest.mark.parametrize(
    ("scale", "alignment"),
    [
        ("none", [1.5, 0.5, -0.75]),
        ("cosine", [0.75, 0.25, -0.75]),
        ("length", [0.9, 0.3, -0.45]),  # by the mean of products over cosines where there are any: 2, 2 and 1
    ],
)
def test_closed_form(scale: Any, alignment: list[float]) -> None:
    state = {"a": 0.2, "b": 0.3, "c": 0.5}
    shares, after = Dga(eta=2, beta=0.4, floor=0.06, scale=scale).step(state, told(), Run())
    raised = np.array([0.2, 0.3, 0.5]) * np.exp(2 * np.array(alignment))
    wanted = 0.6 * np.array([0.2, 0.3, 0.5]) + 0.4 * raised / raised.sum()
    assert list(shares.values()) == pytest.approx(0.94 * wanted + 0.02)
    assert after == shares
    assert Dga().step(state, told(0), Run()) == (state, state)
    steep, _ = Dga(eta=1e6, beta=1, floor=0.3).step(state, told(), Run())
    assert steep == pytest.approx({"a": 0.8, "b": 0.1, "c": 0.1}), "the floor holds"


def test_averaging_halves_the_variance_of_the_shares() -> None:
    """The same noise: shares that are wholly replaced at each decision swing more than twice as much."""
    swings = []
    for beta in (1.0, 0.3):
        rng, state = np.random.default_rng(0), dict.fromkeys("ab", 0.5)
        path = []
        for step in range(1, 400):
            g = {n: rng.standard_normal(2) for n in "ab"}
            shares, state = Dga(eta=0.5, beta=beta, scale="none", floor=0.2).step(
                state, {"step": step, "influence": Known.of(g, {"x": [1, 0]})}, Run()
            )
            path.append(shares["a"])
        swings.append(np.var(path))
    assert swings[1] < swings[0] / 2


def test_the_direction_lowers_the_targets_loss() -> None:
    """One step of plain descent on each domain: the loss of the target falls most where the alignment is greatest."""
    with threads(1):
        aligned = influence(LastLayer(model(), DOMAINS, TARGETS, 200, Run()))(1).aligned()
        for column, target in enumerate(TARGETS):
            falls = []
            for windows in DOMAINS.values():
                moved = model()
                batch = Batch.of(windows, "cpu")
                losses = moved.losses(batch.inputs, batch.targets, batch.documents)
                weight = moved.embedding.weight
                gradient = torch.autograd.grad(losses.sum() / (batch.targets >= 0).sum(), weight)[0]
                before = LastLayer(moved, DOMAINS, TARGETS, 200, Run()).loss(target)
                with torch.no_grad():
                    weight -= 0.5 * gradient
                falls.append(before - LastLayer(moved, DOMAINS, TARGETS, 200, Run()).loss(target))
            assert int(np.argmax(falls)) == int(aligned[:, column].argmax())
            assert max(falls) > 0


def test_reads_towards_a_planted_target() -> None:
    """Against the same windows in equal shares: less loss, in the mean of three seeds; and turned round, more."""
    ends: dict[str, list[float]] = {"dga": [], "equal": [], "worst": []}
    for seed in range(3):
        made = world(seed)
        assert made.goal is not None
        plan = plan_of(made)
        equal = plan.replaying([(0, dict.fromkeys("abcd", 0.25))])
        for name, each in {"dga": plan, "equal": equal, "worst": plan_of(made, seek="worst")}.items():
            curve = PROOF.curve(each, made.pool, made.goal, Run(seed=seed))
            ends[name].append(float(curve.losses[-1].mean()))
            if name == "dga":
                last = curve.shares[-1][1]
                assert last["a"] == max(last.values()) > 0.35
                assert last["d"] < 0.2
    mean = {name: np.mean(values) for name, values in ends.items()}
    assert mean["dga"] < mean["equal"] < mean["worst"]


def few_tokens(seed: int, chains: bool) -> World:
    """8 domains of 5,000 words each, the target like the first, and a budget of all of them.

    Each has words of its own beside common ones; or, as `chains`, common words and an order of its own beside a common
    one, so that most of what is learned anywhere is learned for the target.
    """
    rng, words, length = Run(seed=seed).rng("domains"), 300, 50
    names = [f"d{i}" for i in range(8)]
    size = (9, words) if chains else 9
    made = rng.dirichlet(np.full(words, 0.05 if chains else 0.1), size=size)
    part = 0.5 if chains else 0.7

    def text(i: int) -> str:
        chances = part * made[i] + (1 - part) * made[8]
        if not chains:
            return " ".join(f"w{w}" for w in rng.choice(words, length, p=chances))
        told = [int(rng.integers(words))]
        for _ in range(length - 1):
            told.append(int(rng.choice(words, p=chances[told[-1]])))
        return " ".join(f"w{w}" for w in told)

    def pool(which: Sequence[int]) -> TablePool:
        columns = {"text": [text(i) for i in which], "source": [names[i] for i in which]}
        return TablePool(pa.table({**columns, "tokens": [{"count": length}] * len(which)}))

    everyone = [i for i in range(8) for _ in range(100)]
    return World(pool(everyone), Goal(pool([0] * 20), pool([0] * 60), Budget(8 * 100 * length)))


@pytest.mark.parametrize("chains", [False, True])
def test_few_unique_tokens(chains: bool) -> None:
    """Against equal shares, and importance sampling, which reads the target's own domain alone, again and again.

    Where domains differ in words, the alignment finds the target's and the loss is a twentieth lower than with equal
    shares; reading it alone is no worse at this scale. Where what helps is everywhere, reading it alone overfits.
    """
    made = few_tokens(0, chains)
    assert made.goal is not None
    proof = PROOF.model_copy(update={"depth": 2, "tokens": 60_000})
    plan = plan_of(made, cap=8)
    names = [*plan.moving]
    fixed = {"equal": dict.fromkeys(names, 1 / 8), "importance": {"d0": 1.0}}
    plans = {"dga": plan, **{name: plan.replaying([(0, shares)]) for name, shares in fixed.items()}}
    curves = {name: proof.curve(each, made.pool, made.goal, Run()) for name, each in plans.items()}
    ends = {name: float(curve.losses[-1].mean()) for name, curve in curves.items()}
    last = curves["dga"].shares[-1][1]
    if chains:
        assert ends["dga"] < ends["importance"] * 0.99
        assert ends["dga"] < ends["equal"] * 1.01
    else:
        assert ends["dga"] < ends["equal"] * 0.95
        assert last["d0"] > 0.4 > 0.1 > max(share for name, share in last.items() if name != "d0")
