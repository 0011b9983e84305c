"""Mixtures from elsewhere: tables read with care, a known law recovered, weights in the trainers' forms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from tilth.cli import app
from tilth.core import Limits
from tilth.core.errors import BadInput, UsageError
from tilth.io.mixtures import Table, read_table, render, write_table
from tilth.mixture import Fit, fit

BEST = np.array([0.5, 0.3, 0.2])


def runs(count: int, seed: int = 0) -> tuple[Table, Table]:
    """Losses that are least at a known mixture."""
    rng = np.random.default_rng(seed)
    ratios = rng.dirichlet(np.ones(3), count)
    losses = 3 - (BEST * np.log(ratios + 0.05)).sum(1)
    names = tuple(f"r{i}" for i in range(count))
    return Table(names, ("web", "code", "law"), ratios), Table(
        names, ("loss", "noise"), np.stack([losses, rng.random(count)], 1)
    )


def test_a_known_best_mixture_is_proposed() -> None:
    fitted, left = fit(*runs(256))
    assert left == []
    told = fitted.told()
    assert told["loss"]["rank_agreement"] > 0.95
    assert abs(told["noise"]["rank_agreement"]) < 0.3
    found = fitted.propose({"loss": 1.0})
    assert np.abs(np.array([found.shares[n] for n in ("web", "code", "law")]) - BEST).sum() < 0.25
    assert found.predicted < found.natural
    turned = Fit(fitted.ratios, Table(fitted.metrics.runs, ("score", "noise"), -fitted.metrics.values))
    assert turned.propose({"score": 1}, highest=True).shares == pytest.approx(found.shares, abs=0.1)


def test_a_law_is_fitted_where_it_is_asked_for(tmp_path: Path) -> None:
    ratios, metrics = runs(24)
    losses = 1.5 + np.exp(0.5 - ratios.values @ np.array([2.0, 1.0, -0.5]))
    metrics = Table(metrics.runs, ("loss",), losses[:, None])
    law, trees = (fit(ratios, metrics, kind)[0] for kind in ("exponential", "trees"))
    assert law.told()["loss"]["mean_error"] < 0.01 < trees.told()["loss"]["mean_error"]
    law.save(tmp_path)
    again = Fit.load(tmp_path)
    assert again.kind == "exponential"
    fresh = Table(("x",), ratios.columns, np.array([[0.9, 0.05, 0.05]]))
    assert float(again.predict(fresh).values[0, 0]) == pytest.approx(1.5 + np.exp(0.5 - 1.825), abs=0.01)
    assert again.propose({"loss": 1.0}).shares["web"] > 0.9
    with pytest.raises(UsageError, match="one of auto, ridge"):
        fit(ratios, metrics, "cubic")


def test_proposals_keep_to_limits() -> None:
    fitted, _ = fit(*runs(64))
    found = fitted.propose({"loss": 1}, Limits(floor={"law": 0.6}))
    assert found.shares["law"] >= 0.6 - 1e-9
    there = {"web": 10.0, "code": 40.0, "law": 50.0}
    found = fitted.propose({"loss": 1}, Limits(repeats=2), there, budget=100.0)
    assert found.shares["web"] <= 0.2 + 1e-9
    with pytest.raises(UsageError, match="needs the tokens"):
        fitted.propose({"loss": 1}, Limits(repeats=2))
    with pytest.raises(UsageError, match="no metric 'lost'"):
        fitted.propose({"lost": 1})
    with pytest.raises(UsageError, match="tokens there are of 'law'"):
        fitted.propose({"loss": 1}, natural={"web": 1.0, "code": 1.0})


def test_tables_are_joined_by_run_whatever_their_order(tmp_path: Path) -> None:
    ratios, metrics = runs(20)
    back = Table(metrics.runs[::-1], metrics.columns, metrics.values[::-1])
    extra = Table((*ratios.runs, "only"), ratios.columns, np.vstack([ratios.values, [1.0, 1.0, 2.0]]))
    fitted, left = fit(extra, back)
    assert left == ["only"]
    assert fitted.metrics.values.tolist() == metrics.values.tolist()
    fitted.save(tmp_path / "fit")
    again = Fit.load(tmp_path / "fit")
    swapped = Table(("a",), ("law", "web"), np.array([[3.0, 1.0]]))  # code is not there: nothing of it
    straight = Table(("a",), ("web", "code", "law"), np.array([[0.25, 0.0, 0.75]]))
    assert again.predict(swapped).values == pytest.approx(again.predict(straight).values)
    with pytest.raises(UsageError, match="no domain 'lore'"):
        again.predict(Table(("a",), ("lore",), np.ones((1, 1))))
    with pytest.raises(UsageError, match="3 runs are in both"):
        fit(Table(ratios.runs[:3], ratios.columns, ratios.values[:3]), metrics)
    (tmp_path / "fit" / "fit.json").unlink()
    with pytest.raises(BadInput, match="holds no fit"):
        Fit.load(tmp_path / "fit")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("run,a,b\nx,0.5,half\n", "line 2, column 'b': 'half' is not"),
        ("run,a,b\nx,0.5,nan\n", "line 2, column 'b'"),
        ("run,a,b\nx,0.5\n", "line 2: 2 cells under a header of 3"),
        ("run,a,b\nx,1,0\nx,0,1\n", "'x' occurs twice"),
        ("run,a,a\nx,1,0\n", "name of its own"),
        ("run,a,b\n", "no runs"),
    ],
)
def test_bad_tables_are_refused_with_the_place(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(BadInput, match=says):
        read_table(tmp_path / "t.csv")


def test_tables_of_other_tools_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("\ufeff,web,code\n7,0.5,0.5\n9,1,0\n")
    table = read_table(tmp_path / "t.csv")
    assert (table.runs, table.columns) == (("7", "9"), ("web", "code"))
    write_table(tmp_path / "u.csv", table)
    assert read_table(tmp_path / "u.csv").values.tolist() == table.values.tolist()
    (tmp_path / "t.csv").write_text("web,code\n0.5,0.5\n")
    assert read_table(tmp_path / "t.csv").runs == ("0",)
    with pytest.raises(BadInput, match="not a mixture"):
        fit(Table(tuple("abcdefgh"), ("x",), np.zeros((8, 1))), Table(tuple("abcdefgh"), ("y",), np.ones((8, 1))))


def test_forms_are_what_trainers_read() -> None:
    shares = {"web": 0.6, "none": 0.0, "code": 0.2}
    assert json.loads(render(shares, "json")) == {"web": 0.75, "code": 0.25}
    assert render(shares, "megatron", "data/") == "0.75 data/web 0.25 data/code\n"
    assert json.loads(render(shares, "open-instruct")) == {"dataset_mixer": {"web": 0.75, "code": 0.25}}
    assert yaml.safe_load(render(shares, "levanter")) == {"train_weights": {"web": 0.75, "code": 0.25}}
    with pytest.raises(BadInput, match="blanks"):
        render({"my web": 1.0}, "megatron")


def test_the_commands_go_from_tables_to_weights(tmp_path: Path) -> None:
    for name, table in zip(("ratios", "metrics"), runs(40), strict=True):
        write_table(tmp_path / f"{name}.csv", table)
    where = {name: str(tmp_path / name) for name in ("ratios.csv", "metrics.csv", "fit", "p.csv", "w.json", "t.json")}
    cli = CliRunner()

    def tilth(*words: str) -> str:
        done = cli.invoke(app, ["mixture", *words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    told = tilth("fit", "--ratios", where["ratios.csv"], "--metrics", where["metrics.csv"], "--out", where["fit"])
    assert "40 runs of 3 domains" in told
    assert "do not trust it" in next(line for line in told.splitlines() if line.startswith("noise"))
    tilth("predict", where["fit"], "--ratios", where["ratios.csv"], "--out", where["p.csv"])
    predicted = read_table(tmp_path / "p.csv")
    measured = runs(40)[1]
    assert np.corrcoef(predicted.values[:, 0], measured.values[:, 0])[0, 1] > 0.95
    Path(where["t.json"]).write_text('{"web": 10, "code": 40, "law": 50}')
    words = ["--goal", "loss", "--floor", "law=0.5", "--tokens", where["t.json"], "--kl", "0.4"]
    tilth("propose", where["fit"], *words, "--out", where["w.json"])
    assert json.loads(Path(where["w.json"]).read_text())["law"] >= 0.5
    for wrong, says in (
        (["--goal", "loss", "--floor", "law"], "NAME=NUMBER"),
        (["--goal", "loss", "--form", "x"], "json, megatron"),
    ):
        with pytest.raises(UsageError, match=says):
            tilth("propose", where["fit"], *wrong)
