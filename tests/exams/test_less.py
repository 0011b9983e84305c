"""less: the weighted cosine that its definition says, with the optimizer's real moments, and finds what harms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from tests.worlds import table_of

from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.models.linear import Rows, encode_labels
from tilth.probes.label_noise import LabelNoise
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.signals.influence.less import Less
from tilth.signals.influence.tracin import Tracin

PROBE = LabelNoise(flip=0.1)
WORLD = PROBE.build(400, Run())
CLEAN = LabelNoise(flip=0.001).build(50, Run(seed=1)).pool
GOAL = Goal(CLEAN, CLEAN, Budget(1, "records"))
GOLDEN = Path(__file__).parents[1] / "golden" / "less.json"


def scores(signal: Less | Tracin, goal: Goal = GOAL) -> np.ndarray:
    return np.asarray(score_in_memory(signal, table_of(WORLD), goal).column(f"{signal.name()}.score").to_numpy())


def test_wrong_labels_are_lowest_and_the_plain_inner_product_knows_less() -> None:
    found, rival = (PROBE.grade(WORLD, -scores(s)) for s in (Less(), Tracin()))
    assert found > 0.99
    assert rival < found - 0.02


def test_is_the_cosine_of_steps_and_gradients() -> None:
    learner = Learner(seeds=1, passes=3, buckets=1 << 10)
    labels, names = encode_labels(WORLD.pool.column("label").to_pylist())
    wanted, _ = encode_labels(CLEAN.column("label").to_pylist(), names)
    total = np.zeros(labels.size)
    for number in range(3):
        model = learner.snapshot(number, WORLD.pool, Run()).model  # type: ignore[attr-defined]
        x, z = (Rows.of(p.column("text"), 1, 1 << 10) for p in (WORLD.pool, CLEAN))
        a, b = (model.inputs(rows).toarray()[:, :-1] for rows in (x, z))  # without the bias
        norm = np.array([np.sqrt((rows.values[rows.indptr[i] : rows.indptr[i + 1]] ** 2).sum())
                         for rows in (z,) for i in range(len(z))])  # fmt: skip
        e, f = model.errors(x, labels), model.errors(z, wanted)
        step = (a / np.sqrt(model.squares))[:, :, None] * e[:, None]
        step = step.reshape(len(a), -1)
        plain = (b[:, :, None] * f[:, None]).reshape(len(b), -1)
        step /= np.linalg.norm(step, axis=1, keepdims=True)
        plain /= (np.linalg.norm(f, axis=1) * norm)[:, None]
        total += (step @ plain.T).mean(1) / 3
    assert scores(Less(learner=learner)) == pytest.approx(total, rel=1e-3, abs=1e-5)


@pytest.mark.parametrize("model", ["encoder", "lm"])
def test_moments_are_the_optimizers_and_rates_the_schedules(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch")
    from tilth.models import train
    from tilth.models.optim import optimizer

    made: list[Any] = []
    real = optimizer

    def kept(*args: Any) -> Any:
        made.append(real(*args))
        return made[-1]

    monkeypatch.setattr(train, "optimizer", kept)
    learner = Learner(model=model, seeds=1, passes=3, depth=1, vocab=300, context=16, batch=8, tokens=3000)
    *_, (last, _) = learner.passes_of(WORLD.pool, Run())
    second = last.second  # type: ignore[attr-defined]
    moments = [state["exp_avg_sq"].numpy() for state in made[0].state.values()]
    assert any(m.shape == second.shape and np.array_equal(m, second) for m in moments)
    assert second.min() >= 0
    assert second.max() > 0
    rates = learner.rates()
    assert rates.shape == (3,)
    assert rates[0] > rates[1] > rates[2] > 0  # it falls after a short rise


def test_an_encoders_steps_are_gradients_over_root_moments() -> None:
    pytest.importorskip("torch")
    learner = Learner(model="encoder", seeds=1, passes=2, depth=1, vocab=300, context=32, batch=8)
    g, s = (f(1, WORLD.pool, Run()) for f in (learner.gradients, learner.steps))
    second = learner.snapshot(1, WORLD.pool, Run()).second  # type: ignore[attr-defined]
    whole = (g.inputs.astype(float)[:, :, None] * g.errors[:, None]) / np.sqrt(second.T)  # type: ignore[attr-defined]
    flat = whole.reshape(len(whole), -1)
    direction = Run().rng("d").normal(size=flat.shape[1])
    assert s.lengths == pytest.approx(np.linalg.norm(flat, axis=1), rel=1e-4)
    assert s.along(direction) == pytest.approx(flat @ direction, rel=1e-4, abs=1e-4)
    weights = Run().rng("w").random(len(flat))
    assert s.mean(weights) == pytest.approx(weights @ flat / weights.sum(), rel=1e-4, abs=1e-5)
    assert PROBE.grade(WORLD, -scores(Less(learner=learner))) > 0.9


def test_a_sketch_divided_is_a_sketch_of_divided_gradients() -> None:
    torch = pytest.importorskip("torch")
    from tilth.models.told import Sketch

    rng = Run().rng("sketch")
    e, h = torch.from_numpy(rng.normal(size=(1, 50))).float(), torch.from_numpy(rng.normal(size=(1, 16))).float()
    second = (rng.random((50, 1)) * rng.random((1, 16)) + 1e-3).astype(np.float32)
    v = second.mean(1, keepdims=True) * second.mean(0) / second.mean()
    exact = (e.T @ h / torch.from_numpy(np.sqrt(v))).flatten()
    plain = torch.from_numpy(rng.normal(size=(50, 16))).float()
    found = []
    for seed in range(300):
        sketch = Sketch.drawn(50, 16, Run(seed=seed))
        divided = sketch.divided(second)
        short = (divided.errors.T @ e.T @ h @ divided.hidden).flatten()
        found.append(float(short @ (sketch.errors.T @ plain @ sketch.hidden).flatten()))
    size = float(exact.norm() * plain.norm())
    assert np.mean(found) / size == pytest.approx(float(exact @ plain.flatten()) / size, abs=0.02)


def test_on_text_it_prefers_the_sources_the_target_is_made_of() -> None:
    pytest.importorskip("torch")
    world = PlantedMixture(words=50).build(400, Run())
    learner = Learner(model="lm", seeds=1, passes=2, depth=1, vocab=300, tokens=8000, batch=8)
    scored = score_in_memory(Less(learner=learner), table_of(world), world.goal)
    source = np.array(scored.column("source").to_pylist())
    means = {name: scored.column("less.score").to_numpy()[source == name].mean() for name in BEST}
    best, least = max(BEST, key=BEST.__getitem__), min(BEST, key=BEST.__getitem__)
    assert means[best] == max(means.values())
    assert means[best] > means[least] + 0.1


def test_of_several_targets_the_one_served_best_counts() -> None:
    table = CLEAN.table(["id", "text", "label", "source"])
    label = np.array(table["label"].to_pylist())

    def goal(rows: np.ndarray, named: bool) -> Goal:
        part = table.take(pa.array(rows))
        if named:
            part = part.append_column("goal", part["label"])
        held = TablePool(part, "labeled")
        return Goal(held, held, Budget(1, "records"))

    parts = [scores(Less(), goal(np.flatnonzero(label == name), False)) for name in np.unique(label)]
    both = scores(Less(), goal(np.arange(label.size), True))
    assert both == pytest.approx(np.max(parts, 0), rel=1e-5, abs=1e-7)
    assert not np.allclose(both, scores(Less()), atol=1e-3)
    with pytest.raises(UsageError, match="goal"):
        score_in_memory(Less(), table_of(WORLD))


def test_gives_what_it_gave() -> None:
    assert scores(Less())[:8] == pytest.approx(json.loads(GOLDEN.read_text())["score"], rel=1e-3, abs=1e-6)
