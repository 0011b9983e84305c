"""trak: it is Newton's step that its definition says, foresees training on random halves, and finds what harms."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr
from tests.worlds import table_of

from tilth.core import Budget, Goal, Pool, Run, TablePool
from tilth.core.errors import BadField, UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.models.linear import Rows, encode_labels, epochs
from tilth.models.trak import attribute, log_odds
from tilth.probes.label_noise import LabelNoise
from tilth.signals.influence.tracin import Tracin
from tilth.signals.influence.trak import Trak

PROBE = LabelNoise(flip=0.1)
WORLD = PROBE.build(400, Run())
CLEAN = LabelNoise(flip=0.001).build(50, Run(seed=1)).pool
GOAL = Goal(CLEAN, CLEAN, Budget(1, "records"))
GOLDEN = Path(__file__).parents[1] / "golden" / "trak.json"


def scores(signal: Trak | Tracin, goal: Goal = GOAL, column: str = "score") -> np.ndarray:
    return np.asarray(score_in_memory(signal, table_of(WORLD), goal).column(f"{signal.name()}.{column}").to_numpy())


def test_wrong_labels_harm_the_target() -> None:
    assert PROBE.grade(WORLD, -scores(Trak())) > 0.95


def test_is_newtons_step_averaged_over_seeds() -> None:
    learner = Learner(seeds=2, passes=3, buckets=64)
    signal = Trak(learner=learner, width=512, ridge=2.0)
    labels, names = encode_labels(WORLD.pool.column("label").to_pylist())
    wanted, _ = encode_labels(CLEAN.column("label").to_pylist(), names)
    moved, doubts = [], []
    for seed in range(2):
        model = learner.snapshot(2, WORLD.pool, Run(), seed).model  # type: ignore[attr-defined]

        def phi(pool: Pool, y: np.ndarray, model: object = model) -> np.ndarray:
            rows = Rows.of(pool.column("text"), 1, 64)
            p = model.probabilities(rows)  # type: ignore[attr-defined]
            g = -(p - np.eye(len(names))[y]) / (1 - p[np.arange(y.size), y])[:, None]
            x = model.inputs(rows).toarray()  # type: ignore[attr-defined]
            doubts.append(1 - p[np.arange(y.size), y])
            return np.asarray((x[:, :, None] * g[:, None]).reshape(y.size, -1))

        ours, theirs = phi(WORLD.pool, labels), phi(CLEAN, wanted)
        assert ours.shape[1] <= signal.width  # so that nothing is shortened
        products = ours.T @ ours + 2.0 * (ours**2).sum(1).mean() * np.eye(ours.shape[1])
        moved.append(ours @ np.linalg.solve(products, theirs.mean(0)))
    exact = np.mean(moved, 0) * (doubts[0] + doubts[2]) / 2
    assert scores(signal) == pytest.approx(exact, rel=2e-2, abs=2e-4 * np.abs(exact).max() + 1e-6)
    assert np.corrcoef(scores(signal), exact)[0, 1] > 0.9999


def test_foresees_what_training_on_random_halves_does() -> None:
    """The linear datamodelling score, item by item; a single training's gradients alone are worse."""
    n, learner = 400, Learner(seeds=3)
    rows, held = (Rows.of(p.column("text"), 1, learner.buckets) for p in (WORLD.pool, CLEAN))
    labels, names = encode_labels(WORLD.pool.column("label").to_pylist())
    wanted, _ = encode_labels(CLEAN.column("label").to_pylist(), names)
    has, found = np.zeros((60, n)), []
    for half in range(60):
        has[half, Run().rng("half", half).permutation(n)[: n // 2]] = 1
        *_, model = epochs(rows, labels, len(names), 6, Run().rng("order", half), weights=has[half], rate=learner.rate)
        found.append(log_odds(model.logits(held), wanted))
    truth = np.array(found)

    def mark(values: np.ndarray) -> float:
        said = has @ values
        return float(np.mean([spearmanr(said[:, i], truth[:, i]).statistic for i in range(wanted.size)]))

    seen, models = learner.record(WORLD.pool, Run()), []
    tracin = np.zeros((n, wanted.size))
    for seed in range(3):
        last = learner.snapshot(5, WORLD.pool, Run(), seed)
        mine = last.features(WORLD.pool.column("text"), labels, 2048, Run())
        theirs = last.features(CLEAN.column("text"), wanted, 2048, Run())
        models.append((mine, 1.0 - seen.gold[seed, -1].astype(float), theirs))
    for number in range(6):
        then = learner.snapshot(number, WORLD.pool, Run())
        a, b = (then.gradients(p.column("text"), y, Run()) for p, y in ((WORLD.pool, labels), (CLEAN, wanted)))
        tracin += np.stack([a.along(b.mean(one)) for one in np.eye(wanted.size)], 1)
    ours = attribute(models, Trak().ridge)
    assert mark(ours) > mark(tracin) + 0.02
    assert mark(ours) > 0.6
    assert abs(mark(Run().rng("shuffled").permutation(ours))) < 0.1
    assert scores(Trak(learner=learner)) == pytest.approx(ours.mean(1), rel=1e-3, abs=1e-5)


def test_an_encoders_wrong_labels_harm_and_its_gradients_are_of_all_layers() -> None:
    pytest.importorskip("torch")
    learner = Learner(model="encoder", seeds=3, passes=4, depth=1, vocab=300, context=32, batch=8)
    assert PROBE.grade(WORLD, -scores(Trak(learner=learner))) > 0.75
    labels = learner.subjects(WORLD.pool)[1]
    model = learner.snapshot(3, WORLD.pool, Run())
    whole = model.features(WORLD.pool.column("text"), labels, 4096, Run()).astype(float)
    doubt = 1 - learner.record(WORLD.pool, Run()).gold[0, -1]
    last = model.gradients(WORLD.pool.column("text"), labels, Run()).lengths / doubt
    assert (np.linalg.norm(whole, axis=1) > last).mean() > 0.99


def test_the_targets_weights_decide_nulls_and_errors() -> None:
    import pyarrow as pa

    table = CLEAN.table(["id", "text", "label", "source"])
    label = np.array(table["label"].to_pylist())

    def goal(weight: np.ndarray) -> Goal:
        held = TablePool(table.append_column("weight", pa.array(weight)), "labeled")
        return Goal(held, held, Budget(1, "records"))

    one, other = (scores(Trak(), goal((label == name).astype(float))) for name in ("class0", "class1"))
    mine = np.array(WORLD.pool.column("label").to_pylist()) == "class0"
    assert one[mine].mean() > other[mine].mean()
    none = score_in_memory(Trak(), table_of(WORLD), goal(np.zeros(label.size)))
    assert none.column("trak.score").null_count == WORLD.pool.count
    with pytest.raises(UsageError, match="goal"):
        score_in_memory(Trak(), table_of(WORLD))
    with pytest.raises(BadField, match="linear or encoder"):
        Trak(learner=Learner(model="lm"))


def test_gives_what_it_gave() -> None:
    assert scores(Trak())[:8] == pytest.approx(json.loads(GOLDEN.read_text())["score"], rel=1e-3, abs=1e-8)
