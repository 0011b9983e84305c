from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Phases
from tilth.engine.evidence.tasks import TaskTable


def trial(tasks: str, marks: list[list[float]], phases: tuple[int, ...] = (0, 1), learned: tuple[int, ...] = (0, 1)):  # type: ignore[no-untyped-def]
    table = np.array(marks)
    measures = {"average": float(table[-1].mean())}
    return Phases(phases, tuple(tasks), learned, table, np.zeros(2), np.zeros((3, 4)), "accuracy", measures)


def test_seeds_are_averaged_task_by_task_and_phase_by_phase() -> None:
    one = trial("ab", [[0.9, 0.1], [0.5, 0.9]])
    other = trial("ba", [[0.3, 0.7], [0.7, 0.3]])  # this seed's piece of the plan has the tasks in the other order
    made = TaskTable.of([one, other])
    assert made.tasks == ("a", "b")
    assert made.marks == pytest.approx(np.array([[0.8, 0.2], [0.4, 0.8]]))
    mean, low, high = made.measures["average"]
    assert mean == pytest.approx(0.6)
    assert (high - low) / 2 == pytest.approx(12.706 * 0.1, rel=1e-3), "Student's t of one degree of freedom"
    assert str(made).startswith("accuracy, 2 tasks, 2 phases: average +0.600")
    assert made.as_dict()["measures"]["average"]["mean"] == pytest.approx(0.6)


def test_phases_that_a_seed_has_not_read_are_left_out_and_untaught_tasks_named() -> None:
    one = trial("ab", [[0.9, 0.1], [0.8, 0.2], [0.5, 0.3]], (0, 1, 2), (0, 3))
    made = TaskTable.of([one, trial("ab", [[0.7, 0.3], [0.7, 0.1]], (0, 2), (0, 2))])
    assert made.phases == (0, 2)
    assert made.marks == pytest.approx(np.array([[0.8, 0.2], [0.6, 0.2]]))
    assert made.never == ("b",)
    assert "no phase teaches b" in str(made)
