"""The claim's own machinery, on sentences made up: the real run needs data (`tilth claim`)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from tilth.claims import paul2021_data_diet as claim
from tilth.core import Run
from tilth.core.errors import UsageError

SMALL = claim.Scale(train=300, test=90, trainings=2)


def records(n: int = 400) -> list[dict[str, str]]:
    rng = np.random.default_rng(0)
    texts = [[("ab"[i % 2] if rng.random() < 0.4 else "") + f"w{rng.integers(30)}" for _ in range(9)] for i in range(n)]
    return [{"label": "ab"[i % 2], "text": " ".join(text)} for i, text in enumerate(texts)]


def test_everything_is_measured_and_wrong_labels_are_found() -> None:
    found = claim.measured(records(), SMALL, Run())
    assert found["AUROC after 2"] > 0.9
    assert found["wrong labels in the top fifth"] > 0.8
    assert found["copies among the pruned"] > 0.3
    rows = claim.statements("S", [found] * 3)
    assert [row["holds"] for row in rows[:7]].count("-") == 0


def test_a_third_of_the_texts_stands_many_times_each_short_of_a_word() -> None:
    made = claim.redundant(["a b c", "d e", "f", "g h i"], 4, Run().rng("x"))
    assert [i for _, i in made] == [0, 0, 0, 0, 1, 2, 3, 3, 3, 3]
    assert made[0][0] == "a b c"
    assert all(len(text.split()) == 2 for text, i in made[1:4] + made[7:])


def test_statements_can_fail() -> None:
    kinds = [f"{k}: {w}" for k in ("as it is", "redundant") for w in ("all", "easiest pruned", "random pruned")]
    flat = {f"AUROC after {n}": 0.8 for n in claim.PASSES} | dict.fromkeys(kinds, 0.7)
    flat |= {"ranks": 0.5, "wrong labels in the top fifth": 0.5, "copies among the pruned": 0.5}
    poor = flat | {f"{k}: easiest pruned": 0.6 for k in ("as it is", "redundant")}
    assert [row["holds"] for row in claim.statements("S", [poor] * 3)[:7]] == ["no"] * 7
    good = (
        flat | {"AUROC after 2": 0.95, "ranks": 0.95} | {f"{k}: random pruned": 0.6 for k in ("as it is", "redundant")}
    )
    assert [row["holds"] for row in claim.statements("S", [good] * 3)[:7]] == ["yes"] * 7


def test_says_which_files_it_needs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clinc150"):
        claim.run(tmp_path)
