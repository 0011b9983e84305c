"""gptfluence: simulated influence finds wrong labels, and the curves it stands on are told better than by rivals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.worlds import table_of

from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.encoder import StaticEncoder
from tilth.models.gptfluence import Curves, fit
from tilth.models.linear import Rows, encode_labels
from tilth.probes.label_noise import LabelNoise
from tilth.signals.influence.gptfluence import Gptfluence, vectors
from tilth.signals.influence.influence_function import InfluenceFunction

PROBE = LabelNoise(flip=0.1)
WORLD = PROBE.build(400, Run())
CLEAN = LabelNoise(flip=0.001).build(100, Run(seed=1)).pool
GOAL = Goal(CLEAN, CLEAN, Budget(1, "records"))
GOLDEN = Path(__file__).parents[1] / "golden" / "gptfluence.json"


def scores(signal: Gptfluence, goal: Goal = GOAL) -> np.ndarray:
    return np.asarray(score_in_memory(signal, table_of(WORLD), goal).column("gptfluence.score").to_numpy())


def test_wrong_labels_raise_the_simulated_loss() -> None:
    found = scores(Gptfluence())
    assert PROBE.grade(WORLD, -found) > 0.88
    lengths = np.array([len(t) for t in WORLD.pool.column("text").to_pylist()])
    assert max(PROBE.grade(WORLD, lengths), PROBE.grade(WORLD, -lengths)) < 0.6
    exact = score_in_memory(InfluenceFunction(), table_of(WORLD), GOAL).column("influence_function.score").to_numpy()
    assert spearmanr(found, exact).statistic > 0.3


def test_curves_of_unseen_runs_are_told_better_than_by_no_change_by_the_mean_and_by_dealt_records() -> None:
    signal = Gptfluence(runs=28)
    labels, names = encode_labels(WORLD.pool.column("label").to_pylist())
    wanted, _ = encode_labels(CLEAN.column("label").to_pylist(), names)
    texts, held = WORLD.pool.column("text"), CLEAN.column("text")
    ours, theirs = (Rows.of(t, signal.ngrams, signal.buckets) for t in (texts, held))
    curves = signal.record(ours, labels, len(names), theirs, wanted, Run())
    assert curves.losses.shape == (28, signal.steps + 1, 100)
    assert curves.losses[:, 0] == pytest.approx(np.log(len(names)))
    encoder = StaticEncoder.train(texts, Run(), width=signal.width)
    a, b = (
        vectors(encoder.encode(t).astype(float), y, len(names), Run()) for t, y in ((texts, labels), (held, wanted))
    )
    simulator = fit(Curves(curves.batches[:24], curves.losses[:24]), a, b, Run().rng("fit"))
    truth = curves.losses[24:]

    def error(told: np.ndarray) -> float:
        return float(((told - truth) ** 2).mean())

    found = error(simulator.roll_out(curves.batches[24:], truth[:, :1], a, b))
    dealt = error(simulator.roll_out(curves.batches[24:], truth[:, :1], Run().rng("dealt").permutation(a), b))
    assert found < 0.6 * error(np.broadcast_to(truth[:, :1], truth.shape))
    assert found < error(curves.losses[:24].mean((0, 2))[:, None])  # one curve for all items
    assert found < dealt


def test_vectors_tell_labels_apart_long_or_short() -> None:
    rng = Run().rng("x")
    x, y = rng.normal(size=(40, 8)), rng.integers(0, 3, 40)
    for longest, off in ((512, 1e-9), (20, 3.0)):
        v = vectors(x, y, 3, Run(), longest)
        assert v.shape[1] <= max(27, longest)
        exact = (x @ x.T + 1) * (y[:, None] == y)
        assert np.abs(v @ v.T - exact).mean() <= off


def test_nulls_errors_and_the_targets_weights() -> None:
    import pyarrow as pa

    table = CLEAN.table(["id", "text", "label", "source"])
    label = np.array(table["label"].to_pylist())

    def goal(weight: np.ndarray) -> Goal:
        held = TablePool(table.append_column("weight", pa.array(weight)), "labeled")
        return Goal(held, held, Budget(1, "records"))

    one, other = (scores(Gptfluence(), goal((label == name).astype(float))) for name in ("class0", "class1"))
    mine = np.array(WORLD.pool.column("label").to_pylist()) == "class0"
    assert one[mine].mean() > other[mine].mean()
    none = score_in_memory(Gptfluence(), table_of(WORLD), goal(np.zeros(label.size)))
    assert none.column("gptfluence.score").null_count == WORLD.pool.count
    with pytest.raises(UsageError, match="goal"):
        score_in_memory(Gptfluence(), table_of(WORLD))


def test_gives_what_it_gave() -> None:
    assert scores(Gptfluence())[:8] == pytest.approx(
        json.loads(GOLDEN.read_text())["score"], rel=0.05, abs=3e-4
    )  # the fit rounds
