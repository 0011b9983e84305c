"""influence_average: the mean over all pairs without the pairs, and noise has the least."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.worlds import table_of

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.probes.label_noise import LabelNoise
from tilth.signals.influence.influence_average import InfluenceAverage


def test_equals_the_mean_over_all_pairs() -> None:
    world = LabelNoise(flip=0.1).build(120, Run())
    learner = Learner(seeds=1, passes=2, buckets=1 << 10)
    scored = score_in_memory(InfluenceAverage(learner=learner), table_of(world))
    by_pass = np.array(scored.column("influence_average.by_pass").to_pylist())
    for number in range(2):
        gradients = learner.gradients(number, world.pool, Run())
        pairs = np.stack([gradients.along(gradients.mean(row)) for row in np.eye(120)])
        exact = (pairs / np.outer(gradients.lengths, gradients.lengths)).mean(0)
        assert by_pass[:, number] == pytest.approx(exact, abs=1e-5)
    assert scored.column("influence_average.mean").to_numpy() == pytest.approx(by_pass.mean(1), abs=1e-6)


def test_planted_noise_has_the_least_and_length_does_not_decide() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    words = [f"w{i}" for i in range(60)]
    texts = []
    for i in range(300):
        n, first = int(rng.integers(10, 40)), int(rng.integers(60))
        if i % 6 == 0:
            texts.append("".join(rng.choice([*"qxzjk "], 4 * n)))
        else:
            texts.append(" ".join(words[(first + j) % 60] for j in range(n)))
    noise = np.arange(300) % 6 == 0
    pool = TablePool(pa.table({"id": [str(i) for i in range(300)], "text": texts, "source": ["a"] * 300}))
    learner = Learner(model="lm", seeds=1, passes=4, depth=1, vocab=300, tokens=20_000, batch=4)
    scored = score_in_memory(InfluenceAverage(learner=learner), pool)
    mean = scored.column("influence_average.mean").to_numpy()
    from sklearn.metrics import roc_auc_score

    assert roc_auc_score(noise, -mean) > 0.9
    lengths = np.array([len(t) for t in texts])
    assert abs(np.corrcoef(mean[~noise], lengths[~noise])[0, 1]) < 0.8
