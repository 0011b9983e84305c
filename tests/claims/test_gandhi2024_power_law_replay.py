"""The claim about power-law replay in miniature: the tasks, equal budgets, and how the statements judge."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import gandhi2024_power_law_replay as claim

TOY = claim.Scale(tasks=3, labels=2, words=20, length=6, texts=40, held=10, read=90)


def test_tasks_are_permutations_of_one_another() -> None:
    scale = replace(TOY, texts=3000, length=30)
    _, (_, ids), labels = claim.world(Run(), scale, scale.texts, "train")
    words = ids.reshape(3, scale.texts, 30)
    counts = np.array([
        [np.bincount(words[t][labels.reshape(3, -1)[t] == y].ravel(), minlength=21)[1:] for y in range(2)]
        for t in range(3)
    ])  # fmt: skip
    for t in (1, 2):
        turn = [np.argsort(Run().rng("task", j).permutation(20)) for j in (0, t)]
        first, other = (counts[j][:, np.argsort(p)] for j, p in zip((0, t), turn, strict=True))
        shares = [c / c.sum(1, keepdims=True) for c in (first, other)]
        assert np.abs(shares[0] - shares[1]).max() < 0.02, "the same words but for the permutation"
    raw = counts / counts.sum(2, keepdims=True)
    assert np.abs(raw[0] - raw[1]).max() > 0.1
    pool, (_, some), _ = claim.world(Run(), TOY, 10, "held", only=2)
    assert set(pool.column("task").to_pylist()) == {"task 02"}
    assert some.size == 60


def test_arms_read_equally_much() -> None:
    found = claim.measured(Run(), TOY)
    assert found.keys() == claim.ARMS.keys()
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    shares = {arm: f["share of the reading that is replay"] for arm, f in found.items()}
    assert shares["none"] == 0
    assert shares["power"] == pytest.approx(shares["uniform"], abs=0.03)
    assert shares["power"] > 0.1


def test_statements_hold_where_they_should() -> None:
    def arm(average: float, last: float = 0.9, first: float = 0.5) -> dict[str, float]:
        rest = {"just learned": 1.0, "forgetting": 0.1, "share of the reading that is replay": 0.2}
        return {"average": average, "first task": first, "last half": last, **rest}

    def holds(power: float, exponential: float, uniform: float, last: float, alone: float) -> list[str]:
        found = {name: arm(0.5) for name in claim.ARMS}
        found |= {"power": arm(power, last), "exponential": arm(exponential), "uniform": arm(uniform)}
        found["none"] = arm(0.3, first=alone)
        return [row["holds"] for row in claim.statements([found] * 3, claim.Scale())[:4]]

    assert holds(0.9, 0.8, 0.85, 0.95, 0.25) == ["yes"] * 4
    assert holds(0.8, 0.79, 0.85, 0.8, 0.5) == ["no"] * 4
