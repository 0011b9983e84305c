"""A recipe whose plan weights losses: exported with its weights, refused by what cannot count by them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

import tilth
from tilth.build import Build
from tilth.core import Plan, Run, Weights
from tilth.core.errors import BadField, UsageError
from tilth.engine.local import Workers
from tilth.explain import describe_diff, describe_why, diff, why
from tilth.io.export_jsonl import write as write_jsonl
from tilth.proofs.merged import Merged
from tilth.proofs.ngram import Ngram
from tilth.recipe import parse

DATA = Path(__file__).parents[1] / "examples" / "data"
RECIPE = f"""
sources:
  health: {{path: "{DATA}/health.jsonl.zst"}}
  law: {{path: "{DATA}/law.jsonl.zst"}}
goal: {{target: "{DATA}/target.jsonl.zst", holdout: "{DATA}/holdout.jsonl.zst", budget: 30k tokens}}
signals: [quality]
plan: [{{use: natural}}, {{use: rank_curriculum, by: quality.rps_doc_frac_unique_words, end: 5}}]
export: [jsonl, parquet]
"""


def test_exports_have_the_weights_and_token_files_and_streams_refuse(tmp_path: Path) -> None:
    job = Build(parse(RECIPE), tmp_path, tmp_path / "out", Workers(1, Run().progress))
    job.all()
    plan = Plan.load(job.out / "plan")
    assert plan.weights is not None
    assert plan.weights.end == 5
    known = dict(
        zip(
            job.pool.column("id").to_pylist(),
            job.pool.column("quality.rps_doc_frac_unique_words").to_pylist(),
            strict=True,
        )
    )
    out = job.out / "export"
    with zstandard.open(next((out / "jsonl").glob("train-*")), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    assert len({row["weight"] for row in rows}) > 10
    assert [row["weight"] for row in rows] == pytest.approx([known[row["id"]] for row in rows])
    (path,) = (out / "parquet").glob("train-*.parquet")
    assert np.array_equal(pq.read_table(path)["weight"].to_numpy(), [row["weight"] for row in rows])
    for name in ("jsonl", "parquet"):
        assert json.loads((out / name / "manifest.json").read_text())["plan"]["weights"] == {"end": 5.0}
        assert "until epoch 5" in (out / name / "datasheet.md").read_text()
    with pytest.raises(BadField, match="no field for weight"):
        write_jsonl(job.records(), tmp_path / "bare", job.kind, bare=True)
    assert job.goal is not None
    for proof in (Ngram(), Merged()):
        with pytest.raises(UsageError, match="counts all records alike"):
            proof.mixtures(np.ones((1, 2)) / 2, plan.sources, plan, job.pool, job.goal, Run())
    plan.weighted(Weights(plan.weights.first, 6.0)).save(tmp_path / "later")
    told = diff(job.out, tmp_path / "later")
    lighter = int((plan.kept & (plan.weights.first < 1)).sum())
    assert (told["entered"]["records"], told["repeats_changed"], told["otherwise_changed"]) == (0, 0, lighter)
    assert f"weight changed: {lighter:,}; unchanged" in describe_diff(told)
    some = next(row["id"] for row in rows if row["weight"] < 0.9)
    assert "its loss counts 0." in describe_why(why(job.out, some))
    tokens = Build(parse(RECIPE.replace("[jsonl, parquet]", "[npy]")), job.base, job.out, job.workers)
    with pytest.raises(UsageError, match="What reads a npy file counts all records alike"):
        tokens.exported  # noqa: B018
    with pytest.raises(UsageError, match="A stream counts all records alike"):
        tilth.open_stream(job.out, batch=4, context=128)
