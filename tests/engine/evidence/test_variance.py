from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Losses, Plan, Pool, Proof, Run, TablePool
from tilth.core.errors import BadRecipe
from tilth.engine.evidence.variance import components, variance
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram

NAMES = ("init", "order", "subset", "item")
TRUTH: Mapping[tuple[str, ...], float] = {
    ("init",): 0.04,
    ("order",): 0.02,
    ("subset",): 0.09,
    ("item",): 0.25,
    ("init", "item"): 0.03,
    ("order", "subset"): 0.01,
    NAMES: 0.05,
}


def simulated(rng: np.random.Generator, shape: Sequence[int]) -> np.ndarray:
    table = np.zeros(tuple(shape))
    for factors, value in TRUTH.items():
        size = tuple(n if name in factors else 1 for name, n in zip(NAMES, shape, strict=True))
        table = table + rng.normal(0, np.sqrt(value), size)
    return table


def test_known_components_are_recovered_without_bias_and_with_the_stated_error() -> None:
    rng = np.random.default_rng(0)
    runs = [components(simulated(rng, (4, 4, 5, 12)), NAMES) for _ in range(400)]
    assert len(runs[0]) == 15
    for factors in runs[0]:
        values = np.array([run[factors].value for run in runs])
        truth = TRUTH.get(factors, 0.0)
        assert abs(values.mean() - truth) < 4 * values.std() / 20, factors
        stated = np.sqrt(np.mean([run[factors].error ** 2 for run in runs]))
        assert stated == pytest.approx(values.std(), rel=0.35), factors


def test_a_large_design_recovers_each_component_within_a_fifth() -> None:
    found = components(simulated(np.random.default_rng(1), (25, 25, 20, 20)), NAMES)
    assert found["init",].value == pytest.approx(0.04, rel=0.5)  # 25 levels: a standard error of 29 %
    assert found["init", "item"].value == pytest.approx(0.03, rel=0.2)
    assert found[NAMES].value == pytest.approx(0.05, rel=0.05)


def test_two_factors_by_hand() -> None:
    found = components(np.array([[1.0, 2.0], [3.0, 8.0]]), ["a", "b"])
    # Row means 1.5 and 5.5, column means 2 and 5, mean 3.5: squares 2 * 8, 2 * 4.5 and 4 * 1.
    assert found["a",].value == pytest.approx((16 - 4) / 2)
    assert found["b",].value == pytest.approx((9 - 4) / 2)
    assert found["a", "b"].value == pytest.approx(4)
    assert found["a", "b"].error == pytest.approx(np.sqrt(2) * 4)
    with pytest.raises(ValueError, match="2 levels"):
        components(np.ones((1, 3)), ["a", "b"])


class Planted(Proof):
    """Losses with noise of known size from initial weights, order and the records it gets."""

    init: float = 0.2
    order: float = 0.1
    records: float = 1.0

    @property
    def needs(self) -> Sequence[str]:
        return ("id",)

    def smaller(self) -> Self:
        return self

    def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
        items = Run(seed=9).rng("items").normal(2, 0.3, goal.holdout.count)
        noise = self.init * run.rng("init").normal() + self.order * run.rng("order").normal()
        worth = Run(seed=9).uniform(plan.ids, "worth")[plan.kept].mean()
        return np.asarray(items + noise + self.records * worth + 0.01 * run.rng("other").normal())


def planted(records: int) -> tuple[Plan, TablePool, Goal]:
    pool = TablePool(pa.table({"id": [f"r{i}" for i in range(records)], "text": ["x"] * records}))
    goal = Goal(pool, TablePool(pa.table({"text": ["y"] * 6})), Budget(records, "records"))
    return Plan.everything(pool, goal.budget), pool, goal


def test_a_proof_with_planted_sources_of_noise_shows_them(tmp_path: Path) -> None:
    plan, pool, goal = planted(600)
    parts = []
    for seed in range(20):
        found = variance(Planted(), plan, pool, goal, tmp_path, init=4, order=3, subset=2, run=Run(seed=seed))
        parts.append([found.components[name,].value for name in ("init", "order", "subset")])
        assert found.of_mean()["together"] < 1e-20  # the toy's parts only add
    truth = np.array([0.2**2, 0.1**2, (1 / 12) / 300])
    mean, error = np.mean(parts, 0), np.std(parts, 0) / np.sqrt(20)
    assert (np.abs(mean - truth) < 4 * error).all()
    assert mean[:2] == pytest.approx(truth[:2], rel=0.6)


def test_holding_a_factor_leaves_its_noise_out(tmp_path: Path) -> None:
    plan, pool, goal = planted(60)
    only = variance(Planted(), plan, pool, goal, tmp_path, init=5, order=1, subset=1)
    assert set(only.levels) == {"init", "item"}
    assert only.of_mean()["init"] > 0
    still = variance(Planted(init=0), plan, pool, goal, tmp_path, init=5, order=1, subset=1)
    assert still.of_mean()["init"] == pytest.approx(0, abs=1e-20)
    with pytest.raises(BadRecipe, match="at least 2 levels"):
        variance(Planted(), plan, pool, goal, tmp_path, init=1, order=1, subset=1)


def test_counting_has_neither_weights_nor_order_and_resumes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = PlantedMixture().build(600, Run())
    assert world.goal is not None
    plan = Plan.everything(world.pool, world.goal.budget)
    proof = Ngram(tokens=5000)
    first = variance(proof, plan, world.pool, world.goal, tmp_path, init=2, order=2, subset=2)
    parts = first.of_mean()
    assert parts["init"] == parts["order"] == pytest.approx(0, abs=1e-20)
    assert parts["subset"] > 0
    assert first.table()[0]["source"] in ("item", "subset")
    assert sum(float(row["share"]) for row in first.table()) == pytest.approx(1)

    def never(*args: Any) -> Any:
        raise AssertionError("tried again")

    monkeypatch.setattr(Ngram, "trial", never)
    assert variance(proof, plan, world.pool, world.goal, tmp_path, init=2, order=2, subset=2) == first
