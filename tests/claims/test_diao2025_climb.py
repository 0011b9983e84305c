"""The claim on CLIMB at a toy size: names stay hidden, the goal is apart from the pool, and what is made of a race."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import diao2025_climb as claim

SMALL = {"depth": 1, "tokens": 1000, "vocab": 300, "context": 32, "points": 1}
TOY = claim.Scale(
    records=52, items=10, longest=120, fine=12, trials=(6, 2), rounds=(6, 2), draws=200, regressor="ridge",
    trial=claim.TRIAL.model_copy(update=SMALL), judge=claim.TRIAL.model_copy(update=SMALL),
)  # fmt: skip


def sources(count: int = 90) -> dict[str, list[str]]:
    rng = np.random.default_rng(0)
    made = {}
    for k, name in enumerate(claim.SOURCES):
        words = [f"{a}{b}" for a in "bdfgklmnpr"[k] for b in ("a", "e", "i", "o", "u", "ab", "ec", "id", "of", "ug")]
        made[name] = [" ".join(rng.choice(words, 40)) for _ in range(count)]
    return made


def test_a_world_hides_its_sources_and_shares_no_text_with_its_goal() -> None:
    world = claim.built(sources(), Run(), TOY)
    assert set(world.pool.column("source").to_pylist()) == {"web"}
    assert np.unique(world.pool.column("hidden").to_pylist(), return_counts=True)[1].tolist() == [52] * 10
    names = world.goal.target.column("hidden").to_pylist()
    assert [names.count(name) for name in world.shares] == [6, 3, 1]
    sides = [set(p.column("text").to_pylist()) for p in (world.pool, world.goal.target, world.goal.holdout)]
    assert len(set.union(*sides)) == sum(map(len, sides))
    other = claim.built(sources(), Run(seed=1), TOY)
    assert [*other.shares] != [*world.shares]


def test_marks_of_a_seed() -> None:
    found = claim.marks(sources(), Run(), TOY)
    assert found["purity"] > 0.9
    assert found["dealt"] < 0.3
    assert found["sources"] == 10
    assert found["n-gram: worst"] > found["n-gram: rounds"]
    assert all(np.isfinite(v) for v in found.values())


def test_the_simulated_response_is_least_at_what_is_wanted_and_noise_has_a_place() -> None:
    proof = claim.Simulated(wanted=(0.5, 0.3, 0.2), noise=0.1)
    shares = np.random.default_rng(0).dirichlet(np.ones(3), 200)
    assert proof.truth(shares).min() > proof.truth(np.array([proof.wanted]))[0] - 0.01
    world = claim.built(sources(), Run(), TOY)
    assert world.goal is not None
    args = (shares, world.start.sources, world.start, world.pool, world.goal)
    one, same, other = (proof.mixtures(*args, run) for run in (Run(), Run(), Run().at("round", 1)))
    assert (one == same).all()
    assert (one != other).all()
    assert (one[:, 0] - proof.truth(shares)).std() == pytest.approx(0.1, rel=0.2)
    assert min(claim.race_simulated(Run(), TOY)) > -0.05


def found(worse: float = 0.0, purity: float = 0.95) -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    out = []
    for _ in range(5):
        marks = {"purity": purity, "dealt": 0.13, "purity of 20": 0.97, "sources": 10.0, "planted": 2.6}
        for name in ("n-gram", "tiny_lm"):
            once = 2.7 + rng.normal(0, 0.001)
            marks |= {f"{name}: rounds": once - 0.01 + worse, f"{name}: once": once, f"{name}: natural": 3.0}
            marks |= {f"{name}: agreement": 0.9, f"{name}: gained": 0.2 + rng.normal(0, 0.01)}
            marks |= {f"{name}: narrowed": 0.3 + rng.normal(0, 0.01)}
        named = {"own rounds": 2.4, "own once": 2.5, "worst": 4.0 + rng.normal(0, 0.01), "named": 2.7, "single": 2.75}
        out.append(marks | {f"n-gram: {k}": v for k, v in named.items()})
    return out


def test_statements_tell_a_race_won_from_one_lost() -> None:
    won = claim.statements([(0.01, 0.05, 0.03)] * 4 + [(0.06, 0.05, 0.03)], found())
    assert "no" not in {row["holds"] for row in won}
    lost = claim.statements([(0.01, 0.05, 0.03)] * 3 + [(0.06, 0.05, 0.03)] * 2, found(worse=0.1, purity=0.7))
    told = {row["statement"]: row["holds"] for row in lost}
    assert told["purity of ten domains against the ten sources"] == "no"
    assert told["simulated response: share of seeds in which rounds end lower"] == "no"
    assert [v for k, v in told.items() if "rounds less one shot, bits per byte" in k] == ["no", "no"]


def test_says_what_to_give(tmp_path: Path) -> None:
    for data in (None, tmp_path):
        with pytest.raises(UsageError, match="law_german"):
            claim.run(data)
