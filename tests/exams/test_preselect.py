"""preselect: texts that predict the target are found, among noise and among other domains, and selecting them pays."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.policies.select.sample import Sample
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram

pytest.importorskip("torch")

from tilth.models.family import Family
from tilth.signals.difficulty.loss_by_size import LossBySize
from tilth.signals.target.preselect import Preselect, extremes, strengths

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "preselect.json").read_text(encoding="utf-8"))
LADDER = Family(depths=(1, 2), tokens=(2000, 6000, 20_000), vocab=400)
DIETS = Family(depths=(1,), tokens=(20_000,) * 6, vocab=500, vary="source")
PARTS = (
    ("the farmer", "a child", "the old wind", "my neighbour", "the river"),
    ("sows", "carries", "finds", "follows", "keeps"),
    ("the seed", "warm water", "a field of rye", "the last stone", "nothing at all"),
    ("before the rain", "in early spring", "while others wait", "near the house", "again and again"),
)


def prose(n: int, rng: np.random.Generator) -> list[str]:
    return [
        ". ".join(" ".join(part[int(rng.integers(5))] for part in PARTS) for _ in range(4)).capitalize() + "."
        for _ in range(n)
    ]


def goal_of(texts: list[str]) -> Goal:
    target = TablePool(pa.table({"text": texts}))
    return Goal(target, target, Budget(1000))


def column(pool: TablePool, name: str) -> np.ndarray:
    return np.asarray(pool.column(f"preselect.{name}").to_numpy(), np.float64)


def test_golden() -> None:
    found = strengths(np.array(GOLDEN["losses"], float), np.array(GOLDEN["target"]))
    assert found == pytest.approx(np.array(GOLDEN["strengths"], float), nan_ok=True)


def test_extremes_are_the_strong_and_as_many_of_the_weakest() -> None:
    rng = Run().rng("any")
    values = np.array([1.0, 0.5, 1.0, 0.1, 0.2, 0.9, np.nan, 0.8, 0.7, 0.6, 0.3])
    strong, weak = extremes(values, rng)
    assert (strong.tolist(), weak.tolist()) == ([0, 2], [3, 4])
    strong, weak = extremes(values, rng, least=0.3)
    assert (strong.tolist(), weak.tolist()) == ([0, 2, 5], [3, 4, 10])
    strong, weak = extremes(np.array([1.0] * 8 + [0.5, 0.6]), rng)
    assert strong.size == 2
    assert weak.tolist() == [8, 9]
    for alike in (np.ones(5), np.full(5, 0.5), np.full(5, np.nan), np.zeros(0)):
        assert [part.size for part in extremes(alike, rng, least=0.2)] == [0, 0]


def test_predictive_texts_are_found_among_noise() -> None:
    """Three tenths of the pool are prose like the target's, the rest letters and signs drawn at random."""
    rng = np.random.default_rng(0)
    letters, signs = "abcdefghijklmnopqrstuvwxyz ", "0123456789#@%&*!?"
    texts = prose(180, rng) + ["".join(rng.choice([*some], 160)) for some in (letters, signs) for _ in range(210)]
    good = np.arange(600) < 180
    scored = score_in_memory(Preselect(family=LADDER), TablePool(pa.table({"text": texts})), goal_of(prose(20, rng)))
    assert roc_auc_score(good, column(scored, "strength")) > 0.9
    assert roc_auc_score(good, column(scored, "score")) > 0.95


def test_texts_of_the_targets_sources_are_found_and_selecting_them_beats_chance_and_low_loss() -> None:
    """One draw of the diets; others reach 0.76 (strength) and 0.83 (score), as few models differ by accident."""
    world = PlantedMixture().build(1000, Run())
    assert isinstance(world.pool, TablePool)
    assert world.goal is not None
    run = Run()
    pool = score_in_memory(Preselect(family=DIETS), world.pool, world.goal, run)
    wanted = np.isin(pool.column("source").to_pylist(), ["a", "b"])
    assert roc_auc_score(wanted, column(pool, "strength")) > 0.9
    assert roc_auc_score(wanted, column(pool, "score")) > 0.95
    pool = score_in_memory(LossBySize(family=Family(depths=(1,), tokens=(20_000,), vocab=500)), pool, None, run)
    losses = np.array(pool.column("loss_by_size.bits_per_byte").to_pylist())[:, 0]
    assert roc_auc_score(wanted, -losses) < 0.8
    pool = pool.with_column("fluent", pa.array([{"low": -v} for v in losses]))
    start, proof = Plan.everything(pool, world.goal.budget), Ngram(tokens=20_000)

    def loss(policy: Sample, seed: int = 0) -> float:
        plan = policy.revise(start, pool, world.goal, Run(seed=seed))  # type: ignore[arg-type]
        return float(proof.trial(plan, pool, world.goal, Run()).mean())  # type: ignore[arg-type]

    chosen = loss(Sample(by="preselect.score", temperature=0.0))
    chance = [loss(Sample(), seed) for seed in (1, 2, 3)]
    assert chosen < min(chance) - 3 * np.std(chance)
    assert chosen < loss(Sample(by="fluent.low", temperature=0.0))


def test_another_target_is_served_by_other_texts() -> None:
    world = PlantedMixture(words=60, length=30).build(300, Run())
    assert isinstance(world.pool, TablePool)
    table = world.pool.table(["text", "source"])
    texts, source = (np.array(table[name].to_pylist()) for name in ("text", "source"))
    family = Family(depths=(1,), tokens=(3000,) * 6, vocab=320, context=32, vary="source")
    leads = []
    for name in ("b", "d"):
        goal = goal_of(texts[source == name][:20].tolist())
        strength = column(score_in_memory(Preselect(family=family), world.pool, goal), "strength")
        leads.append(np.nanmean(strength[source == "b"]) - np.nanmean(strength[source == "d"]))
    assert leads[0] > leads[1] + 0.2


def test_strength_is_of_the_sample_and_the_score_of_all() -> None:
    world = PlantedMixture(words=60, length=30).build(120, Run())
    assert isinstance(world.pool, TablePool)
    family = Family(depths=(1,), tokens=(500, 1000, 2000), vocab=300, context=32)
    made = score_in_memory(Preselect(family=family, sample=50), world.pool, world.goal)
    assert np.isfinite(column(made, "strength")).sum() == 50
    assert np.isfinite(column(made, "score")).all()


def test_two_models_are_too_few_and_a_goal_is_needed() -> None:
    pool = TablePool(pa.table({"text": ["a b", "c d"]}))
    with pytest.raises(UsageError, match="three or more"):
        score_in_memory(Preselect(family=Family(depths=(1,), tokens=(10, 20))), pool, goal_of(["a"]))
    with pytest.raises(UsageError, match="goal"):
        Preselect().fit(pool, None, Run())


def test_an_empty_target_scores_nothing() -> None:
    empty = TablePool(pa.table({"text": pa.array([], pa.string())}))
    made = score_in_memory(Preselect(), TablePool(pa.table({"text": ["a b", "c d"]})), Goal(empty, empty, Budget(1)))
    assert made.column("preselect.score").null_count == 2
