"""teacher_student_gap: what is worth learning is told from what is wrong and from what is known, in all its uses."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import Budget, Goal, Pool, Run, TablePool
from tilth.core.errors import BadField, DataError, UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.models.linear import Rows, epochs
from tilth.probes.label_noise import LabelNoise
from tilth.signals.target.teacher_student_gap import TeacherStudentGap

Floats = npt.NDArray[np.float64]


def texts_of(classes: npt.NDArray[np.int64], clarity: float, rng: np.random.Generator) -> list[str]:
    """Twenty words, each of the text's class with this probability and of anybody else."""
    own = rng.random((classes.size, 20)) < clarity
    word = np.where(
        own, 1000 * (1 + classes[:, None]) + rng.integers(0, 40, own.shape), rng.integers(0, 800, own.shape)
    )
    return [" ".join(f"w{w}" for w in row) for row in word]


def labelled(texts: list[str], labels: list[str | None]) -> TablePool:
    ids = [f"r{i}" for i in range(len(texts))]
    return TablePool(pa.table({"id": ids, "text": texts, "label": pa.array(labels, pa.string())}), "labeled")


def goal(target: Pool) -> Goal:
    return Goal(target, target, Budget(1, "records"))


def column(pool: TablePool, name: str) -> Floats:
    return np.asarray(pool.column(f"teacher_student_gap.{name}").to_numpy(), float)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rare_classes_are_worth_learning_and_wrong_labels_are_not(seed: int) -> None:
    """Two classes fill the pool and a tenth of their labels is wrong; two are rare, right, and wanted by the target."""
    rng = np.random.default_rng(seed)
    truth = np.repeat([0, 1, 2, 3], [400, 400, 25, 25])
    given = truth.copy()
    wrong = rng.permutation(800)[:80]
    given[wrong] = 1 - given[wrong]
    pool = labelled(texts_of(truth, 0.3, rng), [f"c{v}" for v in given])
    wanted = np.repeat(np.arange(4), 40)
    target = labelled(texts_of(wanted, 0.3, rng), [f"c{v}" for v in wanted])
    excess = column(score_in_memory(TeacherStudentGap(), pool, goal(target)), "excess")
    rare = truth > 1
    assert roc_auc_score(rare, excess) > 0.95
    assert (
        roc_auc_score(rare[given != truth][:0].tolist() + [1] * 50 + [0] * 80, [*excess[rare], *excess[wrong]]) > 0.97
    )
    student = Learner(seeds=1, passes=2)
    naive = -np.log(student.record(pool, Run()).gold[0, -1])
    assert roc_auc_score([1] * 50 + [0] * 80, [*naive[rare], *naive[wrong]]) < 0.9, "the student's loss alone"


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_confident_teacher_and_uncertain_student_keep_fewer_mistakes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth, known = rng.integers(0, 4, 1500), np.arange(100) % 4
    pool = labelled(texts_of(truth, 0.2, rng), [None] * 1500)
    target = labelled(texts_of(known, 0.2, rng), [f"c{v}" for v in known])
    scored = score_in_memory(TeacherStudentGap(labels="teacher"), pool, goal(target))
    said = np.array([int(v[1:]) for v in scored.column("teacher_student_gap.label").to_pylist()])
    mistaken = said != truth

    assert 0.1 < mistaken.mean() < 0.5, "a teacher that makes mistakes"
    sure, open_ = column(scored, "teacher_confidence"), column(scored, "student_uncertainty")
    assert roc_auc_score(mistaken, -sure) > 0.65
    trusted = sure >= np.quantile(sure, 0.4)
    both = trusted & (open_ >= np.median(open_[trusted]))
    assert both.mean() < 0.4
    assert mistaken[both].mean() < 0.65 * mistaken.mean()
    alone = open_ >= np.quantile(open_, 1 - both.mean())
    assert mistaken[alone].mean() > mistaken[both].mean(), "the naive rival: what the student is unsure of"


def test_a_teacher_read_on_texts_finds_the_hard_and_leaves_out_noise() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    kind = np.arange(400) % 5  # 3: gibberish, 4: trivial repeats
    texts = []
    for k in kind:
        if k == 3:
            texts.append("".join(map(chr, rng.integers(33, 127, 120))))
        elif k == 4:
            texts.append("la la la la " * 12)
        else:
            at, words = int(rng.integers(60)), []
            for _ in range(30):
                words.append(f"w{at}")
                at = (at * 7 + int(rng.integers(3))) % 60
            texts.append(" ".join(words))
    pool = TablePool(pa.table({"id": [f"r{i}" for i in range(400)], "text": texts}))
    teacher = Learner(model="lm", seeds=1, passes=3, depth=1, vocab=300, tokens=40_000, batch=4)
    signal = TeacherStudentGap(teacher=teacher, student=teacher.model_copy(update={"passes": 1}), teach="pool")
    scored = score_in_memory(signal, pool, goal(pool))
    hardness = column(scored, "hardness")
    kept = np.argsort(-np.where(column(scored, "guessable") > 0.5, hardness, -np.inf))[:80]
    assert (kind[kept] == 3).mean() <= 0.02
    assert (kind[kept] == 4).mean() <= 0.05
    naive = np.argsort(column(scored, "teacher_confidence"))[:80]
    assert (kind[naive] == 3).mean() > 0.5, "the naive rival takes the noise"
    excess = column(scored, "excess")
    assert excess[kind < 3].mean() > excess[kind == 3].mean() + 0.05, "there is little to learn from noise"


