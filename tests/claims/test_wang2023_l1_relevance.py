"""The claim on sparse relevance: what the simulator plants, whom it marks well, and what is made of the risks."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import wang2023_l1_relevance as claim


def test_the_simulator_plants_three_and_marks_them_well() -> None:
    world = claim.Simulator(Run(seed=1), targets=400, each=1500)
    assert np.flatnonzero(world.parts).tolist() == sorted(world.support.tolist())
    assert np.linalg.norm(world.heads, axis=0) == pytest.approx(np.ones(claim.SOURCES))
    planted, foreign = np.abs(world.parts), np.ones(claim.SOURCES)
    foreign[world.support] = 0
    only = foreign * (np.cumsum(foreign) <= 2)  # two sources cannot span the target's three
    right, wrong = (world.risk(world.planned(shares)) for shares in (planted, only))
    assert right < wrong
    other = claim.Simulator(Run(seed=2), targets=400, each=1500)
    assert (other.wanted != world.wanted).all()


def test_marks_of_a_seed() -> None:
    found = claim.marks(Run(), 40)
    assert {*claim.ARMS} < {*found}
    assert all(np.isfinite(v) and v >= 0 for v in found.values())
    assert found["recall"] in (0, pytest.approx(1 / 3), pytest.approx(2 / 3), 1)


def test_statements_by_what_risks_are() -> None:
    base = {"recall": 1.0, "recall of true heads": 0.5, "floor": 0.01, "true": 0.1, "lasso of true heads": 0.1}
    low = claim.statements({40: [base | {"lasso": 0.1, "least length": 0.2, "even": 0.3}] * 3})
    assert [row["holds"] for row in low if row["holds"] != "-"] == ["yes"] * 3
    high = claim.statements({40: [base | {"recall": 0.5, "lasso": 0.19, "least length": 0.2, "even": 0.3}] * 3})
    assert [row["holds"] for row in high if row["holds"] != "-"] == ["no"] * 3
