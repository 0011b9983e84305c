"""Nothing of a held-out category or task may be in training, under no name, and no copy of a held-out record."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tilth.core import Run
from tilth.core.errors import BadInput
from tilth.models.levels import LEVELS, three_levels


def pool(seed: int) -> tuple[npt.NDArray[np.str_], npt.NDArray[np.str_], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """8 categories of 5 tasks, of very unequal sizes; some datasets serve two tasks, every tenth record has a copy."""
    rng = np.random.default_rng(seed)
    sizes = np.geomspace(10, 2000, 40).astype(int)[rng.permutation(40)]
    task = np.repeat(np.arange(40), sizes)
    dataset = np.where(task % 6 == 0, (task + 7) % 40, task)  # shared with a task of another category
    copies = np.arange(task.size)
    twin = rng.random(task.size) < 0.1
    copies[twin] = rng.integers(task.size, size=int(twin.sum()))
    return np.char.add("c", (task // 5).astype(str)), np.char.add("t", task.astype(str)), dataset, copies


@pytest.mark.parametrize("seed", range(5))
def test_nothing_crosses(seed: int) -> None:
    category, task, dataset, copies = pool(seed)
    level = three_levels(category, task, Run(seed=seed), dataset=dataset, copies=copies)
    name = np.array(LEVELS)[level]
    train = name == "train"
    assert {*np.unique(name)} == {*LEVELS}
    for held in ("held_out_category", "held_out_task"):
        assert not {*task[train]} & {*task[name == held]}
        assert not {*dataset[train]} & {*dataset[name == held]}
    assert not {*category[train]} & {*category[name == "held_out_category"]}
    assert len({*category[name == "held_out_category"]}) == 2
    assert {*task[name == "held_out_instance"]} <= {*task[train]} | {*task[name == "left_out"]}
    assert not {*copies[train]} & {*copies[~train]}, "a copy of a held-out record is in training"
    assert train.mean() > 0.2


def test_shares_and_seeds() -> None:
    category, task, *_ = pool(0)
    level = three_levels(category, task, Run(), categories=0, tasks=0, instances=0.1)
    assert (level == LEVELS.index("held_out_instance")).mean() == pytest.approx(0.1, abs=0.001)
    assert (three_levels(category, task, Run()) == three_levels(category, task, Run())).all()
    assert (three_levels(category, task, Run()) != three_levels(category, task, Run(seed=1))).any()
    assert (three_levels(["a"] * 5, ["t"] * 5, Run(), instances=0) == 0).all()


def test_a_task_is_of_one_category() -> None:
    with pytest.raises(BadInput, match="'t' is in several"):
        three_levels(["a", "b"], ["t", "t"], Run())