def test_is_what_its_definition_says() -> None:
    world, clean = LabelNoise(flip=0.1).build(100, Run()), LabelNoise(flip=0.01).build(60, Run(seed=1)).pool
    table = world.pool.table(["id", "text", "label"])
    labels = [None if i % 9 == 0 else "new" if i % 10 == 1 else v for i, v in enumerate(table["label"].to_pylist())]
    pool = labelled(table["text"].to_pylist(), labels)
    signal = TeacherStudentGap(
        teacher=Learner(seeds=1, passes=3, buckets=1 << 12), student=Learner(seeds=1, passes=1, buckets=1 << 12)
    )
    scored = score_in_memory(signal, pool, goal(clean)).column("teacher_student_gap").to_pylist()
    names = sorted(set(clean.column("label").to_pylist()))
    theirs = np.array([names.index(v) for v in clean.column("label").to_pylist()])

    def run_of(learner: Learner, at: object) -> Run:
        return Run(place=("shared", learner._key(at, Run(place=("signal", "teacher_student_gap")), 0)))  # type: ignore[arg-type]

    *_, old = epochs(
        Rows.of(clean.column("text"), 1, 1 << 12), theirs, 4, 3, run_of(signal.teacher, clean).rng("order"),
        l2=1e-5, rate=0.3,
    )  # fmt: skip
    mine = [i for i, v in enumerate(labels) if v]
    own = sorted({v for v in labels if v})
    rows = Rows.of(pool.column("text"), 1, 1 << 12)
    *_, young = epochs(
        rows.take(mine), [own.index(labels[i] or "") for i in mine], 5, 1, run_of(signal.student, pool).rng("order"),
        l2=1e-5, rate=0.3,
    )  # fmt: skip
    p, q = old.probabilities(rows), young.probabilities(rows)
    for i, row in enumerate(scored):
        assert row["teacher_confidence"] == pytest.approx(p[i].max(), rel=1e-5)
        assert row["student_uncertainty"] == pytest.approx(1 - q[i].max(), rel=1e-4)
        assert row["label"] == names[p[i].argmax()]
        assert row["hardness"] is None
        label = labels[i]
        if label in names:
            assert row["excess"] == pytest.approx(
                np.log(p[i, names.index(label)]) - np.log(q[i, own.index(label)]), rel=1e-3, abs=1e-5
            )
        else:
            assert row["excess"] is None, "a label that one of the two does not know"


def test_what_it_cannot_judge_and_what_it_refuses() -> None:
    pool = labelled(["a b", "b c", "c d"], ["x", "y", None])
    bare = TablePool(pa.table({"text": ["a b"]}))
    assert score_in_memory(TeacherStudentGap(), pool, goal(bare)).column("teacher_student_gap.excess").null_count == 3
    with pytest.raises(DataError, match="two or more labels"):
        score_in_memory(TeacherStudentGap(), pool, goal(labelled(["a", "b"], ["x", "x"])))
    with pytest.raises(UsageError, match="state a goal"):
        TeacherStudentGap().fit(pool, None, Run())
    with pytest.raises(UsageError, match="both"):
        score_in_memory(TeacherStudentGap(teacher=Learner(model="lm")), pool, goal(pool))
    with pytest.raises(BadField):
        TeacherStudentGap(teach="holdout")
    assert "label" not in TeacherStudentGap(labels="teacher").needs


def golden() -> list[list[float | None]]:
    world, clean = LabelNoise(flip=0.2).build(8, Run()), LabelNoise(flip=0.01).build(40, Run(seed=1)).pool
    assert isinstance(world.pool, TablePool)
    found = score_in_memory(TeacherStudentGap(), world.pool, goal(clean)).column("teacher_student_gap").to_pylist()
    return [[round(r[k], 4) for k in ("excess", "teacher_confidence", "student_uncertainty")] for r in found]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "teacher_student_gap.json").read_text(encoding="utf-8"))
    assert golden() == pytest.approx(np.array(kept), abs=1e-3)
