from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.engine.toys import Steps

from tilth.core import Goal, Losses, Plan, Run, TablePool, World
from tilth.core.errors import BadRecipe, NoSpace
from tilth.engine.local import Workers
from tilth.engine.statistics import benjamini_hochberg, compare
from tilth.engine.tournament import Entry, Tournament, cost, tournament
from tilth.policies.mix.natural import Natural
from tilth.policies.mix.random import Random
from tilth.policies.mix.regmix import RegMix
from tilth.policies.mix.stratified import Stratified
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.proofs.ngram import Ngram
from tilth.report.tournament import render_tournament

PROBE = PlantedMixture()
PROOF = Ngram(tokens=20_000)
SEEDS = 4


@pytest.fixture(scope="module")
def world() -> World:
    return PROBE.build(3000, Run())


def start(world: World) -> Plan:
    assert world.goal is not None
    return Plan.everything(world.pool, world.goal.budget)


def shares(world: World, **given: float) -> Entry:
    return Entry(f"shares {sorted(given.items())}", partial(PROBE.planned, start(world), given))


def policy(world: World, method: Any, seed: int = 0) -> Entry:
    assert world.goal is not None
    make = partial(method.revise, start(world), world.pool, world.goal.blind(), Run(seed=seed))
    return Entry(f"{method.fingerprint()} {seed}", make, (method.describe(),))


def raises() -> Plan:
    raise RuntimeError("a bug\nin a policy")


def empty(world: World) -> Plan:
    plan = start(world)
    return replace(plan, repeats=np.zeros_like(plan.repeats))


def baselines(world: World) -> dict[str, Entry]:
    return {n: policy(world, m) for n, m in {"random": Random(), "natural": Natural()}.items()}


def held(
    world: World, entries: Mapping[str, Entry], folder: Path, rivals: Mapping[str, Entry] | None = None, **more: Any
) -> Tournament:
    assert world.goal is not None
    rivals = baselines(world) if rivals is None else rivals
    return tournament(PROOF, entries, rivals, world.pool, world.goal, folder, seeds=SEEDS, **more)


def direct(world: World, entry: Entry) -> Losses:
    """The candidate's losses, by hand."""
    assert world.goal is not None
    plan, run = entry.make(), Run()
    pieces = [plan.part(s, SEEDS, run.at("seeds")) for s in range(SEEDS)]
    return np.stack([PROOF.trial(p, world.pool, world.goal, run.at("trial", s)) for s, p in enumerate(pieces)])


def test_eight_policies_of_which_one_raises_and_one_is_empty(world: World, tmp_path: Path) -> None:
    entries = {
        "planted": shares(world, **BEST),
        "near": shares(world, a=0.5, b=0.3, c=0.2),
        "equal": shares(world, a=1, b=1, c=1, d=1),
        "buggy": Entry("buggy", raises),
        "opposite": shares(world, d=1.0),
        "void": Entry("void", partial(empty, world)),
        "middle": shares(world, a=0.3, b=0.3, c=0.2, d=0.2),
        "again": policy(world, Random(), seed=5),
    }
    made = held(world, entries, tmp_path, missing={"keep": "has no defaults"})
    assert made.missing == {
        "keep": "has no defaults",
        "buggy": "RuntimeError: a bug in a policy",
        "void": "its plan is empty",
    }
    expected = {n: direct(world, e) for n, e in {**entries, **baselines(world)}.items() if n not in made.missing}
    mean = {n: float(t.mean()) for n, t in expected.items()}
    assert made.reference == min(("random", "natural"), key=lambda n: mean[n])
    rows = made.table()
    assert [row["name"] for row in rows] == sorted(mean, key=lambda n: mean[n])
    assert [row["loss"] for row in rows] == pytest.approx(sorted(mean.values()), abs=1e-12)
    against = {n: compare(expected[n], expected[made.reference]) for n in entries if n in expected}
    adjusted = dict(zip(against, benjamini_hochberg([c.p for c in against.values()]), strict=True))
    for row in rows:
        if row["baseline"]:
            assert row["name"] in ("random", "natural")
            continue
        c = against[row["name"]]
        assert [row[k] for k in ("effect", "low", "high", "p")] == pytest.approx([c.effect, c.low, c.high, c.p])
        assert row["p_adjusted"] == pytest.approx(adjusted[row["name"]])
        plan = entries[row["name"]].make()
        assert (row["records"], row["amount"]) == (int(plan.kept.sum()), plan.amount)
    assert made.ranking[:2] == ["planted", "near"] or made.tied
    assert made.call("planted") == "better"
    assert made.call("opposite") == "worse"
    assert made.call("again") == "no difference"
    assert "opposite" not in made.tied
    assert made.stability > 0.8
    assert "better than it" in made.headline
    json.dumps(made.as_dict())


