"""Who takes part in a tournament, and what they start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tilth import catalog
from tilth.build import Build
from tilth.contest import Contest, parse_policies
from tilth.core import Run
from tilth.core.errors import BadRecipe, MissingExtra
from tilth.engine.local import Workers
from tilth.policies.mix.steered import Steered
from tilth.recipe import parse

DATA = Path(__file__).parents[1] / "examples" / "data"
RECIPE = """
sources: {health: health.jsonl.zst, law: law.jsonl.zst}
goal: {target: target.jsonl.zst, holdout: holdout.jsonl.zst, budget: 20k tokens}
plan: [{keep: "tokens.count >= 200"}, {use: temperature_mix, temperature: 3}]
proof: {use: ngram, seeds: 2, tokens: 5000}
"""


def contest(out: Path, more: str = "", **options: object) -> Contest:
    job = Build(parse(RECIPE + more), DATA, out, Workers(1, Run().progress))
    return Contest(job, **options)  # type: ignore[arg-type]


def test_settings_nest_and_labels_are_what_was_written() -> None:
    found = parse_policies(["regmix[proof={use: ngram, order: 3}, trials=8]", "keep[where='a, b'],natural"])
    assert [*found.values()] == [
        {"use": "regmix", "proof": {"use": "ngram", "order": 3}, "trials": 8},
        {"use": "keep", "where": "a, b"},
        {"use": "natural"},
    ]
    assert [*found] == ["regmix[proof={use: ngram, order: 3}, trials=8]", "keep[where='a, b']", "natural"]
    for wrong, said in [("a[b", "do not close"), ("a[b]c", "reads name"), ("a,a", "named twice"), (" , ", "no policy")]:
        with pytest.raises(BadRecipe, match=said):
            parse_policies([wrong])


def test_without_names_every_policy_that_applies_takes_part(tmp_path: Path) -> None:
    found = contest(tmp_path)
    assert {"regmix", "temperature_mix"} <= set(found.candidates)
    assert not {"random", "natural", "stratified"} & set(found.candidates)
    assert found.candidates["temperature_mix"].describe()["temperature"] == 3  # the recipe's own settings
    assert "where" in found._chosen[1]["keep"]
    assert [*found.baselines] == ["random", "natural", "stratified"]
    section = contest(tmp_path, "tournament: [natural, {temperature_mix: 5}]")
    assert {n: p.describe()["use"] for n, p in section.candidates.items()} == {
        "natural": "natural",
        "temperature_mix": "temperature_mix",
    }
    named = contest(tmp_path, "tournament: {hot: {temperature_mix: 5}}", policies=["hot,regmix"])
    assert named.candidates["hot"].describe()["temperature"] == 5


def test_online_policies_are_raced_where_the_proof_has_steps(tmp_path: Path) -> None:
    counted = contest(tmp_path)
    assert "dga" not in counted.candidates
    assert "does not train step by step" in counted._chosen[1]["dga"]
    stepped = Build(parse(RECIPE.replace("use: ngram", "use: tiny_lm")), DATA, tmp_path, Workers(1, Run().progress))
    found = Contest(stepped).candidates
    assert {"dga", "rb"} <= set(found)
    assert found["dga"].describe() == Steered(policy="dga").describe()
    named = Contest(stepped, policies=["dga[eta=2]"])
    plan = named.entry(named.candidates["dga[eta=2]"], "plan").make()
    assert plan.steering is not None
    assert plan.steering.policy["eta"] == 2
    with pytest.raises(BadRecipe, match="use: steered, policy: dga"):
        _ = Build(parse(RECIPE, ["plan.1=dga"]), DATA, tmp_path, Workers(1, Run().progress)).policies


def test_what_comes_before_the_last_policy_is_shared_by_all(tmp_path: Path) -> None:
    found = contest(tmp_path, policies=["temperature_mix[temperature=3]"])
    assert [p.name() for p in found.shared_policies] == ["keep"]
    short = found.build.start.sizes < 200
    plans = [found.entry(p, "plan").make() for p in found.candidates.values()]
    assert (plans[0].repeats == found.build.plan.repeats).all()  # the recipe's own plan, when it takes part
    assert not plans[0].kept[short].any()
    assert "begin" in vars(found)  # made once for everyone, and on nobody's account
    alone = contest(tmp_path, policies=["regmix"], shared=0)
    assert alone.shared_policies == []
    assert alone.begin.kept[short].any()


def test_a_signal_that_only_one_candidate_needs_may_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*args: object) -> None:
        raise MissingExtra("importance needs a package.")

    monkeypatch.setattr(catalog.find("importance"), "fit", fails)
    scored = "sample[by=importance.weight]"
    found = contest(tmp_path / "a", policies=[f"{scored},temperature_mix"])
    assert found.result.missing == {scored: "its signal importance failed: importance needs a package."}
    assert [row["name"] for row in found.result.table() if not row["baseline"]] == ["temperature_mix"]
    required = contest(tmp_path / "b", "signals: [importance]", policies=["temperature_mix"])
    with pytest.raises(MissingExtra):
        _ = required.result
