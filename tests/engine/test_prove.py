from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from tests.engine.toys import Steps

from tilth.core import Curve, Goal, Plan, Pool, Run, World
from tilth.core.errors import BadRecipe, EmptyPlan
from tilth.engine.local import Workers
from tilth.engine.prove import Verdict, length_matched, prove
from tilth.policies.mix.random import Random
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.proofs.ngram import Ngram

PROBE = PlantedMixture()
PROOF = Ngram(tokens=20_000)


@pytest.fixture(scope="module")
def world() -> World:
    return PROBE.build(3000, Run())


def verdict(world: World, plan: Plan, rivals: dict[str, Plan], folder: Path, **options: Any) -> Verdict:
    assert world.goal is not None
    return prove(PROOF, plan, rivals, world.pool, world.goal, folder, seeds=5, **options)


def start(world: World) -> Plan:
    assert world.goal is not None
    return Plan.everything(world.pool, world.goal.budget)


def random(world: World, seed: int) -> Plan:
    assert world.goal is not None
    return Random().revise(start(world), world.pool, world.goal, Run(seed=seed))


def test_a_better_plan_is_found_and_a_worse_one_too(world: World, tmp_path: Path) -> None:
    good = PROBE.planned(start(world), BEST)
    bad = PROBE.planned(start(world), {"d": 1.0})
    rivals = {"random": random(world, 1), "other": random(world, 2), "worst": bad}
    made = verdict(world, good, rivals, tmp_path)
    assert [made.call(n) for n in rivals] == ["better"] * 3
    assert made.headline.startswith("BETTER than the best baseline")
    assert made.stability > 0.7
    assert made.table()[0]["name"] == "plan"
    assert made.table()[-1]["name"] == "worst"
    turned = verdict(world, bad, {"random": random(world, 1), "good": good}, tmp_path)
    assert [turned.call(n) for n in ("random", "good")] == ["worse", "worse"]


def test_plans_that_differ_by_seed_are_seldom_called_different(world: World, tmp_path: Path) -> None:
    called = 0
    for seed in range(20):
        made = verdict(world, random(world, 2 * seed), {"random": random(world, 2 * seed + 1)}, tmp_path / str(seed))
        called += made.call("random") != "no difference"
    assert called <= 4  # 1 is expected; more than 4 has a probability of 0.3 %; benchmarks/null_and_power.py has 200


