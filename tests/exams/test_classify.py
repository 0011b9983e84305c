"""Does the proof tell good labels from bad ones, and are its nats what a classifier's are?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Pool, Run, TablePool
from tilth.core.errors import BadInput
from tilth.engine.prove import prove
from tilth.models.metrics import calibration_error, macro_f1
from tilth.probes.label_noise import LabelNoise
from tilth.proofs.classify import Classify


def noisy(size: int = 1200, flip: float = 0.3) -> tuple[Pool, Goal, np.ndarray]:
    """A pool with flipped labels, a goal whose holdout's labels are right, and which of the pool's are flipped."""
    probe = LabelNoise(flip=flip)
    pool, target, held = (probe.build(n, Run(seed=s)).pool for n, s in ((size, 1), (40, 2), (300, 3)))
    right = [t["label"] for t in held.column("truth").to_pylist()]
    holdout = TablePool(pa.table({"text": held.column("text"), "label": right}), "labeled")
    flipped = np.array([t["flipped"] for t in pool.column("truth").to_pylist()])
    return pool, Goal(target, holdout, Budget(size // 2, "records")), flipped


def kept(start: Plan, keep: np.ndarray) -> Plan:
    return start.revised({"use": "test"}, "some records", keep=keep)


def test_clean_labels_beat_as_many_random_ones_and_flipped_ones_are_worst() -> None:
    pool, goal, flipped = noisy()
    start = Plan.everything(pool, goal.budget)
    share = np.random.default_rng(0).random(len(start)) < 0.7
    plans = {"clean": kept(start, ~flipped), "random": kept(start, share), "flipped": kept(start, flipped)}
    losses = {name: Classify().trial(plan, pool, goal, Run()).mean() for name, plan in plans.items()}
    assert losses["clean"] < 0.7 * losses["random"]
    assert losses["random"] < losses["flipped"]
    assert losses["clean"] < 0.5 * np.log(4), "far below a guess"
    assert losses["flipped"] > np.log(4), "trained on wrong labels alone it is worse than a guess"


def test_a_verdict_comes_out(tmp_path: Path) -> None:
    pool, goal, flipped = noisy(800)
    start = Plan.everything(pool, goal.budget)
    share = np.random.default_rng(0).random(len(start)) < 0.7
    folder = tmp_path
    found = prove(Classify(), kept(start, ~flipped), {"random": kept(start, share)}, pool, goal, folder, seeds=3)
    assert found.headline.startswith("BETTER")
    assert "nats per item" in found.headline
    half = np.random.default_rng(2).permutation(len(start)) % 2 == 0  # over 60 draws 3 % are told apart
    same = prove(Classify(), kept(start, half), {"random": kept(start, ~half)}, pool, goal, folder / "b", seeds=3)
    assert same.headline.startswith("NO DIFFERENCE")


def test_losses_are_minus_the_log_probability_of_the_truth() -> None:
    pool, goal, flipped = noisy(400)
    plan = kept(Plan.everything(pool, goal.budget), ~flipped)
    log, names = Classify().predict(plan, pool, goal, Run())
    truth = [names.index(v) for v in goal.holdout.column("label").to_pylist()]
    losses = Classify().trial(plan, pool, goal, Run())
    assert names == ("class0", "class1", "class2", "class3")
    assert np.exp(log).sum(1) == pytest.approx(np.ones(len(log)))
    assert (losses == -log[np.arange(len(truth)), truth]).all()
    assert macro_f1(log.argmax(1), truth, 4) > 0.75
    assert calibration_error(np.exp(log), truth) < 0.2


def test_a_dropped_class_costs_its_nats() -> None:
    pool, goal, flipped = noisy(600)
    start = Plan.everything(pool, goal.budget)
    labels = np.array(pool.column("label").to_pylist())
    without = Classify().trial(kept(start, ~flipped & (labels != "class0")), pool, goal, Run())
    held = np.array(goal.holdout.column("label").to_pylist())
    assert np.isfinite(without).all()
    assert without[held == "class0"].mean() > 3
    assert without[held != "class0"].mean() < 1


def test_repeats_and_the_limit_on_records() -> None:
    pool, goal, flipped = noisy(400)
    start = kept(Plan.everything(pool, goal.budget), ~flipped)
    twice = start.revised({"use": "test"}, "twice", repeats=start.repeats * 2)
    proof = Classify(passes=4)
    both = proof.trial(twice, pool, goal, Run()).mean()
    assert both == pytest.approx(Classify(passes=8).trial(start, pool, goal, Run()).mean(), rel=0.1)
    few, many = (Classify(records=n).trial(start, pool, goal, Run()).mean() for n in (30, 10_000))
    assert many < few
    assert Classify(records=50).smaller().records == 25


def test_what_has_no_label() -> None:
    pool, goal, _ = noisy(100)
    start = Plan.everything(pool, goal.budget)
    labels = pool.column("label").to_pylist()
    half = TablePool(
        pa.table({"text": pool.column("text"), "label": [v if i % 2 else None for i, v in enumerate(labels)]}),
        "labeled",
    )
    odd = kept(start, np.arange(100) % 2 == 1)
    learned = Classify().trial(Plan.everything(half, goal.budget), half, goal, Run(seed=5))
    assert np.isfinite(learned).all()
    assert learned.mean() == pytest.approx(Classify().trial(odd, pool, goal, Run(seed=5)).mean(), rel=0.15)
    none = TablePool(pa.table({"text": ["a"], "label": pa.array([None], pa.string())}), "labeled")
    with pytest.raises(BadInput, match="nothing to train on"):
        Classify().trial(Plan.everything(none, goal.budget), none, goal, Run())
    with pytest.raises(BadInput, match="item 0 has none"):
        Classify().trial(start, pool, Goal(none, none, goal.budget), Run())


def test_a_transformer_tells_them_apart_too() -> None:
    probe = LabelNoise(flip=0.3, classes=2, words=10, clarity=0.5)
    pool = probe.build(500, Run(seed=1)).pool
    held = probe.build(100, Run(seed=2)).pool
    right = [t["label"] for t in held.column("truth").to_pylist()]
    holdout = TablePool(pa.table({"text": held.column("text"), "label": right}), "labeled")
    goal = Goal(holdout, holdout, Budget(350, "records"))
    flipped = np.array([t["flipped"] for t in pool.column("truth").to_pylist()])
    start = Plan.everything(pool, goal.budget)
    proof = Classify(model="transformer", depth=1, vocab=600, context=48, passes=4)
    share = np.random.default_rng(0).random(len(start)) < 0.7
    clean, random = (proof.trial(kept(start, keep), pool, goal, Run()) for keep in (~flipped, share))
    assert clean.mean() < 0.45 < np.log(2)
    assert clean.mean() < random.mean() - 0.1
    assert (clean == proof.trial(kept(start, ~flipped), pool, goal, Run())).all()
