"""Are the losses of every reading where they belong?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tilth.core import Run
from tilth.models.batches import reading_order, windows
from tilth.models.checkpoint import Checkpoint
from tilth.models.dynamics import Dynamics
from tilth.models.feeds import Fixed, Seen
from tilth.models.optim import Options
from tilth.models.train import Examples, generator, train_lm
from tilth.models.transformer import Config, build

CONFIG = Config(vocab=40, context=16, layers=1, width=32, heads=1, hidden=64)


def test_a_classifiers_readings() -> None:
    kept = Dynamics(labels=np.array([0, 1, 1]))
    scores = torch.tensor([[2.0, 0.0], [0.0, 1.0]])
    kept(Examples(0, np.array([0, 2]), torch.tensor([0.1, 0.2]), scores))
    kept(Examples(1, np.array([1, 0]), torch.tensor([0.3, 0.4]), scores))
    assert kept.table(4) == pytest.approx(
        np.array([[0.1, 0.4], [0.3, np.nan], [0.2, np.nan], [np.nan, np.nan]]), nan_ok=True
    )
    assert kept.right(3) == pytest.approx(np.array([[1, 0], [0, np.nan], [1, np.nan]]), nan_ok=True)
    assert Dynamics().table(2).shape == (2, 0)


def test_a_language_models_readings_are_learned_records_and_noise(tmp_path: Path) -> None:
    """Half of the records count up, half are noise; both are read four times, cut by windows or not."""
    rng = np.random.default_rng(0)
    rows = [(int(rng.integers(39)) + np.arange(9)) % 39 + 1 if i % 2 else rng.integers(1, 40, 9) for i in range(200)]
    offsets, ids = np.arange(201) * 9, np.concatenate(rows).astype(np.uint32)
    order = reading_order(np.full(200, 4), Run().rng("order"))
    data = windows(offsets, ids, order, 16, 0)

    class Cut(BaseException):
        pass

    class Cutting(Dynamics):
        def __call__(self, seen: Seen | Examples) -> None:
            if seen.step == 40:
                raise Cut
            super().__call__(seen)

    def run(kept: Dynamics, save: Checkpoint | None = None) -> np.ndarray:
        model = build(CONFIG, generator(Run().rng("init")))
        train_lm(model, Fixed(data, 8), Options(rate=0.01), watch=kept, save=save)
        return kept.table(200)

    whole = run(Dynamics())
    assert whole.shape == (200, 4)
    assert not np.isnan(whole).any()
    assert whole[:, 0].mean() > whole[:, 3].mean()
    assert whole[1::2, 3].mean() < whole[0::2, 3].mean() - 1
    with pytest.raises(Cut):
        run(Cutting(), Checkpoint(tmp_path, every=16))
    assert np.array_equal(run(Dynamics(), Checkpoint(tmp_path, every=16)), whole)