def test_a_search_beats_what_knows_nothing_of_the_goal(world: World, tmp_path: Path) -> None:
    entries = {"regmix": policy(world, RegMix(trials=48, proof=Ngram(tokens=20_000)))}
    rivals = {**baselines(world), "stratified": policy(world, Stratified())}
    made = held(world, entries, tmp_path, rivals)
    assert made.reference == "stratified"  # equal shares are nearer to the planted ones than the pool's
    assert made.call("regmix") == "better"
    assert made.headline.startswith("regmix comes first and is BETTER than the best uninformed baseline (stratified)")


def test_with_curves_the_table_tells_speed_goal_by_goal(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    holdout = world.goal.holdout.table(["id", "text", "source"])
    names = ["easy" if i % 3 else "hard" for i in range(len(holdout))]
    goals = Goal(world.goal.target, TablePool(holdout.append_column("goal", [names])), world.goal.budget)
    entries = {"planted": shares(world, **BEST), "half": shares(world, a=0.3, d=0.7), "none": shares(world, d=1.0)}
    made = tournament(Steps(), entries, baselines(world), world.pool, goals, tmp_path, seeds=3)
    assert made.profiles is not None
    assert set(made.profiles.ratios["planted"]) == {"easy", "hard"}
    assert made.profiles.scores["planted"] == 1.0
    # Its tokens over those of the fastest are exp(2 (0.6 - 0.3)), give or take the steps between measurements.
    assert made.profiles.ratios["half"]["easy"] == pytest.approx(np.exp(0.6), rel=0.25)
    assert made.profiles.scores["none"] == 0.0
    assert set(made.evidence.metrics) == {"all", "easy", "hard"}
    rows = {row["name"]: row for row in made.table()}
    truth = np.exp(2 * (baselines(world)[made.reference].make().mixture()["a"] - 0.6))
    assert made.evidence.reach["planted"].ratio == pytest.approx(truth, rel=0.1)
    assert rows["planted"]["tokens_to_reach"].startswith("0.")
    assert rows["none"]["tokens_to_reach"].startswith("more than 1.00x")
    json.dumps(made.as_dict(), allow_nan=False)
    page = render_tournament(made, [])
    assert "Loss over tokens read" in page


def test_the_first_is_certified_on_new_items(world: World, tmp_path: Path) -> None:
    made = held(world, {"planted": shares(world, **BEST), "equal": shares(world, a=1, b=1, c=1, d=1)}, tmp_path)
    first, reference = (made.losses[n].mean(0) for n in (made.ranking[0], made.reference))
    lost = float((first >= reference).mean())
    assert made.certificate is not None
    assert made.certificate.risk == lost
    assert made.certificate.nats == pytest.approx(np.log(2 * 2))  # two candidates, two baselines
    assert lost < made.certificate.bound < 1
    assert any("with 95 % confidence" in line for line in made.trust())


def test_interrupted_anywhere_and_run_again_it_ends_with_the_same_numbers(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entries = {"planted": shares(world, **BEST), "equal": shares(world, a=1, b=1, c=1, d=1)}
    whole = held(world, entries, tmp_path / "whole").as_dict()
    real, done = Ngram.trial, 0

    def cut(self: Ngram, *args: Any) -> Any:
        nonlocal done
        done += 1
        if done % 6 == 0:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(Ngram, "trial", cut)
    cuts = 0
    while True:
        try:
            resumed = held(world, entries, tmp_path / "cut").as_dict()
            break
        except KeyboardInterrupt:
            cuts += 1
    assert cuts == 6  # 4 plans x 4 seeds x 2 scales = 32 trials, of which each cut loses one
    assert done == 32 + cuts
    assert resumed == whole
    monkeypatch.setattr(Ngram, "trial", real)
    two = held(world, entries, tmp_path / "two", workers=Workers(2, Run().progress)).as_dict()
    assert two == whole


def test_a_plan_is_made_once(world: World, tmp_path: Path) -> None:
    made = 0

    def make() -> Plan:
        nonlocal made
        made += 1
        return PROBE.planned(start(world), BEST)

    def ready() -> None:
        time.sleep(0.5)

    entry = Entry("counted", make, ready=ready)
    first, second = (held(world, {"counted": entry}, tmp_path) for _ in range(2))
    assert made == 1
    assert first.seconds()["counted"] < 0.5
    assert first.seconds() == second.seconds()
    assert first.as_dict() == second.as_dict()


def test_a_trial_that_fails_names_its_plan_and_is_tried_again(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Ngram.trial

    def fragile(self: Ngram, plan: Plan, *args: Any) -> Any:
        if plan.mixture()["d"] == 1.0:
            raise ZeroDivisionError("nothing of a")
        return real(self, plan, *args)

    entries = {"planted": shares(world, **BEST), "only d": shares(world, d=1.0)}
    monkeypatch.setattr(Ngram, "trial", fragile)
    broken = held(world, entries, tmp_path)
    assert broken.missing == {"only d": "ZeroDivisionError: nothing of a"}
    assert broken.ranking == ["planted"]
    monkeypatch.setattr(Ngram, "trial", real)
    assert held(world, entries, tmp_path).ranking == ["planted", "only d"]


def test_what_is_wrong_with_the_machine_stops_it(world: World, tmp_path: Path) -> None:
    def full() -> Plan:
        raise NoSpace("The disk is full.")

    with pytest.raises(NoSpace):
        held(world, {"a": Entry("a", full)}, tmp_path)


def test_plans_over_another_pool_or_over_the_budget_are_refused_by_name(world: World, tmp_path: Path) -> None:
    other = PROBE.build(500, Run(seed=3))
    everything = partial(Plan.everything, world.pool, start(world).budget)
    made = held(world, {"other": shares(other, a=1.0), "all": Entry("all", everything)}, tmp_path)
    assert made.missing["other"] == "its plan is over another pool"
    assert "reads 180,000, over the budget of 27,000 tokens" in made.missing["all"]
    assert made.headline == "NO RESULT: none of the candidates could be tried (2 failed)"
    with pytest.raises(BadRecipe, match="take part anyway"):
        held(world, {"random": shares(world, a=1.0)}, tmp_path)
    with pytest.raises(BadRecipe, match="RuntimeError: a bug"):
        held(world, {"a": shares(world, a=1.0)}, tmp_path, {"random": Entry("r", raises)})


def test_halving_finds_the_planted_best_for_a_fraction(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    draws = rng.dirichlet([0.3, 1, 1, 2], size=11)
    entries = {
        f"draw {i}": shares(world, **dict(zip("abcd", row.tolist(), strict=True))) for i, row in enumerate(draws)
    }
    entries["planted"] = shares(world, **BEST)
    sizes: list[int] = []
    real = Ngram.trial

    def counted(self: Ngram, *args: Any) -> Any:
        sizes.append(self.tokens)
        return real(self, *args)

    monkeypatch.setattr(Ngram, "trial", counted)
    made = held(world, entries, tmp_path, halving=True)
    assert made.ranking[0] == "planted"
    assert made.halving is not None
    assert [(len(r.scores), r.halvings) for r in made.halving.rungs] == [(12, 3), (6, 2), (3, 1), (2, 0)]
    spent = Fraction(12, 8) + Fraction(6, 4) + Fraction(3, 2) + 2
    assert made.halving.spent == spent
    # Besides the rounds: both baselines at full and at half scale, and whoever reached full scale at half, once.
    beside = 2 * Fraction(3, 2)
    assert sum(Fraction(s, PROOF.tokens) for s in sizes) == SEEDS * (spent + beside)
    assert cost(PROOF, 12, 2, halving=True) == float(spent + beside) + 0.5 * 2  # both finalists' half may be new
    assert cost(PROOF, 12, 2, halving=False) == 1.5 * 14
    assert len(made.adjusted) == 12  # those that are out still count among the comparisons
    out = [row for row in made.table() if "out_in_round" in row]
    assert len(out) == 10
    assert out[0]["out_in_round"] == 3
    sizes.clear()
    assert held(world, entries, tmp_path, halving=True).as_dict() == made.as_dict()
    assert not sizes


def test_a_scale_is_not_halved_below_what_pieces_can_hold(world: World, tmp_path: Path) -> None:
    few = start(world)
    few = few.revised({"use": "t"}, "few", keep=np.arange(len(few)) % 30 == 0)  # 100 records, 25 a seed
    entries = {f"c{i}": shares(world, a=1.0, d=0.1 * i) for i in range(12)}
    made = held(world, entries | {"few": Entry("few", lambda: few)}, tmp_path, halving=True)
    assert made.halving is not None
    assert [r.halvings for r in made.halving.rungs] == [0]  # one halving alone would save nothing
