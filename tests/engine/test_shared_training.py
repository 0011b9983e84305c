"""Signals on a stored pool share one training; cut anywhere, they resume to the same columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tilth.core import Pool, Run, Signal
from tilth.engine.apply import apply
from tilth.engine.imports import Files, import_files
from tilth.engine.local import Workers
from tilth.engine.store import StoredPool
from tilth.io.detect import detect
from tilth.models.learner import Learner, Snapshot, Told
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.cartography import Cartography
from tilth.signals.difficulty.el2n import El2n
from tilth.signals.influence.influence_average import InfluenceAverage

LEARNER = Learner(seeds=3, passes=3)
SIGNALS: list[Signal[Any]] = [Cartography(learner=LEARNER), El2n(learner=LEARNER), InfluenceAverage(learner=LEARNER)]


def stored(folder: Path) -> StoredPool:
    pool = LabelNoise(flip=0.1).build(200, Run()).pool
    file = folder / "rows.jsonl"
    folder.mkdir(parents=True, exist_ok=True)
    rows = pool.table(["id", "text", "label"]).to_pylist()
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return import_files([Files("a", (file,), detect(rows), {})], "labeled", folder / "pool", Workers(1, Run().progress))


def columns(pool: StoredPool) -> list[object]:
    return [pool.column(f"{s.name()}.{c}").to_pylist() for s in SIGNALS for c in s.makes]


def scored(pool: StoredPool) -> StoredPool:
    for signal in SIGNALS:
        pool = apply(signal, pool)
    return pool


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A number for every look of every training: one before it and one after each pass."""
    passes: list[int] = []
    real = Learner.passes_of

    def counted(self: Learner, pool: Pool, run: Run) -> Iterator[tuple[Snapshot, Told]]:
        for number, found in enumerate(real(self, pool, run)):
            passes.append(number)
            yield found

    monkeypatch.setattr(Learner, "passes_of", counted)
    return passes


def test_three_signals_train_once_and_a_second_call_trains_nothing(tmp_path: Path, trained: list[int]) -> None:
    pool = scored(stored(tmp_path))
    assert len(trained) == 3 * 4
    again = scored(pool)
    assert len(trained) == 3 * 4
    assert again.version == pool.version
    other = apply(El2n(learner=LEARNER, after=1), again, name="first_pass")
    assert len(trained) == 3 * 4
    assert other.column("first_pass.score").to_pylist() != pool.column("el2n.score").to_pylist()


@pytest.mark.parametrize("stop", [1, 4, 8])
def test_a_training_that_was_cut_goes_on_and_ends_alike(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = columns(scored(stored(tmp_path / "one")))
    pool = stored(tmp_path / "two")
    real, seen = Learner.passes_of, []

    def cut(self: Learner, pool: Pool, run: Run) -> Iterator[tuple[Snapshot, Told]]:
        for found in real(self, pool, run):
            seen.append(1)
            if len(seen) == stop + 1:
                raise KeyboardInterrupt
            yield found

    monkeypatch.setattr(Learner, "passes_of", cut)
    with pytest.raises(KeyboardInterrupt):
        scored(pool)
    before = len(seen)
    assert columns(scored(StoredPool(pool.folder))) == undisturbed
    assert len(seen) - before == 12 - 4 * (stop // 4)  # whole trainings that were finished are not repeated
