"""The command line from outside: what a user types and what comes back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth import __version__
from tilth.build import Build
from tilth.core import Budget, Goal, Losses, Plan, Pool, Run, TablePool
from tilth.core.errors import MissingExtra
from tilth.engine.local import Workers
from tilth.estimate import trial_seconds
from tilth.models.learner import Learner
from tilth.probes.label_noise import LabelNoise
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.ngram import Ngram
from tilth.recipe import parse

DATA = Path(__file__).parents[1] / "examples" / "data"
RECIPE = """
sources:
  health: {{path: "{data}/health.jsonl.zst"}}
  law: {{path: "{data}/law.jsonl.zst"}}
  science: {{path: "{data}/science.jsonl.zst"}}
goal: {{target: "{data}/target.jsonl.zst", holdout: "{data}/holdout.jsonl.zst", budget: 40k tokens}}
plan:
  - keep: "tokens.count >= 20"
  - {{use: temperature_mix, temperature: 3}}
proof: {{use: ngram, seeds: 2, against: [random, natural]}}
export: [jsonl]
"""


def tilth(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from tilth.cli import main; main()", *words]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, env=os.environ)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    (folder / "recipe.yaml").write_text(RECIPE.format(data=DATA))
    done = tilth("build", "recipe.yaml", "--workers", "1", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "verdict  " in done.stdout
    assert "report   build/recipe/report.html" in done.stdout
    return folder


def run(built: Path, *words: str) -> Any:
    done = tilth(*words, "--json", cwd=built)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_second_build_does_nothing_and_says_so(built: Path) -> None:
    before = (built / "build/recipe/report.html").stat().st_mtime_ns
    done = tilth("build", "recipe.yaml", cwd=built)
    assert "nothing to do" in done.stderr
    assert "verdict  " in done.stdout
    assert (built / "build/recipe/report.html").stat().st_mtime_ns == before


def test_exports_hold_the_plan(built: Path) -> None:
    import zstandard

    out = built / "build/recipe"
    manifest = json.loads((out / "export/jsonl/manifest.json").read_text())
    plan = json.loads((out / "plan/plan.json").read_text())
    (name,) = [n for n in manifest["files"] if n.endswith(".jsonl.zst")]
    with zstandard.open(out / "export/jsonl" / name, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert len(rows) >= plan["records"]
    assert len({r["id"] for r in rows}) == plan["records"]
    assert manifest["plan"]["realised"] == plan["realised"]
    assert {f["source"] for f in manifest["inputs"]} == {"health", "law", "science"}
    assert (out / "export/jsonl/datasheet.md").read_text().startswith("---")
    assert (out / "export/jsonl/decisions.parquet").exists()


def test_why_explains_kept_dropped_and_contaminated_records(built: Path) -> None:
    import pyarrow.parquet as pq

    table = pq.read_table(built / "build/recipe/plan/plan.parquet").to_pylist()
    kept = next(r["id"] for r in table if r["repeats"] == 1)
    told = run(built, "why", "recipe.yaml", kept)
    assert told["outcome"] == "in the plan, read once"
    assert [s["did"] for s in told["steps"]] == ["kept it"] * 3
    contaminated = next(r["id"] for r in table if r["dropped_by"] == 0)
    told = run(built, "why", "recipe.yaml", contaminated)
    assert "contamination.hit" in told["outcome"]
    assert told["signals"]["contamination"]["hit"] is True
    short = next(r["id"] for r in table if r["dropped_by"] == 1)
    told = run(built, "why", "recipe.yaml", short)
    assert "would be in if" in told["outcome"]
    assert "tokens.count" in told["outcome"]
    undrawn = next(r for r in table if r["dropped_by"] == 2)
    told = run(built, "why", "recipe.yaml", undrawn["id"])
    step = told["steps"][2]
    assert step["key"] < step["cut"]
    done = tilth("why", "recipe.yaml", "no-such-id", cwd=built)
    assert done.returncode == 2
    assert "No record has the id" in done.stderr


def test_why_tells_how_often_a_record_is_repeated(built: Path) -> None:
    change = ["goal.budget=900k tokens", "plan=[{use: stratified}]", "export=[]"]
    done = tilth("plan", "recipe.yaml", *change, "--out", "build/repeated", "--workers", "1", cwd=built)
    assert done.returncode == 0, done.stderr
    import pyarrow.parquet as pq

    table = pq.read_table(built / "build/repeated/plan/plan.parquet").to_pylist()
    often = max(table, key=lambda r: r["repeats"])
    assert often["repeats"] > 1
    told = run(built, "why", "recipe.yaml", often["id"], "--out", "build/repeated")
    assert told["outcome"] == f"in the plan, read {often['repeats']} times"


def test_diff_lists_who_entered_and_left_and_why(built: Path) -> None:
    change = ["plan.0.keep=tokens.count >= 400", "export=[]"]
    done = tilth("plan", "recipe.yaml", *change, "--out", "build/longer", "--workers", "1", cwd=built)
    assert done.returncode == 0, done.stderr
    told = run(built, "diff", "build/recipe", "build/longer")
    assert told["left"]["records"] > 0
    assert told["entered"]["records"] > 0
    assert any("400" in reason for reason in told["left"]["is out because"])
    assert any("temperature_mix" in reason for reason in told["entered"]["was out because"])
    before, after = (
        json.loads((built / f"build/{n}/plan/plan.json").read_text())["records"] for n in ("recipe", "longer")
    )
    assert before - told["left"]["records"] + told["entered"]["records"] == after
    same = run(built, "diff", "build/recipe", "build/recipe")
    assert same["left"]["records"] == same["entered"]["records"] == 0


def test_changing_a_threshold_measures_nothing_again(built: Path) -> None:
    done = tilth("plan", "recipe.yaml", "plan.0.keep=tokens.count >= 30", "--workers", "1", cwd=built)
    assert done.returncode == 0
    assert "tokens (already there)" in done.stderr
    assert "contamination (already there)" in done.stderr
    tilth("build", "recipe.yaml", "--workers", "1", cwd=built)  # as it was, for the other tests


def test_a_dry_run_tells_and_runs_nothing(built: Path) -> None:
    told = run(built, "build", "recipe.yaml", "--dry-run", "--out", "build/dry")
    assert told["tokens"] > 100_000
    assert told["minutes"] > 0
    assert told["peak_memory_mb"] > 100
    assert told["disk_mb"] >= 1
    assert told["untimed"] == {}
    assert not (built / "build/dry").exists()


def test_limits_hold_in_the_plan_and_are_checked_first(built: Path) -> None:
    words = ["plan", "recipe.yaml", "--out", "build/limits"]
    told = run(built, *words, "goal.limits={floor: {law: 0.6}, repeats: 3}")
    assert told["realised"]["law"] >= 0.59
    assert told["limits"] == {"repeats": 3.0, "floor": {"law": 0.6}}
    told = run(built, *words, "goal.limits.licenses=[public-domain]")
    dropped = next(d for d in told["decisions"] if d["policy"] == {"use": "limits"})
    assert 0 < dropped["records"][1] < dropped["records"][0]
    for wrong, says in (
        ("goal.limits.floor={lawn: 0.1}", "'lawn', which is none of the sources"),
        ("goal.limits.ceilling={law: 0.1}", "Did you mean 'ceiling'?"),
        ("goal.limits.licenses=[nobodys]", "allows nobodys, and the pool's records have"),
        ("goal.limits.ceiling={law: 0.1, health: 0.1, science: 0.1}", "no more than 30.0%"),
    ):
        done = tilth(*words, wrong, cwd=built)
        assert done.returncode == 2, done.stderr
        assert says in done.stderr


def test_a_plans_mixture_is_written_for_a_trainer(built: Path) -> None:
    done = tilth("mixture", "write", "build/recipe", "--form", "megatron", "--prefix", "data/", cwd=built)
    assert done.returncode == 0, done.stderr
    weights = dict(zip(done.stdout.split()[1::2], map(float, done.stdout.split()[::2]), strict=True))
    assert set(weights) == {"data/health", "data/law", "data/science"}
    assert sum(weights.values()) == pytest.approx(1)


def test_sensitivity_tells_how_far_a_mixture_moves(built: Path) -> None:
    words = ["plan", "recipe.yaml", "--out", "build/sensitive", "--sensitivity"]
    mix = "plan=[{use: regmix, trials: 8, cap: 8, proof: {use: ngram, tokens: 4000}}]"
    shifts = run(built, *words, mix)["sensitivity"]
    assert [s["changed"].strip() for s in shifts] == [
        "", "seed 1", "seed 2", "seed 3", "half the proxy", "tokenizer of 1024 ids",
    ]  # fmt: skip
    assert shifts[0]["distance"] == 0
    assert all(0 < s["distance"] <= 2 for s in shifts[1:4]), "eight trials of another seed are other trials"
    told = tilth(*words, mix, cwd=built).stdout
    assert "largest change of shares" in told
    done = tilth(*words, "plan=[stratified]", cwd=built)
    assert done.returncode == 2
    assert "chooses a mixture" in done.stderr


LABELLED = """
sources: {rows: rows.jsonl}
signals:
  - {use: cartography, learner: {seeds: 2, passes: 3}}
  - {use: el2n, learner: {seeds: 2, passes: 3}}
