"""Three levels of generalisation: what is held out as a whole category, as a task, or as single instances.

After OPT-IML (Iyer et al. 2022, arXiv 2212.12017). Tasks made of one dataset stay on one side, or the score of a "new"
task is that of an old one under another name.

>>> from tilth.core import Run
>>> category = np.repeat(["qa", "nli", "sum", "qa"], 30)
>>> task = np.repeat(["squad", "rte", "xsum", "boolq"], 30)
>>> level = three_levels(category, task, Run(), categories=0.3, tasks=0.3, instances=0.1)
>>> sorted({(str(LEVELS[v]), str(c)) for v, c in zip(level, category) if LEVELS[v] == "held_out_category"})
[('held_out_category', 'nli')]
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadInput
from tilth.core.run import Run

__all__ = ["LEVELS", "three_levels"]

LEVELS = ("train", "held_out_category", "held_out_task", "held_out_instance", "left_out")
TRAIN, CATEGORY, TASK, INSTANCE, LEFT = range(5)

Ints = npt.NDArray[np.int64]


def three_levels(
    category: npt.ArrayLike,
    task: npt.ArrayLike,
    run: Run,
    *,
    categories: float = 0.2,
    tasks: float = 0.2,
    instances: float = 0.1,
    dataset: npt.ArrayLike | None = None,
    copies: npt.ArrayLike | None = None,
) -> npt.NDArray[np.int8]:
    """The level of each record, a place in `LEVELS`.

    Args:
        category, task: of each record; a task is of one category.
        categories: share of the categories held out whole, at least one; 0 holds none out.
        tasks: share of the tasks of the other categories.
        instances: share of the records of the other tasks.
        dataset: what each record's task was made from; tasks that share one are held out together, and one whose
            sibling went with a category is held out as a task.
        copies: a number or name that near copies share; a training record with a copy held out is left out.

    Raises:
        BadInput: when a task is in two categories.
    """
    kinds, kind = np.unique(np.asarray(category), return_inverse=True)
    names, name = np.unique(np.asarray(task), return_inverse=True)
    kind_of = np.full(names.size, -1)
    kind_of[name] = kind
    if (kind_of[name] != kind).any():
        wrong = names[name[np.argmax(kind_of[name] != kind)]]
        raise BadInput(f"A task is of one category; '{wrong}' is in several. Name its parts apart.")
    family = _families(name, names.size, dataset)
    level = np.zeros(names.size, np.int8)
    drawn = run.rng("categories").permutation(kinds.size)[: _number(categories, kinds.size)]
    level[np.isin(kind_of, drawn)] = CATEGORY
    level[(level == TRAIN) & np.isin(family, family[level == CATEGORY])] = TASK
    left = np.unique(family[level == TRAIN])
    some = run.rng("tasks").permutation(left)[: _number(tasks, left.size)]
    level[(level == TRAIN) & np.isin(family, some)] = TASK
    found = level[name]
    inside = np.flatnonzero(found == TRAIN)
    group = np.arange(found.size) if copies is None else np.unique(np.asarray(copies), return_inverse=True)[1]
    whole = np.unique(group[inside])
    held = run.rng("instances").permutation(whole)[: _number(instances, whole.size)]
    found[inside[np.isin(group[inside], held)]] = INSTANCE
    leaks = np.isin(group, group[found != TRAIN])
    found[(found == TRAIN) & leaks] = LEFT
    return np.asarray(found, np.int8)


def _number(share: float, of: int) -> int:
    """That share of a number, at least one and never all."""
    return 0 if share <= 0 or of < 2 else min(of - 1, max(1, round(share * of)))


def _families(name: Ints, tasks: int, dataset: npt.ArrayLike | None) -> Ints:
    """A number for each task; tasks that share a dataset, or are linked by others that do, share it."""
    family = np.arange(tasks)
    if dataset is None:
        return family
    source = np.unique(np.asarray(dataset), return_inverse=True)[1]
    pairs = np.unique(np.stack([source, name]), axis=1)
    while True:
        least = np.full(int(source.max()) + 1, tasks)
        np.minimum.at(least, pairs[0], family[pairs[1]])
        new = family.copy()
        np.minimum.at(new, pairs[1], least[pairs[0]])
        if (new == family).all():
            return family
        family = new
