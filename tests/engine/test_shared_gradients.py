"""Signals that want gradients of one learner share its training, and who asks again shares the gradients, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.engine.test_shared_training import stored, trained

from tilth.core import Budget, Goal, Run
from tilth.engine.apply import apply
from tilth.engine.store import StoredPool
from tilth.models import learner as module
from tilth.models.learner import Learner
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.el2n import El2n
from tilth.signals.influence.less import Less
from tilth.signals.influence.tracin import Tracin
from tilth.signals.influence.trak import Trak

__all__ = ["trained"]

CLEAN = LabelNoise(flip=0.001).build(20, Run(seed=1)).pool
GOAL = Goal(CLEAN, CLEAN, Budget(1, "records"))


@pytest.mark.parametrize("model", ["linear", "encoder"])
def test_influence_trains_nothing_and_a_second_signal_takes_no_gradients(
    model: Any, tmp_path: Path, trained: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    if model == "encoder":
        pytest.importorskip("torch")
    taken: list[int] = []
    snapshot: Any = {"linear": module._LinearSnapshot, "encoder": module._EncoderSnapshot}[model]
    real = snapshot.features

    def counted(self: Any, texts: Any, labels: Any, width: int, run: Run) -> Any:
        taken.append(labels.size)
        return real(self, texts, labels, width, run)

    monkeypatch.setattr(snapshot, "features", counted)
    learner = Learner(model=model, seeds=2, passes=2, depth=1, vocab=300, context=16)
    pool: StoredPool = apply(El2n(learner=learner), stored(tmp_path))
    assert len(trained) == 2 * 3  # the untrained models are looked at, too
    for signal in (Tracin(learner=learner), Less(learner=learner), Trak(learner=learner, width=64)):
        pool = apply(signal, pool, GOAL)
    assert len(trained) == 2 * 3
    assert sorted(taken) == [20, 20, 200, 200]  # the target's and the pool's, under each seed's last model
    other = apply(Trak(learner=learner, width=64, ridge=50), pool, GOAL, name="stiff")
    assert len(trained) == 2 * 3
    assert sorted(taken) == [20, 20, 20, 20, 200, 200]  # only a target's are taken again
    assert other.column("stiff.score").to_pylist() != pool.column("trak.score").to_pylist()
    again = apply(Trak(learner=learner, width=128), other, GOAL, name="wide")
    assert len(trained) == 2 * 3  # other numbers, the same models
    assert again.column("wide.score").null_count == 0
