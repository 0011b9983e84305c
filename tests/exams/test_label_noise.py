"""label_noise: a detector that works passes, the naive rivals fail, and the world is what it says."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.model_selection import cross_val_predict
from sklearn.naive_bayes import MultinomialNB

from tilth.core import Budget, Plan, Run
from tilth.core.errors import BadField, DataError
from tilth.probes.label_noise import LabelNoise


def test_a_detector_passes_and_naive_rivals_do_not() -> None:
    probe = LabelNoise()
    world = probe.build(1200, Run(seed=1))
    table = world.pool.table(["text", "label"])
    texts, labels = table["text"].to_pylist(), np.array(table["label"].to_pylist())
    counts = CountVectorizer(token_pattern=r"\S+").fit_transform(texts)
    p = cross_val_predict(MultinomialNB(), counts, labels, cv=5, method="predict_proba")
    doubt = 1 - p[np.arange(len(labels)), np.unique(labels, return_inverse=True)[1]]
    assert probe.grade(world, doubt) > 0.95
    assert probe.grade(world, -doubt) < 0.05
    assert 0.4 < probe.grade(world, [len(t) for t in texts]) < 0.6
    assert 0.4 < probe.grade(world, Run(seed=2).rng("x").random(1200)) < 0.6
    harder = LabelNoise(clarity=0.03)
    dim = harder.build(1200, Run(seed=1))
    counts = CountVectorizer(token_pattern=r"\S+").fit_transform(dim.pool.column("text").to_pylist())
    labels = np.array(dim.pool.column("label").to_pylist())
    p = cross_val_predict(MultinomialNB(), counts, labels, cv=5, method="predict_proba")
    doubt = 1 - p[np.arange(len(labels)), np.unique(labels, return_inverse=True)[1]]
    assert 0.55 < harder.grade(dim, doubt) < 0.95


def test_the_world_is_what_it_says() -> None:
    world = LabelNoise(classes=3, flip=0.2).build(600, Run(seed=3))
    rows = world.pool.table(["text", "label", "truth"]).to_pylist()
    flipped = [r for r in rows if r["truth"]["flipped"]]
    assert len(flipped) == 120
    assert all((r["label"] != r["truth"]["label"]) == r["truth"]["flipped"] for r in rows)
    assert [sum(r["truth"]["label"] == f"class{c}" for r in rows) for c in range(3)] == [200, 200, 200]
    wrong_to = {(r["truth"]["label"], r["label"]) for r in flipped}
    assert len(wrong_to) == 6
    own = [w for r in rows for w in r["text"].split() if w.startswith("c")]
    assert abs(len(own) / sum(len(r["text"].split()) for r in rows) - 0.3) < 0.02
    assert all(w.startswith(f"c{r['truth']['label'][5:]}w") for r in rows for w in r["text"].split() if w[0] == "c")


def test_marks() -> None:
    probe = LabelNoise()
    world = probe.build(100, Run())
    flipped = np.array([t["flipped"] for t in world.pool.column("truth").to_pylist()])
    assert probe.grade(world, pa.chunked_array([flipped.astype(float)])) == 1.0
    assert probe.grade(world, [None] * 100) == 0.5
    assert probe.grade(world, np.where(flipped, np.nan, 1.0)) == 0.0
    plan = Plan.everything(world.pool, Budget(100, "records"))
    assert probe.grade(world, plan) == 0.5
    assert probe.grade(world, plan.revised({"use": "x"}, "n", keep=~flipped)) == 1.0
    with pytest.raises(DataError, match="Got 3 values for 100 records"):
        probe.grade(world, [1, 2, 3])
    with pytest.raises(BadField, match="flip"):
        LabelNoise(flip=0.0)
