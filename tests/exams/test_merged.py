"""Does an average of weights rank mixtures as the truth and as joint training do, and fail where it must?"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
import zstandard
from scipy.stats import pearsonr, spearmanr

import tilth.models.train as train
from tilth.build import Build
from tilth.core import Budget, Goal, Groups, Plan, Run, TablePool, World, groups
from tilth.core.errors import EmptyPlan
from tilth.engine.local import Workers
from tilth.policies.mix.regmix import RegMix
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.proofs import merged
from tilth.proofs._text import tokenizer_for
from tilth.proofs.merged import Merged
from tilth.recipe import Recipe

SAMPLE = Path(__file__).parents[2] / "examples" / "data"
PROBE = PlantedMixture(words=60, length=40)
PROOF = Merged(depth=1, seed_tokens=20_000, part_tokens=6000, vocab=320, context=64, precision="float32")
PLANTED = np.array([*BEST.values()])
SHARES = np.vstack([PLANTED, np.eye(4), np.full((1, 4), 0.25), np.random.default_rng(0).dirichlet(np.ones(4), 10)])


@pytest.fixture(scope="module")
def world() -> World:
    return PROBE.build(2000, Run())


@pytest.fixture(scope="module")
def told(world: World) -> npt.NDArray[np.float64]:
    """Losses of SHARES."""
    return np.asarray(mixtures(world, PROOF, Run()))


def mixtures(world: World, proof: Merged, run: Run, shares: npt.NDArray[np.float64] = SHARES) -> Any:
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    return proof.mixtures(shares, start.sources, start, world.pool, world.goal, run)


def test_ranks_mixtures_by_their_distance_to_the_planted_one(told: npt.NDArray[np.float64]) -> None:
    loss, truth = told.mean(1), np.abs(SHARES - PLANTED).sum(1)
    assert told.shape == (16, PROBE.items)
    assert spearmanr(loss, truth).statistic > 0.8
    assert loss[0] == loss.min()


def test_agrees_with_joint_training(world: World, told: npt.NDArray[np.float64]) -> None:
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    joint = PROOF.joint(SHARES, start.sources, start, world.pool, world.goal, Run())
    assert joint.shape == told.shape
    assert pearsonr(told.mean(1), joint.mean(1)).statistic > 0.9


def test_without_common_weights_the_averages_are_worthless(world: World, told: npt.NDArray[np.float64]) -> None:
    """The copies by themselves are as good as ever, so what fails is the averaging."""
    control = mixtures(world, PROOF.model_copy(update={"shared_seed": False}), Run())
    alone = (SHARES == 1).any(1)
    harm = control.mean(1) - told.mean(1)
    assert harm[alone].max() < 0.25
    assert harm[~alone].min() > 0.5


def test_on_real_sources_the_goal_in_none_of_them() -> None:
    """Pairs of six sources of the sample; the goal is of two others, health and science."""
    pool, goal, by = sample(without=("health", "science"))
    plan = Plan.everything(pool, goal.budget)
    pairs = np.zeros((15, 6))
    for row, pair in zip(pairs, combinations(range(6), 2), strict=True):
        row[list(pair)] = 0.5
    proof = Merged(depth=1, seed_tokens=20_000, part_tokens=8000, vocab=512, context=64, longest=300)
    quick = proof.mixtures(pairs, by, plan, pool, goal, Run()).mean(1)
    slow = proof.joint(pairs, by, plan, pool, goal, Run()).mean(1)
    apart = proof.model_copy(update={"shared_seed": False}).mixtures(pairs, by, plan, pool, goal, Run()).mean(1)
    assert pearsonr(quick, slow).statistic > 0.8
    assert quick.mean() < slow.mean() + 0.2
    assert (apart > quick).all()
    assert apart.mean() > quick.mean() + 0.2


def sample(without: Sequence[str] = ()) -> tuple[TablePool, Goal, Groups]:
    rows: dict[str, list[Any]] = {"id": [], "text": [], "source": [], "tokens": []}
    held: list[str] = []
    for file in sorted(SAMPLE.glob("*.jsonl.zst")):
        name = file.name.split(".")[0]
        records = [json.loads(line) for line in zstandard.ZstdDecompressor().decompress(file.read_bytes()).splitlines()]
        if name == "holdout":
            held = [r["text"] for r in records[::3]]
        elif name not in ("target", *without):
            rows["id"] += [r["id"] for r in records]
            rows["text"] += [r["text"] for r in records]
            rows["source"] += [name] * len(records)
            rows["tokens"] += [{"count": len(r["text"]) // 3} for r in records]
    pool = TablePool(pa.table(rows))
    goal = TablePool(pa.table({"text": held}))
    return pool, Goal(goal, goal, Budget(100_000)), groups(pool)


def test_a_trial_is_the_mixture_of_its_plan(world: World) -> None:
    """A plan that reads everything once is the mixture of natural shares, to the bit; a right plan beats a wrong."""
    assert world.goal is not None
    everything = Plan.everything(world.pool, Budget(80_000))
    natural = PROOF.trial(everything, world.pool, world.goal, Run())
    shares = np.array([[*everything.mixture().values()]])
    assert (natural == PROOF.mixtures(shares, everything.sources, everything, world.pool, world.goal, Run())[0]).all()
    start = Plan.everything(world.pool, world.goal.budget)
    good, wrong = (PROBE.planned(start, dict(zip(names, PLANTED, strict=True))) for names in ("abcd", "dcba"))
    found = [PROOF.trial(plan, world.pool, world.goal, Run()).mean() for plan in (good, wrong)]
    assert found[0] < found[1] - 0.2


def test_a_plan_that_reads_nothing_leaves_the_model_as_drawn(world: World) -> None:
    assert world.goal is not None
    empty = replace(
        Plan.everything(world.pool, world.goal.budget), repeats=np.zeros(world.pool.count, np.int32)
    )  # fmt: skip
    items = world.goal.holdout.column("text").to_pylist()
    count = tokenizer_for(world.pool, PROOF.vocab).count(items)
    expected = np.log2(PROOF.vocab) * count / [len(t.encode()) for t in items]
    assert PROOF.trial(empty, world.pool, world.goal, Run()) == pytest.approx(expected, rel=0.03)


def test_any_column_can_be_the_partition(world: World) -> None:
    assert world.goal is not None
    halves = [{"topic": "near" if s in "ab" else "far"}["topic"] for s in world.pool.column("source").to_pylist()]
    pool = world.pool
    assert isinstance(pool, TablePool)
    pool = pool.with_column("topic", pa.array(halves))
    proof = PROOF.model_copy(update={"by": "topic"})
    assert "topic" in proof.needs
    by, start = groups(pool, "topic"), Plan.everything(pool, world.goal.budget)
    far, near = proof.mixtures(np.eye(2), by, start, pool, world.goal, Run()).mean(1)
    assert near < far - 0.05
    assert proof.trial(start, pool, world.goal, Run()).mean() < far


class Cut(BaseException):
    """The plug is pulled."""


def counting(monkeypatch: pytest.MonkeyPatch, most: int = 10**9) -> list[int]:
    """Steps of each training that began; the one after `most` is cut before it is through."""
    begun: list[int] = []
    real = train.train_lm

    def counted(model: Any, feed: Any, *args: Any, **more: Any) -> Any:
        if len(begun) == most:
            raise Cut
        begun.append(feed.steps)
        return real(model, feed, *args, **more)

    monkeypatch.setattr(train, "train_lm", counted)
    return begun


def test_every_model_is_trained_once_and_kept(
    world: World, told: npt.NDArray[np.float64], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(scratch=tmp_path)
    counting(monkeypatch, most=3)
    with pytest.raises(Cut):
        mixtures(world, PROOF, run)
    monkeypatch.undo()
    begun = counting(monkeypatch)
    assert (mixtures(world, PROOF, run) == told).all()
    assert len(begun) == 2, "16 mixtures of 4 sources: of one common model and 4 copies, 3 were there"
    assert (mixtures(world, PROOF, run, SHARES[:3]) == told[:3]).all()
    assert len(begun) == 2
    mixtures(world, PROOF.model_copy(update={"gentle": 0.3}), run)
    assert len(begun) == 6, "copies of another kind start from the same common model"
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 9
    assert world.goal is not None
    PROOF.trial(PROBE.planned(Plan.everything(world.pool, world.goal.budget), BEST), world.pool, world.goal, run)
    assert len(begun) == 10, "a common model and three copies: source d has no share"
    assert sorted(tmp_path.iterdir()) == kept, "a trial leaves nothing behind"


def test_the_same_bits_with_any_number_of_workers(world: World, told: npt.NDArray[np.float64], tmp_path: Path) -> None:
    with Workers(2, Run().progress) as workers:

        def mapped(func: Callable[[Any], Any], items: Sequence[Any], label: str) -> list[Any]:
            return workers.map(func, items, label)

        assert (mixtures(world, PROOF, Run(scratch=tmp_path, mapper=mapped)) == told).all()


def test_initial_weights_and_order_have_randomness_of_their_own(
    world: World, told: npt.NDArray[np.float64], monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Run.rng
    found = []
    for place in ("init", "order", "elsewhere"):

        def other(self: Run, *key: str | int, place: str = place) -> Any:
            return real(self, *key, *(["other"] if place in key else []))

        monkeypatch.setattr(Run, "rng", other)
        found.append(bool((mixtures(world, PROOF, Run(), SHARES[:1]) == told[:1]).all()))
    assert found == [False, False, True]


def test_a_small_source_is_read_again_but_not_for_ever() -> None:
    texts = ["the soil is warm and the seed is dry"] * 2 + ["a wind from the north brings snow"] * 400
    sources = ["few"] * 2 + ["many"] * 400
    counts = pa.array([{"count": 10}] * 402)
    pool = TablePool(
        pa.table({"id": [f"i{i}" for i in range(402)], "text": texts, "source": sources, "tokens": counts})
    )
    goal = Goal(pool, pool, Budget(400))
    plan = Plan.everything(pool, goal.budget)
    proof = PROOF.model_copy(update={"part_tokens": 1000})
    bench = merged._Bench.of(proof, plan, pool, goal, Run())
    few, many = (bench.part(plan, pool, plan.sources, g) for g in range(2))
    once = sum(bench.tokenizer.count(texts[:2])) + 2
    assert few.tokens.sum() == 4 * once
    assert np.bincount(few.order).tolist() == [4, 4]
    assert many.tokens.sum() == 1000
    possible = proof._possible(np.array([[0.5, 0.5], [0.1, 0.9], [1.0, 0.0]]), plan.sources, plan)
    assert possible == pytest.approx(np.array([[0.2 / 0.7, 0.5 / 0.7], [0.1, 0.9], [1.0, 0.0]])), "4 x 20 of 400"
    nothing = replace(plan, repeats=(plan.sources.index == 1).astype(np.int32))
    with pytest.raises(EmptyPlan, match="Mixture 1"):
        proof.mixtures(np.array([[0.0, 1.0], [1.0, 0.0]]), plan.sources, nothing, pool, goal, Run())


def test_regmix_finds_the_planted_mixture_with_it(world: World) -> None:
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    exact = PROOF.model_copy(update={"precision": "float32"})  # the same on any processor
    policy = RegMix(trials=32, cap=8, proof=exact)
    plan = policy.revise(start, world.pool, world.goal.blind(), Run())
    assert PROBE.grade(world, plan) > 0.8, "equal shares score 0.6"
    assert plan.decisions[-1].details["rank_agreement"] > 0.7


def test_a_build_trains_copies_in_its_workers_and_sweeps_up(tmp_path: Path) -> None:
    small = {"use": "merged", "depth": 1, "seed_tokens": 2000, "part_tokens": 1000, "vocab": 300, "context": 64}
    files = {name: {"path": str(SAMPLE / f"{name}.jsonl.zst")} for name in ("health", "law", "science")}
    recipe = Recipe.model_validate(
        {
            "sources": files,
            "goal": {part: str(SAMPLE / f"{part}.jsonl.zst") for part in ("target", "holdout")} | {"budget": "20k"},
            "plan": [{"use": "regmix", "trials": 8, "proof": {**small, "longest": 50}}],
        }
    )
    left = []
    with Workers(2, Run().progress) as workers:
        build = Build(recipe, tmp_path, tmp_path / "out", workers)
        with build.session():
            assert "rank_agreement" in build.plan.decisions[-2].details, "the last one cuts the plan to its budget"
            left = [file.suffix for file in (tmp_path / "out" / "unfinished").iterdir()]
    assert left == [".weights"] * 4, "a common model and three copies are kept while the build goes on"
    assert not (tmp_path / "out" / "unfinished").exists()


def test_half_the_scale() -> None:
    small = PROOF.smaller()
    assert (small.seed_tokens, small.part_tokens, small.depth) == (10_000, 3000, 1)
