"""A recipe whose plan puts the source before records: built, streamed, and exported without mixing it into the text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import zstandard

import tilth
from tilth.build import Build
from tilth.core import Plan, Run
from tilth.core.errors import BadRecipe, UsageError
from tilth.engine.local import Workers
from tilth.models.hub import dataset
from tilth.recipe import parse
from tilth.stream import describe

DATA = Path(__file__).parents[1] / "examples" / "data"
RECIPE = f"""
sources:
  health: {{path: "{DATA}/health.jsonl.zst"}}
  law: {{path: "{DATA}/law.jsonl.zst"}}
goal: {{target: "{DATA}/target.jsonl.zst", holdout: "{DATA}/holdout.jsonl.zst", budget: 30k tokens}}
plan: [{{use: metadata_prefix, template: "from {{value}}: "}}]
export: [jsonl, parquet, hf]
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Build:
    folder = tmp_path_factory.mktemp("metadata")
    job = Build(parse(RECIPE), folder, folder / "out", Workers(1, Run().progress))
    job.all()
    return job


def test_the_budget_leaves_the_parts_as_they_are(built: Build) -> None:
    plan = Plan.load(built.out / "plan")
    assert plan.conditioning is not None
    read = plan.sizes * plan.repeats
    assert read.sum() == pytest.approx(30_000, rel=0.02)
    assert read[plan.conditioning.told].sum() / read.sum() == pytest.approx(0.9, abs=0.03)
    assert np.array_equal(plan.conditioning.told[plan.kept], plan.phase[plan.kept] == 0)


def test_exports_keep_the_prefix_out_of_the_text(built: Build) -> None:
    out = built.out / "export"
    with zstandard.open(next((out / "jsonl").glob("train-*")), "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    (path,) = (out / "parquet").glob("train-*.parquet")
    assert pq.read_table(path)["prefix"].to_pylist() == [row.get("prefix") for row in rows]
    texts = dict(zip(*(built.pool.column(name).to_pylist() for name in ("id", "text")), strict=True))
    assert {row["phase"] for row in rows} == {0, 1}
    for row in rows:
        assert row["text"] == texts[row["id"]]
        assert row.get("prefix") == (f"from {row['source']}: " if row["phase"] == 0 else None)
    for name in ("jsonl", "parquet", "hf"):
        manifest = json.loads((out / name / "manifest.json").read_text())
        assert manifest["plan"]["conditioning"] == {"by": "source", "template": "from {value}: "}
        assert "must be kept out of the loss" in (out / name / "datasheet.md").read_text().replace("\\", "")


@pytest.mark.parametrize("name", ["megatron", "npy"])
def test_token_files_are_refused(built: Build, name: str) -> None:
    job = Build(parse(RECIPE.replace("[jsonl, parquet, hf]", f"[{name}]")), built.base, built.out, built.workers)
    with pytest.raises(BadRecipe, match=f"a {name} file cannot say what is not learned"):
        job.exported  # noqa: B018
    with pytest.raises(UsageError, match="data set reads no prefixes"):
        dataset(built.plan, built.pool, Run())


def test_the_build_streams_and_says_what_stands_before(built: Build) -> None:
    stream = tilth.open_stream(built.out, batch=4, context=128)
    told, text = describe(stream, Plan.load(built.out / "plan"))
    assert told["tokens_before"] > 0
    assert "read but not learned" in text
    first, last = stream.at(0), stream.at(stream.steps - 1)
    assert stream.decode(first.input_ids[0][first.segment_ids[0] == 0]).startswith("from ")
    assert "from law: " not in stream.decode(last.input_ids.ravel())
