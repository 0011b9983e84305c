"""A recipe that names a policy alone: the signals that it needs are found, made and read without being asked for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.build import Build
from tilth.core import Run
from tilth.core.errors import DataError, TilthError
from tilth.engine.local import Workers
from tilth.probes.label_noise import LabelNoise
from tilth.recipe import parse

FILES = """
sources: {{rows: {{path: rows.jsonl}}}}
goal: {{target: target.jsonl, holdout: holdout.jsonl, budget: {budget} records}}
"""


def build(folder: Path, lines: str, budget: int, rows: Sequence[dict[str, Any]] = (), texts: bool = False) -> Build:
    """A build over records with labels, a tenth of them wrong; or over the same as texts."""
    known = ["id", "text"] if texts else ["id", "text", "label"]
    for name, size, flip, seed in (("rows", 400, 0.1, 0), ("target", 120, 0.001, 1), ("holdout", 30, 0.001, 2)):
        made = LabelNoise(flip=flip).build(size, Run(seed=seed)).pool.table(known).to_pylist()
        made = [{**row, "id": f"{name}{i}"} for i, row in enumerate(made)] + (list(rows) if name == "rows" else [])
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in made))
    recipe = parse(FILES.format(budget=budget) + lines, [])
    return Build(recipe, folder, folder / "out", Workers(1, Run().progress))


def wrong(job: Build) -> np.ndarray:
    """Which of the pool's records were given a wrong label, in its order."""
    world = LabelNoise(flip=0.1).build(400, Run()).pool.table(["text", "truth"]).to_pylist()
    flipped = {row["text"]: row["truth"]["flipped"] for row in world}
    assert len(flipped) == 400
    return np.array([flipped[text] for text in job.pool.column("text").to_pylist()])


def test_llkd_finds_what_its_signal_makes(tmp_path: Path) -> None:
    job = build(tmp_path, "plan: [llkd]", 100)
    assert set(job.signals) == {"teacher_student_gap", "contamination"}
    assert 0 < job.plan.kept.sum() <= 100
    sure, open_ = (
        job.pool.column(f"teacher_student_gap.{name}").to_numpy()
        for name in ("teacher_confidence", "student_uncertainty")
    )
    kept = job.plan.kept
    assert sure[kept].mean() > sure.mean()
    assert open_[kept].mean() > open_.mean()


def test_data_diet_finds_what_its_signal_makes(tmp_path: Path) -> None:
    job = build(tmp_path, "plan: [{use: data_diet, offset: 0.15}]", 150)
    assert set(job.signals) == {"el2n", "contamination"}
    assert job.plan.kept.sum() == 150
    score, kept, bad = job.pool.column("el2n.score").to_numpy(), job.plan.kept, wrong(job)
    assert score[kept & ~bad].mean() > score[~kept & ~bad].mean(), "the hard ones"
    assert bad[kept].mean() < bad.mean(), "but not the hardest"


def test_adversarial_rounds_find_their_verifier(tmp_path: Path) -> None:
    job = build(tmp_path, "plan: [adversarial_rounds]", 150)
    assert set(job.signals) == {"label_issues", "contamination"}
    assert job.plan.kept.sum() == 150
    bad = wrong(job)
    assert bad[job.plan.kept].mean() < bad.mean()


def test_small_to_large_finds_what_its_signal_makes(tmp_path: Path) -> None:
    job = build(tmp_path, "plan: [{use: small_to_large, clusters: 4}]", 150)
    assert set(job.signals) == {"learning_percentage", "contamination"}
    assert job.plan.kept.sum() == 150
    score = job.pool.column("learning_percentage.score").to_numpy(zero_copy_only=False).astype(float)
    assert np.isfinite(score).mean() > 0.9
    assert np.nanmean(score[job.plan.kept]) < np.nanmean(score[~job.plan.kept])


def test_salt_reads_texts_by_language_models_that_its_signal_is_told_to_train(tmp_path: Path) -> None:
    learner = "{model: lm, depth: 1, seeds: 1, passes: 2, vocab: 300, tokens: 20000}"
    signal = f"signals: [{{use: teacher_student_gap, teacher: {learner}, student: {learner}}}]\n"
    rng = np.random.default_rng(0)
    letters = [*"abcdefghijklmnopqrstuvwxyz0123456789#$%&"]
    noise = [{"id": f"noise{i}", "text": "".join(rng.choice(letters, 120))} for i in range(40)]
    job = build(tmp_path, signal + "plan: [salt]", 100, noise, texts=True)
    assert set(job.signals) == {"teacher_student_gap", "contamination"}
    first = job.plan.kept & (job.plan.phase == 0)
    of_noise = np.array([name.startswith("noise") for name in job.plan.ids.to_pylist()])
    assert 0 < first.sum() < job.plan.kept.sum() == 100
    assert not (first & of_noise).any()


@pytest.mark.parametrize("texts", [True, False])
def test_salt_says_what_is_missing_without_them(texts: bool, tmp_path: Path) -> None:
    with pytest.raises(TilthError, match="language models" if not texts else "label") as error:
        _ = build(tmp_path, "plan: [salt]", 100, texts=texts).plan
    assert texts or isinstance(error.value, DataError)
