"""A learner that is watched: numbers as defined, one training for all who ask, the same whoever comes first."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Pool, Run, TablePool
from tilth.core.errors import DataError
from tilth.models import learner as module
from tilth.models.learner import Learner, Recording, State, Told
from tilth.models.linear import Linear, Rows, epochs
from tilth.probes.label_noise import LabelNoise

POOL = LabelNoise(flip=0.1).build(120, Run()).pool
SMALL = Learner(seeds=2, passes=3)


def same(a: Recording, b: Recording) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in ("gold", "right", "error", "size"))


def test_numbers_are_those_of_the_definition() -> None:
    seen = SMALL.record(POOL, Run())
    model = SMALL.model_after(1, POOL, Run())
    rows = Rows.of(POOL.column("text"), SMALL.ngrams, SMALL.buckets)
    assert isinstance(model, Linear)
    p = model.probabilities(rows)
    onehot = np.eye(len(seen.names))[seen.labels]
    assert seen.gold[0, 1] == pytest.approx((p * onehot).sum(1), rel=1e-5)
    assert seen.error[0, 1] == pytest.approx(np.linalg.norm(p - onehot, axis=1), rel=1e-4)
    assert np.array_equal(seen.right[0, 1], p.argmax(1) == seen.labels)
    assert seen.size == pytest.approx(np.full(seen.size.shape, np.sqrt(2)), rel=1e-6)


def test_records_without_a_label_are_left_out() -> None:
    table = POOL.table(["id", "text", "label", "source"])
    labels = [None if i % 5 == 0 else v for i, v in enumerate(table["label"].to_pylist())]
    pool = TablePool(table.set_column(2, "label", pa.array(labels, pa.string())), "labeled")
    seen = SMALL.record(pool, Run())
    assert seen.rows.tolist() == [i for i in range(120) if i % 5]
    assert [seen.names[i] for i in seen.labels] == [v for v in labels if v is not None]


def test_one_class_is_refused() -> None:
    table = POOL.table(["id", "text", "source"]).append_column("label", pa.array(["a"] * 120))
    with pytest.raises(DataError, match="two or more labels"):
        SMALL.record(TablePool(table, "labeled"), Run())


@pytest.mark.parametrize("model", ["linear", "encoder"])
def test_trained_once_for_all_who_ask(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if model == "encoder":
        pytest.importorskip("torch")
    fields: dict[str, Any] = {"model": model, "seeds": 2, "passes": 2, "depth": 1, "vocab": 300, "context": 16}
    trained: list[int] = []
    real = Learner.passes_of

    def counted(self: Learner, pool: Pool, run: Run) -> Iterator[tuple[State, Told]]:
        trained.append(1)
        return real(self, pool, run)

    monkeypatch.setattr(Learner, "passes_of", counted)
    run = Run(shared=tmp_path)
    first = Learner(**fields).record(POOL, run.at("signal", "one"))
    again = Learner(**fields).record(POOL, run.at("signal", "other"))
    models = [Learner(**fields).model_after(i, POOL, run) for i in (0, 1)]
    assert len(trained) == 2
    assert same(first, again)
    alone = Learner(**fields).record(POOL, Run())
    assert len(trained) == 4
    assert same(first, alone)
    assert len(models) == 2
    Learner(**fields).record(POOL, Run(shared=tmp_path, seed=1))
    Learner(**{**fields, "passes": 3}).record(POOL, run)
    assert len(trained) == 8


def test_more_seeds_of_the_same_learner_are_added_to_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(shared=tmp_path)
    two = SMALL.record(POOL, run)
    trained: list[int] = []

    def counted(*args: Any, **more: Any) -> Iterator[Linear]:
        trained.append(1)
        return epochs(*args, **more)

    monkeypatch.setattr(module, "epochs", counted)
    three = Learner(seeds=3, passes=3).record(POOL, run)
    assert len(trained) == 1
    assert np.array_equal(two.gold, three.gold[:2])


def test_an_encoder_learns_and_its_last_layer_is_measured() -> None:
    pytest.importorskip("torch")
    pool = LabelNoise(flip=0.01, clarity=0.8, classes=2, words=12).build(400, Run()).pool
    shape = Learner(model="encoder", seeds=1, passes=8, depth=1, vocab=400, context=32, batch=8)
    seen = shape.record(pool, Run())
    assert seen.gold[0, -1].mean() > seen.gold[0, 0].mean() > 0.4
    assert seen.right[0, -1].mean() > 0.9
    assert (seen.size > 1).all()
    assert len(np.unique(seen.size[0, -1])) > 300