def test_a_proof_resumes_and_repeats_to_the_bit(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good, rivals = PROBE.planned(start(world), BEST), {"random": random(world, 1)}
    whole = verdict(world, good, rivals, tmp_path / "whole").as_dict()
    done = 0
    real = Ngram.trial

    def cut(self: Ngram, *args: Any) -> Any:
        nonlocal done
        done += 1
        if done == 8:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(Ngram, "trial", cut)
    with pytest.raises(KeyboardInterrupt):
        verdict(world, good, rivals, tmp_path / "cut")
    resumed = verdict(world, good, rivals, tmp_path / "cut").as_dict()
    assert done == 8 + 20 - 7  # 2 candidates x 5 seeds x 2 scales, seven of them before the cut
    assert resumed == whole
    monkeypatch.setattr(Ngram, "trial", real)
    two = verdict(world, good, rivals, tmp_path / "two", workers=Workers(2, Run().progress)).as_dict()
    assert two == whole


def test_half_the_scale_really_is_another_trial(world: World, tmp_path: Path) -> None:
    made = verdict(world, PROBE.planned(start(world), BEST), {"random": random(world, 1)}, tmp_path)
    del made
    files = list((tmp_path / "trials").iterdir())
    assert len(files) == 20
    assert len({f.read_bytes() for f in files}) == 20


def test_length_matched_has_the_lengths_and_nothing_else_of_the_plan(world: World) -> None:
    rng = np.random.default_rng(0)
    begin = replace(start(world), sizes=rng.integers(10, 500, world.pool.count))
    long = begin.revised({"use": "t"}, "long ones", keep=begin.sizes > 300)
    long = replace(long, budget=replace(long.budget, amount=100_000))
    begin = replace(begin, budget=long.budget)
    plan = Random().revise(long, world.pool, world.goal, Run())  # type: ignore[arg-type]
    matched = length_matched(plan, begin, Run())
    ours, theirs = plan.sizes[plan.kept], matched.sizes[matched.kept]
    assert abs(ours.mean() - theirs.mean()) < 10
    assert theirs.min() > 290
    overlap = (plan.kept & matched.kept).sum() / plan.kept.sum()
    assert overlap < 0.6


def test_curves_tell_how_many_tokens_reach_the_baseline(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    good = PROBE.planned(start(world), BEST)
    rivals = {"random": random(world, 1), "worst": PROBE.planned(start(world), {"d": 1.0})}
    made = prove(Steps(), good, rivals, world.pool, world.goal, tmp_path, seeds=4)
    for name, rival in rivals.items():
        found = made.evidence.reach[name]
        truth = np.exp(2 * (rival.mixture()["a"] - 0.6))
        assert found.ratio == pytest.approx(truth, rel=0.1)
        assert found.low < truth < found.high
    assert any(line.startswith("to reach the final loss of random: 0.") for line in made.trust())
    told = json.loads(json.dumps(made.as_dict(), allow_nan=False))
    assert set(told["curves"]) == {"plan", "random", "worst"}
    assert told["curves"]["plan"]["loss"][-1] == pytest.approx(made.loss("plan"))
    assert len(told["curves"]["plan"]["tokens"]) == len(told["curves"]["plan"]["training"]) == 20
    turned = prove(Steps(), rivals["worst"], {"good": good}, world.pool, world.goal, tmp_path, seeds=4)
    assert turned.as_dict()["tokens_to_reach"]["good"]["ratio"] is None
    assert np.isinf(turned.evidence.reach["good"].ratio)
    again = prove(Steps(), good, rivals, world.pool, world.goal, tmp_path, seeds=4)
    assert again.as_dict() == made.as_dict()


def test_a_verdict_says_whether_its_measure_tells_plans_apart(world: World, tmp_path: Path) -> None:
    good = PROBE.planned(start(world), BEST)
    rivals = {"random": random(world, 1), "other": random(world, 2)}
    clear = verdict(world, good, rivals, tmp_path).evidence
    assert clear.metrics["all"].reliability > 0.9
    assert clear.accuracy is not None
    assert clear.accuracy.pairs == 3
    assert not clear.reach  # counting n-grams has no curve
    blurred = verdict(world, random(world, 3), rivals, tmp_path).evidence
    assert blurred.metrics["all"].ratio < clear.metrics["all"].ratio / 3
    lines = "\n".join(verdict(world, good, rivals, tmp_path).trust())
    assert "of the variance between them is real" in lines
    assert "half the scale orders" in lines


class Margins(Steps):
    """`Steps` moved below zero, as the margins of a preference are."""

    signed: ClassVar[bool] = True

    def curve(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Curve:
        found = super().curve(plan, pool, goal, run)
        return Curve(found.tokens, found.losses - 2, found.training)


def test_a_headline_tells_a_share_only_of_a_positive_quantity(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    good, rivals = PROBE.planned(start(world), BEST), {"random": random(world, 1)}
    plain, margins = (
        prove(proof, good, rivals, world.pool, world.goal, tmp_path, seeds=3) for proof in (Steps(), Margins())
    )
    share = 1 - plain.loss("plan") / plain.loss("random")
    assert f"({share:.1%}), 95 % interval [" in plain.headline
    assert margins.comparisons["random"].effect == pytest.approx(plain.comparisons["random"].effect)
    assert "bits per byte, 95 % interval [" in margins.headline
    perfect = replace(plain, losses={name: np.zeros_like(table) for name, table in plain.losses.items()})
    assert "bits per byte, 95 % interval [" in perfect.headline  # a share of nothing is none


class Uneven(Steps):
    """Curves of one seed that end before those of the other begin."""

    def curve(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Curve:
        found = super().curve(plan, pool, goal, run)
        return Curve(found.tokens * (1000 if run.place[-1] == 1 else 1), found.losses, found.training)


def test_curves_without_a_common_range_cost_no_verdict(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    rivals = {"random": random(world, 1)}
    good = PROBE.planned(start(world), BEST)
    made = prove(Uneven(), good, rivals, world.pool, world.goal, tmp_path, seeds=2)
    assert made.call("random") == "better"
    assert not made.evidence.reach


def test_nothing_unfinished_is_left_after_a_proof(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    left = tmp_path / "unfinished" / "0123456789abcdef.checkpoint"  # of a trial of another plan that was killed
    left.parent.mkdir()
    left.touch()
    prove(Steps(), start(world), {"random": random(world, 1)}, world.pool, world.goal, tmp_path, seeds=2)
    assert not left.parent.exists()


def test_too_little_to_compare_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(BadRecipe, match="at least 2 seeds"):
        verdict(world, start(world), {}, tmp_path)


def test_a_plan_of_fewer_records_than_pieces_is_refused_rather_than_proved_untrained(
    world: World, tmp_path: Path
) -> None:
    few = start(world)
    few = replace(few, repeats=np.where(np.arange(len(few)) < 4, 1, 0).astype(np.int32))
    with pytest.raises(EmptyPlan, match=r"plan keeps 4 records, too few for 10 pieces: .* proof\.seeds"):
        verdict(world, few, {"random": random(world, 1)}, tmp_path)
