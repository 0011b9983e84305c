"""loss_by_size: scale helps with what can be learnt, and copies do not look learnt."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score

from tilth.core import TablePool
from tilth.engine.apply import score_in_memory

pytest.importorskip("torch")

from tilth.models.family import Family
from tilth.signals.difficulty.loss_by_size import LossBySize

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "loss_by_size.json").read_text(encoding="utf-8"))
FAMILY = Family(depths=(1, 2), tokens=(2000, 8000, 30_000), vocab=400, passes=10)


def planted() -> tuple[TablePool, np.ndarray]:
    """Texts that count words on from somewhere, and texts of the same words in no order."""
    rng = np.random.default_rng(0)
    texts = []
    for i in range(300):
        start = int(rng.integers(50))
        words = [(start + j) * 7 % 50 for j in range(20)] if i % 2 else rng.integers(50, size=20).tolist()
        texts.append(" ".join(f"word{w}" for w in words))
    return TablePool(pa.table({"text": texts})), np.arange(300) % 2


def test_scale_helps_where_there_is_order_and_a_weak_models_loss_does_not_tell() -> None:
    pool, ordered = planted()
    scored = score_in_memory(LossBySize(family=FAMILY), pool)
    bits = np.array(scored.column("loss_by_size.bits_per_byte").to_pylist())
    drop = scored.column("loss_by_size.drop").to_numpy()
    assert bits.shape == (300, 6)
    assert (np.diff(bits[ordered == 1].mean(0)[:3]) < 0).all()
    assert bits[ordered == 1, 4].mean() < bits[ordered == 1, 3].mean()
    assert drop == pytest.approx(1 - bits[:, -1] / bits[:, 0], abs=1e-5)
    assert roc_auc_score(ordered, drop) > 0.95
    assert roc_auc_score(ordered, -bits[:, 0]) < 0.8  # the rival: one small model's loss
    assert roc_auc_score(ordered, [len(t) for t in pool.column("text").to_pylist()]) < 0.7


def test_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    class Given:
        def bits(self, texts: pa.ChunkedArray) -> np.ndarray:
            return np.array(GOLDEN["bits"], float)

    monkeypatch.setattr(Family, "grow", lambda *_: Given())
    made = score_in_memory(LossBySize(), TablePool(pa.table({"text": GOLDEN["texts"]}))).column("loss_by_size")
    got = made.to_pylist()
    assert [row["bits_per_byte"] for row in got] == [
        row if row is None else pytest.approx(row, rel=1e-6) for row in GOLDEN["bits_per_byte"]
    ]
    assert [row["drop"] for row in got] == [v if v is None else pytest.approx(v, rel=1e-5) for v in GOLDEN["drop"]]