"""


def test_a_dry_run_says_what_is_trained_and_counts_a_shared_training_once(tmp_path: Path) -> None:
    pool = LabelNoise(flip=0.1).build(3000, Run()).pool
    rows = pool.table(["id", "text", "label"]).to_pylist()
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "recipe.yaml").write_text(LABELLED)
    told = run(tmp_path, "score", "recipe.yaml", "--dry-run")
    assert [name for name in told["steps"] if name.startswith("train ")] == ["train 2 linear models, 3 passes each"]
    assert told["untimed"] == {}
    apart = ["signals.1.learner.passes=4"]
    told = run(tmp_path, "score", "recipe.yaml", "--dry-run", *apart)
    assert "train 2 linear models, 4 passes each" in told["steps"]
    assert not (tmp_path / "build").exists()


def test_what_a_training_keeps_on_disk_is_foretold(tmp_path: Path) -> None:
    pool = LabelNoise(flip=0.1).build(3000, Run()).pool
    learner = Learner(seeds=2, passes=3)
    whole = replace(Run(), shared=tmp_path / "whole")
    learner.record(pool, whole)
    kept = sum(file.stat().st_size for file in (tmp_path / "whole").iterdir())
    part = TablePool(pool.table(pool.schema.names).slice(0, 300), pool.kind)
    _, foretold = learner.forecast(part, 10.0, replace(Run(), shared=tmp_path / "part"))
    assert foretold == pytest.approx(kept, rel=0.3)


def test_a_dry_run_tries_a_dear_proof_at_small_scales_only(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Ngram):
        """A trial takes 3 s and, at full scale, 64 more, on a clock of its own; nothing is trained."""

        def trial(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Losses:
            clock[0] += 3 + 64 * min(self.tokens, plan.amount) / 320_000
            tried.append(self.tokens)
            return np.zeros(goal.holdout.count)

    clock, tried = [0.0], []  # type: list[float], list[int]
    monkeypatch.setattr("tilth.estimate.time.monotonic", lambda: clock[0])
    world = PlantedMixture().build(2000, Run())
    assert world.goal is not None
    goal = replace(world.goal, budget=Budget(10_000_000))
    plan = Plan.everything(world.pool, goal.budget)
    seconds, scale = trial_seconds(Slow(tokens=320_000), plan, world.pool, goal, 5, Run())
    assert tried == [5000, 20_000, 80_000]  # once to warm up; at 1/16 and 1/4
    assert scale == 1 / 4
    assert seconds == pytest.approx(67, rel=0.1)
    clock[0], tried[:] = 0.0, []
    few = replace(goal, budget=Budget(100_000))  # 20,000 tokens a seed: most of the limit is never read
    assert trial_seconds(Slow(tokens=320_000), plan, world.pool, few, 5, Run())[0] == pytest.approx(7, rel=0.2)


def test_variance_says_where_noise_comes_from(built: Path) -> None:
    told = run(built, "variance", "recipe.yaml", "--init", "2", "--order", "1", "--subset", "2", "--workers", "1")
    assert told["levels"] == {"init": 2, "subset": 2, "item": 71}
    parts = {row["source"]: row["sd"] for row in told["table"]}
    assert parts["init"] == pytest.approx(0, abs=1e-9)  # counting n-grams has no initial weights
    assert parts["item"] > 0


BROKEN = """
from tilth.policies.mix.random import Random


