"""The claim's own machinery, on sentences made up: the real run needs data (`tilth claim`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import swayamdipta2020_data_maps as claim
from tilth.core import Run
from tilth.core.errors import UsageError
from tilth.proofs.classify import Classify

SMALL = claim.Scale(train=240, test=90)


def records(n: int = 400) -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    texts = [[("ab"[i % 2] if rng.random() < 0.4 else "") + f"w{rng.integers(30)}" for _ in range(9)] for i in range(n)]
    return [{"label": "ab"[i % 2], "text": " ".join(text)} for i, text in enumerate(texts)]


def test_measures_every_pick_on_every_test() -> None:
    found = claim.measured(records(), SMALL, Run())
    assert len(found) == 16
    assert found["all: in"] > 0.8
    assert found["all: out"] < found["all: no cue"], "the cue misleads"
    assert found["auroc"] > 0.8
    rows = claim.statements("S", [found] * 3)
    assert [row["holds"] for row in rows[:5]].count("-") == 0
    assert all(row["statement"].startswith("S, ") for row in rows)


def test_the_cue_agrees_as_often_as_it_should() -> None:
    labels = np.array(["x", "y"] * 500)
    pool = claim.cued(["t"] * 1000, labels, 0.9, Run().rng("cue"))
    cues = np.array([text[-1] for text in pool.column("text").to_pylist()])
    assert np.mean(cues == np.where(labels == "x", "0", "1")) == pytest.approx(0.9, abs=0.03)


def test_statements_can_fail() -> None:
    flat = {f"{pick}: {test}": 0.5 for pick in claim.PICKS for test in claim.TESTS} | {
        "auroc": 0.5,
        "ambiguous: in": 0.4,
    }
    assert [row["holds"] for row in claim.statements("S", [flat] * 3)[:5]] == ["no"] * 5
    good = flat | {"ambiguous: out": 0.8, "all: out": 0.7, "random: out": 0.6, "auroc": 0.95, "ambiguous: in": 0.5}
    assert [row["holds"] for row in claim.statements("S", [good] * 3)[:5]] == ["yes"] * 5


def test_accuracy_of_some_rows_only() -> None:
    texts = ["red rose", "blue sky"] * 20
    pool = lab.labelled(texts, ["r", "b"] * 20)
    mixed = lab.labelled(texts, ["r", "b"] * 10 + ["b", "r"] * 10)
    proof = Classify(passes=3)
    assert lab.accuracy(proof, mixed, pool, Run(), range(20)) == 1.0
    assert lab.accuracy(proof, mixed, pool, Run(), range(20, 40)) == 0.0


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="subjectivity"):
        claim.run(tmp_path)
