"""TeacherStudentGap: what does a teacher know of this record that a student does not know yet?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Columns, Goal, Pool, Run, Signal, TablePool
from tilth.core.errors import UsageError
from tilth.models.learner import Learner, labelled
from tilth.models.linear import encode_labels
from tilth.signals._by_id import ById

__all__ = ["TeacherStudentGap"]

Floats = npt.NDArray[np.float64]
LEAST = 1e-30  # a probability that single precision has rounded to 0


class TeacherStudentGap(Signal[ById]):
    """A finished teacher and a young student judge every record: what is sure, what is open, what is worth learning.

    The teacher learns from the goal's target to the end, the student from the pool for a pass or two. ``excess`` is the
    student's loss less the teacher's, in nats of the record's label: high on what is learnable and not yet learnt,
    low on what the student knows already and on wrong labels, which cost both. ``teacher_confidence`` is the largest
    probability that the teacher gives a class, ``label`` that class, ``student_uncertainty`` one less the student's
    largest: keep what is high in both to train a student on a teacher's labels. With ``labels: teacher`` these stand
    in for the record's own labels throughout, so none are needed.

    With ``{model: lm}`` for both it reads text: confidence and uncertainty are means over a record's tokens, ``excess``
    is bits per byte, ``guessable`` the share of tokens that are among the teacher's `top` likeliest and ``hardness``
    the median cost of these, in nats. What is hard though guessable is worth reading; noise is hard and not guessable.
    (Both are null for classifiers, as ``label`` is for texts.)

    A record without a label that both know has no ``excess``; all is null where the target has fewer than two labels.
    Cost: two short trainings. Trap: a teacher trained on the pool (``teach: pool``) has seen the record, wrong label
    included; an uncertain student and an unsure teacher are where wrong labels gather, so never filter by the student
    alone; and uncertainty is about the student's own best class, never one less its probability of the teacher's, which
    would collect the teacher's mistakes. Weights of the goal are not used. Sources: reducible holdout loss (Mindermann
    et al. 2022, arXiv 2206.07137); LLKD, arXiv 2411.08028; SALT, arXiv 2410.18779.

    >>> from tilth.core import Budget
    >>> from tilth.engine.apply import score_in_memory
    >>> from tilth.probes.label_noise import LabelNoise
    >>> probe = LabelNoise(flip=0.1)
    >>> world, clean = probe.build(600, Run()), LabelNoise(flip=0.001).build(200, Run(seed=1)).pool
    >>> scored = score_in_memory(TeacherStudentGap(), world.pool, Goal(clean, clean, Budget(1, "records")))
    >>> probe.grade(world, -scored.column("teacher_student_gap.excess").to_numpy()) > 0.95  # wrong labels: not worth it
    True
    """

    paper: ClassVar[str] = "learning_with_less"
    goal_parts: ClassVar[tuple[Literal["target", "holdout"], ...]] = ("target",)

    teacher: Learner = Field(default_factory=lambda: Learner(seeds=1), description="how the teacher is trained")
    student: Learner = Field(
        default_factory=lambda: Learner(seeds=1, passes=2), description="how the student is trained, briefly"
    )
    teach: Literal["target", "pool"] = Field("target", description="what the teacher is trained on")
    labels: Literal["own", "teacher"] = Field("own", description="whose labels the student learns and is judged by")
    top: int = Field(10, ge=1, description="lm: tokens that count as guessable, of the teacher's likeliest")

    @property
    def needs(self) -> Sequence[str]:
        text_only = self.teacher.model == "lm" or (self.labels == "teacher" and self.teach == "target")
        return ("id", "text") if text_only else ("id", "text", "label")

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {
            "excess": pa.float32(),
            "teacher_confidence": pa.float32(),
            "student_uncertainty": pa.float32(),
            "label": pa.string(),
            "hardness": pa.float32(),
            "guessable": pa.float32(),
        }

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> ById:
        if goal is None:
            raise UsageError("teacher_student_gap trains its teacher on the goal's target; state a goal.")
        if (self.teacher.model == "lm") != (self.student.model == "lm"):
            raise UsageError(
                f"Teacher and student of teacher_student_gap must both be language models or both classifiers. Got "
                f"{self.teacher.model} and {self.student.model}."
            )
        taught = goal.target if self.teach == "target" else pool
        return (self._texts if self.teacher.model == "lm" else self._classes)(pool, taught, run)

    def score(self, batch: pa.RecordBatch, state: ById, run: Run) -> Columns:
        return state.columns(batch.column("id"))

    def _classes(self, pool: Pool, taught: Pool, run: Run) -> ById:
        texts = pc.fill_null(pool.column("text"), "")
        known = "label" in taught.column_names()
        names = labelled(taught)[2] if known else ()
        if len(names) < 2 or not len(texts):
            return _nobody(pool)
        sure = self.teacher.probabilities(self.teacher.passes - 1, taught, texts, run)
        said = np.array(names, object)[sure.argmax(1)]
        given = said.tolist() if self.labels == "teacher" else pool.column("label").to_pylist()
        columns = {"id": pool.column("id"), "text": texts, "label": pa.array(given, pa.string())}
        school = pool if self.labels == "own" else TablePool(pa.table(columns), "labeled")
        learnt = sorted(set(given) - {None})
        n = len(texts)
        excess, open_ = np.full(n, np.nan), np.full(n, np.nan)
        if len(learnt) > 1:
            young = self.student.probabilities(self.student.passes - 1, school, texts, run)
            excess = _cost(young, encode_labels(given, learnt)[0]) - _cost(sure, encode_labels(given, names)[0])
            open_ = 1 - young.max(1)
        return ById.of(pool, np.arange(n), _outputs(excess, sure.max(1), open_, said))

    def _texts(self, pool: Pool, taught: Pool, run: Run) -> ById:
        rows, *_, texts = self.teacher.subjects(pool)
        if not rows.size or not self.teacher.subjects(taught)[0].size:
            return _nobody(pool)
        old = self.teacher.reading(self.teacher.passes - 1, taught, texts, self.top, run)
        young = self.student.reading(self.student.passes - 1, pool, texts, self.top, run)
        size = np.maximum(pc.binary_length(texts).to_numpy(), 1)
        excess = (young.nats - old.nats) / np.log(2) / size
        unnamed = np.full(rows.size, None, object)
        return ById.of(pool, rows, _outputs(excess, old.sure, 1 - young.sure, unnamed, old.hard, old.guessable))


def _cost(probabilities: Floats, labels: npt.NDArray[np.int64]) -> Floats:
    """Nats of each record's label; NaN where it is not one of the model's."""
    gold = probabilities[np.arange(labels.size), np.maximum(labels, 0)]
    return np.where(labels >= 0, -np.log(np.maximum(gold, LEAST)), np.nan)


def _nobody(pool: Pool) -> ById:
    none = np.zeros(0)
    return ById.of(pool, np.zeros(0, np.int64), _outputs(none, none, none, np.zeros(0, object)))


def _outputs(
    excess: Floats,
    sure: Floats,
    open_: Floats,
    label: npt.NDArray[np.object_],
    hard: Floats | None = None,
    guessable: Floats | None = None,
) -> dict[str, npt.NDArray[np.generic]]:
    unknown = np.full(excess.size, np.nan)
    return {
        "excess": excess,
        "teacher_confidence": sure,
        "student_uncertainty": open_,
        "label": label,
        "hardness": unknown if hard is None else hard,
        "guessable": unknown if guessable is None else guessable,
    }
