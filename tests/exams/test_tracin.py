"""tracin: it is the sum of inner products that its definition says, and finds what harms the target."""

from __future__ import annotations

import numpy as np
import pytest
from tests.worlds import table_of

from tilth.core import Budget, Goal, Plan, Run
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.models.linear import Rows, encode_labels
from tilth.probes.label_noise import LabelNoise
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.signals.influence.tracin import Tracin

PROBE = LabelNoise(flip=0.1)
WORLD = PROBE.build(400, Run())
CLEAN = LabelNoise(flip=0.001).build(50, Run(seed=1)).pool
GOAL = Goal(CLEAN, CLEAN, Budget(1, "records"))


def test_wrong_labels_harm_the_target() -> None:
    scored = score_in_memory(Tracin(), table_of(WORLD), GOAL)
    assert PROBE.grade(WORLD, -scored.column("tracin.cosine").to_numpy()) > 0.98
    assert PROBE.grade(WORLD, -scored.column("tracin.score").to_numpy()) > 0.75


def test_is_the_sum_over_checkpoints_of_all_pairs() -> None:
    learner = Learner(seeds=1, passes=3, buckets=1 << 10)
    scored = score_in_memory(Tracin(learner=learner), table_of(WORLD), GOAL)
    labels, names = encode_labels(WORLD.pool.column("label").to_pylist())
    wanted, _ = encode_labels(CLEAN.column("label").to_pylist(), names)

    def dense(pool: object) -> np.ndarray:
        rows = Rows.of(pool.column("text"), 1, 1 << 10)  # type: ignore[attr-defined]
        out = np.zeros((len(rows), 1 << 10))
        np.add.at(out, (np.repeat(np.arange(len(rows)), np.diff(rows.indptr)), rows.indices), rows.values)
        return out

    x, z = dense(WORLD.pool), dense(CLEAN)
    score, cosine = np.zeros(len(x)), np.zeros(len(x))
    for number in range(3):
        model = learner.snapshot(number, WORLD.pool, Run()).model  # type: ignore[attr-defined]
        e = model.errors(Rows.of(WORLD.pool.column("text"), 1, 1 << 10), labels)
        f = model.errors(Rows.of(CLEAN.column("text"), 1, 1 << 10), wanted)
        pairs = (e @ f.T) * (x @ z.T)
        score += pairs.mean(1)
        lengths = np.outer(*(np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1) for a, b in ((e, x), (f, z))))
        cosine += (pairs / lengths).mean(1) / 3
    assert scored.column("tracin.score").to_numpy() == pytest.approx(score, rel=1e-3, abs=1e-6)
    assert scored.column("tracin.cosine").to_numpy() == pytest.approx(cosine, rel=1e-3, abs=1e-5)


def test_on_text_it_prefers_the_sources_the_target_is_made_of() -> None:
    pytest.importorskip("torch")
    world = PlantedMixture(words=50).build(400, Run())
    assert world.goal is not None
    learner = Learner(model="lm", seeds=1, passes=2, depth=1, vocab=300, tokens=8000, batch=8)
    scored = score_in_memory(Tracin(learner=learner), table_of(world), world.goal)
    source = np.array(scored.column("source").to_pylist())
    means = {name: scored.column("tracin.cosine").to_numpy()[source == name].mean() for name in BEST}
    best, least = max(BEST, key=BEST.__getitem__), min(BEST, key=BEST.__getitem__)
    assert means[best] == max(means.values())
    assert means[best] > means[least] + 0.1
    start = Plan.everything(world.pool, world.goal.budget)
    assert start.mixture()[best] < 0.5  # natural shares would not have told


def test_the_targets_weights_decide_and_change_the_columns_key() -> None:
    import pyarrow as pa

    from tilth.core import TablePool

    table = CLEAN.table(["id", "text", "label", "source"])
    label = np.array(table["label"].to_pylist())

    def goal(weight: np.ndarray) -> Goal:
        held = TablePool(table.append_column("weight", pa.array(weight)), "labeled")
        return Goal(held, held, Budget(1, "records"))

    one, other = (goal((label == name).astype(float)) for name in ("class0", "class1"))
    assert one.fingerprint != other.fingerprint
    a, b = (score_in_memory(Tracin(), table_of(WORLD), g).column("tracin.score").to_numpy() for g in (one, other))
    mine = np.array(WORLD.pool.column("label").to_pylist()) == "class0"
    assert a[mine].mean() > b[mine].mean()
    none = score_in_memory(Tracin(), table_of(WORLD), goal(np.zeros(label.size)))
    assert none.column("tracin.score").null_count == WORLD.pool.count