class Raises(Random):
    def revise(self, plan, pool, goal, run):
        raise RuntimeError("planted </td><script>alert(1)</script>")
"""
CONTEST = """
tournament:
  flat: stratified
  warm: {use: temperature_mix, temperature: 2}
  none: {use: keep, where: "tokens.count > 9999999"}
  "<b>buggy</b>": {use: "broken:Raises"}
"""


def test_a_tournament_names_who_fails_and_ranks_the_rest(built: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(BROKEN)
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(data=DATA) + CONTEST)
    told = run(tmp_path, "tournament", "recipe.yaml", "--workers", "1")
    assert {"flat", "warm", "random", "natural"} == {row["name"] for row in told["table"]}
    assert [row["loss"] for row in told["table"]] == sorted(row["loss"] for row in told["table"])
    assert "drops all" in told["missing"]["none"]
    assert told["missing"]["<b>buggy</b>"].startswith("RuntimeError: planted")
    assert [policy["use"] for policy in told["shared"]] == ["keep"]
    assert set(told["seconds"]) == {"flat", "warm", "random", "natural"}
    page = (tmp_path / told["page"]).read_text()
    assert "<script" not in page
    assert "<b>buggy" not in page
    assert "&lt;b&gt;buggy&lt;/b&gt;" in page
    assert str(tmp_path) not in page
    first = (tmp_path / "build/recipe/tournament/tournament.json").read_bytes()
    shown = tilth("tournament", "recipe.yaml", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "not in the table: none" in shown.stdout
    assert (tmp_path / "build/recipe/tournament/tournament.json").read_bytes() == first
    assert (tmp_path / told["page"]).read_text() == page
    forecast = run(tmp_path, "tournament", "recipe.yaml", "--dry-run", "--out", "build/dry")
    assert {"plan of flat", "plan of warm", "proof"} <= set(forecast["steps"])
    assert "plan of <b>buggy</b>" not in forecast["steps"]  # what failed has no time, not a time of 0
    assert forecast["untimed"]["plan of <b>buggy</b>"].startswith("RuntimeError: planted")
    assert not (tmp_path / "build/dry").exists()


def test_a_tournament_killed_anywhere_ends_with_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "recipe.yaml").write_text(RECIPE.format(data=DATA))
    words = [
        "tournament",
        "recipe.yaml",
        "--policies",
        "regmix[trials=16],stratified,temperature_mix",
        "--workers",
        "1",
    ]
    whole = tilth(*words, "--out", "whole", cwd=tmp_path)
    assert whole.returncode == 0, whole.stderr
    command = [sys.executable, "-c", "from tilth.cli import main; main()", *words, "--out", "cut"]
    results = tmp_path / "cut/tournament/tournament.json"
    trials, kills = tmp_path / "cut/tournament/trials", 0
    for goal in (1, 9):
        job = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while job.poll() is None and (len(list(trials.glob("*.pkl"))) if trials.exists() else 0) < goal:
            time.sleep(0.002)
        job.kill()
        job.wait()
        kills += not results.exists()
    assert kills >= 1
    done = tilth(*words, "--out", "cut", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert results.read_bytes() == (tmp_path / "whole/tournament/tournament.json").read_bytes()
    assert not list((tmp_path / "cut").rglob("*.tmp"))


def test_the_version_is_printed_and_nothing_else_done(tmp_path: Path) -> None:
    done = tilth("--version", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"tilth {__version__}\n", "")
    assert not list(tmp_path.iterdir())


def test_list_show_probe_init(built: Path, tmp_path: Path) -> None:
    assert "regmix" in {r["name"] for r in run(built, "list", "policies")}
    shown = tilth("show", "temperature_mix", cwd=built).stdout
    assert "temperature = 2.0  at least 1" in shown
    files = [str(DATA / f"{n}.jsonl.zst") for n in ("law", "health", "target", "holdout")]
    written = tilth("init", *files, "--budget", "50k tokens", cwd=tmp_path)
    assert written.returncode == 0, written.stderr
    (tmp_path / "made.yaml").write_text(written.stdout)
    done = tilth("build", "made.yaml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_claims_are_listed_and_a_probe_takes_fields(built: Path, tmp_path: Path) -> None:
    claims = {r["name"]: r["what"] for r in run(built, "list", "claims")}
    assert claims["liu2024_regmix"].endswith("rank unseen mixtures.")
    assert "liu2024_regmix" in {r["name"] for r in run(built, "list")}
    two_kinds = [run(built, "probe", "addition", f"spelling={s}", "--size", "5") for s in ("plain", "reversed")]
    plain, turned = (world["first"][0]["messages"][1]["content"] for world in two_kinds)
    assert turned.strip("$") == plain.strip("$")[::-1]
    wrong = tilth("probe", "addition", "speling=plain", cwd=built)
    assert wrong.returncode == 2
    assert "'spelling'" in wrong.stderr


def test_a_device_that_is_not_there_is_named(built: Path) -> None:
    for device, told in (("gpu", "cpu, cuda"), ("cuda:x", "cpu, cuda")):
        wrong = tilth("prove", "recipe.yaml", "--device", device, cwd=built)
        assert wrong.returncode == 2
        assert told in wrong.stderr


def test_a_probe_writes_its_whole_world(built: Path, tmp_path: Path) -> None:
    for name, parts in {
        "planted_mixture": {"pool", "target", "holdout"},
        "explanations": {"pool", "more-test"},
        "label_noise": {"pool"},
    }.items():
        told = run(built, "probe", name, "--size", "40", "--seed", "3", "--out", str(tmp_path / name))
        assert told["records"] == told["pools"]["pool"]["records"] == 40
        assert {p.stem for p in (tmp_path / name).iterdir()} == parts == {*told["pools"]}
        for part in told["pools"].values():
            rows = [json.loads(line) for line in Path(part["file"]).read_text().splitlines()]
            assert len(rows) == part["records"] > 0
    assert "truth" in json.loads((tmp_path / "label_noise/pool.jsonl").read_text().splitlines()[0])
    refused = tilth("probe", "label_noise", "--out", "recipe.yaml", cwd=built)
    assert refused.returncode == 2
    assert "names a folder" in refused.stderr


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["build", "none.yaml"], 2, "Cannot read the recipe"),
        (["build", "recipe.yaml", "goal.budgett=5"], 2, "Did you mean 'budget'"),
        (["build", "recipe.yaml", "signal=[]"], 2, "Did you mean 'signals'"),
        (["build", "recipe.yaml", "signals=[minhsh]"], 2, "No method is called 'minhsh'"),
        (["build", "recipe.yaml", "plan.1.temprature=2"], 2, "Did you mean 'temperature'"),
        (["build", "recipe.yaml", "plan.0.keep=token.count > 2"], 2, "tokens.count"),
        (["build", "recipe.yaml", "sources.health.path=nothing*.jsonl"], 3, "nothing"),
        (["build", "recipe.yaml", "plan.0.keep=tokens.count > 999999"], 3, "drops all"),
        (["build", "recipe.yaml", f"goal.holdout={DATA}/target.jsonl.zst"], 3, "measure copying"),
        (["show", "el2nn"], 2, "No method is called"),
        (["nonsense"], 2, "No such command"),
        (["tournament", "recipe.yaml", "--policies", "regmux"], 2, "Did you mean regmix"),
        (["tournament", "recipe.yaml", "--policies", "regmix[trials]"], 2, "A setting reads field=value"),
        (["tournament", "recipe.yaml", "--policies", "ngram"], 2, "is a proof, not a policy"),
        (["tournament", "recipe.yaml", "--policies", "random"], 2, "baselines take part anyway"),
        (["variance", "recipe.yaml", "--init", "1", "--order", "1", "--subset", "1"], 2, "at least 2 levels"),
        (["tournament", "recipe.yaml", "--shared", "7"], 2, "at most the number"),
        (["diff", "build/recipe", "nowhere"], 4, "no complete plan"),
    ],
)
def test_errors_are_one_line_with_an_exit_code(built: Path, words: list[str], code: int, says: str) -> None:
    done = tilth(*words, *(["--out", "build/errors"] if words[0] in ("build", "tournament") else []), cwd=built)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr


def test_bars_may_stand_inside_bars(monkeypatch: pytest.MonkeyPatch) -> None:
    from tilth import cli

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    seen = [(a, b) for a in cli._bar([1, 2], "plans", 2) for b in cli._bar(iter([3, 4]), "trials", 2)]
    assert seen == [(1, 3), (1, 4), (2, 3), (2, 4)]
    assert not cli._showing
    for _ in cli._bar([1, 2], "left early", 2):
        break
    assert [*cli._bar([5], "again", 1)] == [5]


def test_the_package_imports_in_a_moment() -> None:
    code = "import sys, tilth; assert not {'lance', 'numba', 'torch', 'pyarrow'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0
    heavy = "import sys; from tilth.cli import app; assert not {'lance', 'numba', 'torch'} & set(sys.modules), 'heavy'"
    assert subprocess.run([sys.executable, "-c", heavy], timeout=60).returncode == 0


def test_a_proof_without_its_package_is_refused_before_anything_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tilth.build.find_spec", lambda name: None)
    recipe = parse(RECIPE.format(data=DATA), ["proof.use=tiny_lm"])
    job = Build(recipe, tmp_path, tmp_path / "out", Workers(1, Run().progress))
    with pytest.raises(MissingExtra, match=r"pip install 'tilth\[torch\]'"):
        job.all()
    assert not (tmp_path / "out" / "pool").exists()
