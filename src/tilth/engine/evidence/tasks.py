"""What becomes of each task: marks after every phase, averaged over seeds, and what they come to.

The measures (average, forgetting, backward and forward transfer) are those that a `PhaseProof` gives of each seed; a
measure's interval is Student's t over seeds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt
from scipy.stats import t

from tilth.core.proof import Phases

__all__ = ["TaskTable"]

Floats = npt.NDArray[np.float64]
SHOWN = 5  # names in a sentence


@dataclass(frozen=True)
class TaskTable:
    """Marks of one plan, averaged over seeds.

    Attributes:
        phases: those that every seed has read.
        tasks: in the order in which they are learned.
        never: the tasks that no phase teaches.
        score: what a mark is.
        before: (tasks,) marks of the untrained model.
        marks: (phases, tasks) marks after each phase.
        measures: name -> mean, and its 95 % interval.
    """

    phases: tuple[int, ...]
    tasks: tuple[str, ...]
    never: tuple[str, ...]
    score: str
    before: Floats
    marks: Floats
    measures: Mapping[str, tuple[float, float, float]]

    @classmethod
    def of(cls, trials: Sequence[Phases]) -> Self:
        """From the trials of one plan, a seed each, over one holdout."""
        first = trials[0]
        shared = [n for n in first.phases if all(n in trial.phases for trial in trials)]
        before, marks = [], []
        for trial in trials:
            columns = [trial.tasks.index(name) for name in first.tasks]
            before.append(trial.before[columns])
            marks.append(trial.marks[[trial.phases.index(n) for n in shared]][:, columns])
        never = tuple(n for n, at in zip(first.tasks, first.learned, strict=True) if at >= len(first.phases))
        measures = {name: _mean([trial.measures[name] for trial in trials]) for name in first.measures}
        return cls(
            tuple(shared), first.tasks, never, first.score, np.mean(before, 0), np.mean(marks, 0), measures
        )  # fmt: skip

    def __str__(self) -> str:
        told = [f"{name} {mean:+.3f} [{low:+.3f}, {high:+.3f}]" for name, (mean, low, high) in self.measures.items()]
        more = f" and {len(self.never) - SHOWN:,} more" * (len(self.never) > SHOWN)
        without = f"; no phase teaches {', '.join(self.never[:SHOWN])}{more}" if self.never else ""
        return f"{self.score}, {len(self.tasks)} tasks, {len(self.phases)} phases: {', '.join(told)}{without}"

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "tasks": [*self.tasks],
            "never": [*self.never],
            "phases": [*self.phases],
            "score": self.score,
            "before": self.before.tolist(),
            "marks": self.marks.tolist(),
            "measures": {
                name: dict(zip(("mean", "low", "high"), values, strict=True)) for name, values in self.measures.items()
            },
        }


def _mean(values: Sequence[float]) -> tuple[float, float, float]:
    """Mean over seeds and its 95 % interval; a proof has two seeds at least."""
    v = np.asarray(values, float)
    half = float(t.ppf(0.975, v.size - 1) * v.std(ddof=1) / np.sqrt(v.size))
    return float(v.mean()), float(v.mean()) - half, float(v.mean()) + half
