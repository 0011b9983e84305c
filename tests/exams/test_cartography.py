"""cartography: wrong labels are the least believed, and every column is what its definition says."""

from __future__ import annotations

import numpy as np
import pytest
from tests.worlds import table_of

from tilth.core import Run
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner, Recording
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.cartography import Cartography, dynamics, maps


def test_wrong_labels_have_low_confidence_and_the_naive_rival_fails() -> None:
    probe = LabelNoise(flip=0.1, clarity=0.15)
    world = probe.build(1000, Run())
    scored = score_in_memory(Cartography(), table_of(world))
    confidence = scored.column("cartography.confidence").to_numpy()
    assert probe.grade(world, -confidence) > 0.95
    assert probe.grade(world, -scored.column("cartography.correctness").to_numpy()) > 0.9
    lengths = np.array([len(t) for t in world.pool.column("text").to_pylist()])
    assert 0.4 < probe.grade(world, lengths) < 0.6
    regions = np.array(scored.column("cartography.region").to_pylist())
    flipped = np.array([t["flipped"] for t in world.pool.column("truth").to_pylist()])
    assert (regions[flipped] == "hard").mean() > 0.8
    assert (regions[flipped] == "easy").mean() < 0.02


def test_columns_by_hand() -> None:
    gold = np.array([[[0.9, 0.2, 0.1], [0.9, 0.8, 0.1], [0.9, 0.2, 0.3]]], np.float32)
    right = np.array([[[1, 0, 0], [1, 1, 0], [1, 0, 0]]], np.float32)
    seen = Recording(np.arange(3), np.zeros(3, np.int64), ("a", "b"), gold, right, gold, gold, gold)
    found = maps(seen)
    assert found["confidence"] == pytest.approx([0.9, 0.4, 1 / 6])
    assert found["variability"] == pytest.approx([0, np.sqrt(0.08), np.std([0.1, 0.1, 0.3])], abs=1e-7)
    assert found["correctness"] == pytest.approx([1, 1 / 3, 0])
    assert found["forgetting"][:2].tolist() == [0, 1]
    assert np.isnan(found["forgetting"][2])  # never learnt, so never forgotten
    assert found["threshold_closeness"] == pytest.approx([0.09, 0.24, 5 / 36], rel=1e-5)
    assert found["region"].tolist() == ["easy", "ambiguous", "hard"]
    late = maps(seen, skip=1)
    assert late["confidence"] == pytest.approx([0.9, 0.5, 0.2])


def test_curves_by_hand() -> None:
    right = np.array([[[1, 0, 0], [1, 1, 0], [1, 0, 0]], [[1, 1, 0], [0, 1, 0], [1, 1, 1]]], np.float32)
    gold = right * np.float32(0.5) + np.float32(0.25)
    seen = Recording(np.arange(3), np.zeros(3, np.int64), ("a", "b"), gold, right, gold, gold, -np.log(gold))
    found = dynamics(seen, np.array(["easy", "easy", "hard"]))
    assert {what: [*groups] for what, groups in found.items()} == {
        what: ["all", "easy", "hard"] for what in ("right", "gold", "forgotten")
    }
    assert found["right"]["all"] == pytest.approx(np.array([[1, 2, 1], [2, 1, 3]]) / 3)
    assert found["right"]["hard"].tolist() == [[0, 0, 0], [0, 0, 1]]
    assert found["gold"]["easy"] == pytest.approx(np.array([[0.5, 0.75, 0.5], [0.75, 0.5, 0.75]]))
    assert np.isnan(found["forgotten"]["all"][:, 0]).all()  # before the first pass there was nothing to forget
    assert found["forgotten"]["easy"][:, 1:].tolist() == [[0, 0.5], [0.5, 0]]
    assert found["forgotten"]["hard"][:, 1:].tolist() == [[0, 0], [0, 0]]


def test_curves_are_kept_and_agree_with_the_columns() -> None:
    world = LabelNoise(flip=0.1).build(300, Run())
    signal = Cartography(learner=Learner(seeds=2))
    state = signal.fit(world.pool, None, Run())
    assert state.curves["right"]["all"].shape == (2, 6)
    assert state.curves["right"]["all"].mean() == pytest.approx(state.values["correctness"].mean())
    assert state.curves["gold"]["hard"].mean() == pytest.approx(
        state.values["confidence"][state.values["region"] == "hard"].mean(), rel=1e-5
    )
    assert state.curves["gold"]["hard"].mean() < state.curves["gold"]["easy"].mean()


def test_variability_is_of_passes_not_of_seeds() -> None:
    gold = np.array([[[0.2], [0.2]], [[0.8], [0.8]]], np.float32)
    seen = Recording(np.arange(1), np.zeros(1, np.int64), ("a", "b"), gold, gold, gold, gold, gold)
    assert maps(seen)["variability"] == pytest.approx([0])
    assert maps(seen)["confidence"] == pytest.approx([0.5])


def test_a_rate_that_is_too_low_or_passes_that_are_too_many_move_the_map() -> None:
    world = LabelNoise(flip=0.1, words=12).build(400, Run())
    maps_of = [
        score_in_memory(Cartography(learner=learner), table_of(world)).column("cartography.confidence").to_numpy()
        for learner in (Learner(seeds=1, rate=0.01), Learner(seeds=1), Learner(seeds=1, passes=60))
    ]
    means = [confidence.mean() for confidence in maps_of]
    assert means[0] < 0.35 < means[1] < means[2]
