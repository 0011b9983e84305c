"""The claim's measure on tables with a known law: high where the surface can know, none where losses are shuffled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tilth.claims.liu2024_regmix import FOLDER, run
from tilth.core.errors import UsageError
from tilth.io.mixtures import Table, write_table


def tables(folder: Path, shuffle: bool) -> Path:
    rng = np.random.default_rng(0)
    for part, count in (("train", 80), ("test", 60)):
        x = rng.dirichlet(np.ones(4), count)
        y = -np.log(x[:, :2] + 0.02) + x[:, 2:]
        if shuffle and part == "test":
            y = rng.permutation(y)
        runs = tuple(map(str, range(count)))
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        write_table(folder / FOLDER / f"{part}_mixture_1m.csv", Table(runs, tuple("abcd"), x))
        write_table(folder / FOLDER / f"{part}_pile_loss_1m.csv", Table(runs, ("one", "two"), y))
    return folder


def test_a_law_is_ranked_and_shuffled_losses_are_not(tmp_path: Path) -> None:
    right, wrong = (run(tables(tmp_path / str(s), s))[0] for s in (False, True))
    assert right["training runs"] == 64
    assert right["here"] > 0.9
    assert abs(wrong["here"]) < 0.4
    assert wrong["holds"] == "no"


def test_says_what_to_give() -> None:
    with pytest.raises(UsageError, match="--data FOLDER"):
        run(None)
