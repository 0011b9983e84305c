"""agreement_order: planted late learners come late, collections agree, and chance is told from agreement."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner, Recording
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.agreement_order import AgreementOrder

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "agreement_order.json").read_text(encoding="utf-8"))
SLOW = Learner(rate=0.01, passes=8)


def planted() -> tuple[TablePool, np.ndarray]:
    """Three classes; odd records have a word of their class that stands in five records, even ones a frequent one."""
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for i in range(600):
        group = i // 2 % 60
        kind = group % 3 if i % 2 else int(rng.integers(3))
        words = [f"w{int(60 ** rng.random())}" for _ in range(6)] + [f"r{group}" if i % 2 else f"c{kind}"]
        texts.append(" ".join(rng.permutation(words)))
        labels.append(f"k{kind}")
    return TablePool(pa.table({"text": texts, "label": labels}), "labeled"), np.arange(600) % 2


def column(pool: TablePool, name: str, learner: Learner = SLOW, seed: int = 0) -> np.ndarray:
    scored = score_in_memory(AgreementOrder(learner=learner), pool, run=Run(seed=seed))
    return np.asarray(scored.column(f"agreement_order.{name}").to_numpy())


def test_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    right = np.array(GOLDEN["right"], np.float32)
    rows = np.arange(right.shape[2])
    seen = Recording(rows, rows * 0, ("a", "b"), right, right, right, right, right)
    monkeypatch.setattr(Learner, "record", lambda *_: seen)
    pool = TablePool(pa.table({"text": ["x"] * len(rows), "label": ["a"] * len(rows)}), "labeled")
    made = score_in_memory(AgreementOrder(), pool)
    for name, want in GOLDEN["columns"].items():
        got = made.column(f"agreement_order.{name}").to_pylist()
        assert got == [pytest.approx(v, rel=1e-5) for v in want], name


def test_planted_late_learners_are_late_and_collections_agree() -> None:
    pool, late = planted()
    first, score = column(pool, "first"), column(pool, "score")
    assert roc_auc_score(late, first) > 0.95
    assert roc_auc_score(late, -score) > 0.95
    lengths = np.array([len(t) for t in pool.column("text").to_pylist()])
    assert roc_auc_score(late, lengths) < 0.7  # the naive rival
    single = Learner(rate=0.01, passes=8, seeds=1)
    fives = spearmanr(*(column(pool, "score", seed=s) for s in (1, 2))).statistic
    ones = spearmanr(*(column(pool, "score", single, s) for s in (1, 2))).statistic
    assert fives > 0.8
    assert fives > ones + 0.1


def test_wrong_labels_are_learnt_last() -> None:
    probe = LabelNoise(flip=0.1, words=12)
    world = probe.build(600, Run())
    assert isinstance(world.pool, TablePool)
    learner = Learner(rate=0.1)
    assert probe.grade(world, column(world.pool, "first", learner)) > 0.95
    assert probe.grade(world, column(world.pool, "agreement", learner)) < 0.9  # agreement is not difficulty


def test_agreement_tells_a_shared_order_from_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten models, six passes: half of the records are learnt in one order, of the others each model tosses coins."""
    rng = np.random.default_rng(0)
    shared = np.arange(6)[None, :, None] >= rng.integers(0, 6, 200)[None, None] + np.zeros((10, 1, 1), int)
    right = np.concatenate([shared, rng.random((10, 6, 200)) < 0.5], 2).astype(np.float32)
    seen = Recording(np.arange(400), np.zeros(400, np.int64), ("a", "b"), right, right, right, right, right)
    monkeypatch.setattr(Learner, "record", lambda *_: seen)
    pool = TablePool(pa.table({"text": ["x"] * 400, "label": ["a"] * 400}), "labeled")
    agreement, spread = column(pool, "agreement"), column(pool, "spread")
    assert (agreement[:200] == 1).all()
    assert (spread[:200] == 0).all()
    assert 0.5 < agreement[200:].mean() < 0.7
    assert spread[200:].mean() > 0.8
