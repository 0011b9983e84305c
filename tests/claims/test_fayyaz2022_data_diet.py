"""The claim's own machinery, on sentences made up: the real run needs data (`tilth claim`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import fayyaz2022_data_diet as claim
from tilth.core import Run
from tilth.core.errors import UsageError

SMALL = claim.Scale(train=120, test=40, trainings=1, passes=2, vocab=300, context=16)


def records(n: int = 160) -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    texts = [[("ab"[i % 2] if rng.random() < 0.6 else "") + f"w{rng.integers(9)}" for _ in range(4)] for i in range(n)]
    return [{"label": "ab"[i % 2], "text": " ".join(text)} for i, text in enumerate(texts)]


def test_everything_is_measured() -> None:
    found = claim.measured(records(), SMALL, Run())
    assert all(0 <= value <= 1 for value in found.values())
    rows = claim.statements("S", [found] * 3)
    assert [row["holds"] for row in rows[:6]].count("-") == 0
    assert len(rows) == 6 + len(found) - 2  # two scores are judged and not shown again


def test_before_the_first_step_gradients_are_as_long_as_features() -> None:
    rows = records()
    pool = lab.labelled([r["text"] for r in rows], [r["label"] for r in rows])
    gradient = claim.untrained(pool, SMALL, Run())
    assert (gradient > np.sqrt(0.5)).all(), "the error of a guess, times an input of which the constant 1 is part"
    assert (gradient != claim.untrained(pool, SMALL, Run(seed=1))).any()


def test_statements_can_fail() -> None:
    names = ["GraNd before", "EL2N after a pass", "GraNd after a pass", "EL2N after all passes"]
    flat = dict.fromkeys([*names, "wrong among the top tenth", *claim.PICKS], 0.7)
    assert [row["holds"] for row in claim.statements("S", [flat] * 3)[:6]] == ["no"] * 6
    good = flat | {"EL2N after a pass": 0.95, "GraNd before": 0.5, "top tenth dropped": 0.8, "top half dropped": 0.6}
    assert [row["holds"] for row in claim.statements("S", [good] * 3)[:6]] == ["yes"] * 6


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="subjectivity"):
        claim.run(tmp_path)
