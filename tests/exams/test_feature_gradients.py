"""feature_gradients: columns that matter are found and predict, also one that says nothing alone; noise is left out."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest

from tilth.core import Run, TablePool
from tilth.core.errors import BadField, DataError, UsageError
from tilth.engine.apply import score_in_memory
from tilth.signals.target.feature_gradients import FeatureGradients

Floats = npt.NDArray[np.float64]
NAMES = tuple(f"c{i}" for i in range(20))


def world(seed: int, n: int = 2000) -> tuple[dict[str, Floats], Floats, Floats]:
    """Twenty columns; the outcome is c0 less c1, where c1 alone says nothing, plus c2 less c3, and noise."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 20))
    own, hidden = rng.normal(size=(2, n))
    x[:, 0], x[:, 1] = own + 0.7 * hidden, hidden
    truth = own + 0.6 * x[:, 2] - 0.6 * x[:, 3]
    scales = 10.0 ** rng.uniform(-3, 3, 20)
    return {name: x[:, i] * scales[i] + 5 * scales[i] for i, name in enumerate(NAMES)}, truth, rng.normal(size=n)


def pool_of(columns: dict[str, Floats], **more: object) -> TablePool:
    n = len(next(iter(columns.values())))
    return TablePool(pa.table({"text": [""] * n, "id": [f"r{i}" for i in range(n)], **columns, **more}))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_finds_what_matters_and_predicts_unknown_outcomes(seed: int) -> None:
    columns, truth, noise = world(seed)
    known = np.arange(truth.size) < 1500
    rating = pa.array(truth + 0.5 * noise, mask=~known)
    pool = pool_of(columns, rating=rating)
    signal = FeatureGradients(columns=NAMES, outcome="rating")
    learnt = signal.fit(pool, None, Run())
    assert set(np.argsort(-learnt.used)[:4].tolist()) == {0, 1, 2, 3}
    assert learnt.used[4:].max() < 0.1 < 0.3 < learnt.used[:4].min()
    assert np.sign(learnt.slopes[:4]).tolist() == [1, -1, 1, -1]
    singly = signal.model_copy(update={"order": 1}).fit(pool, None, Run())
    assert singly.used[1] < 0.1, "the naive rival: each column by itself"
    score = score_in_memory(signal, pool).column("feature_gradients.score").to_numpy()
    alone = [abs(np.corrcoef(values[~known], truth[~known])[0, 1]) for values in columns.values()]
    assert np.corrcoef(score[~known], truth[~known])[0, 1] > max(alone) + 0.15
    nothing = signal.fit(pool_of(columns, rating=noise), None, Run())
    assert abs(nothing.explained) < 0.05
    assert nothing.used.max() < 0.1


def test_an_outcome_may_be_a_name_and_columns_matter_in_concert() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 4))
    source = np.where(x[:, 0] * x[:, 1] > 0, "trusted", "web")
    pool = pool_of({f"c{i}": x[:, i] for i in range(4)}, source=source)
    plain = FeatureGradients(columns=NAMES[:4], outcome="source", value="trusted")
    assert plain.fit(pool, None, Run()).used.max() < 0.1
    wide = FeatureGradients(columns=NAMES[:4], outcome="source", value="trusted", products=True)
    learnt = wide.fit(pool, None, Run())
    assert learnt.names[learnt.used.argmax()] == "c0 * c1"
    score = score_in_memory(wide, pool).column("feature_gradients.score").to_numpy()
    assert score[source == "trusted"].mean() > 0.3 > -0.3 > score[source == "web"].mean()


def test_scores_are_the_weighted_sum_and_nulls_count_as_the_mean() -> None:
    columns, truth, noise = world(3, 400)
    table = {name: pa.array(columns[name], mask=np.arange(400) == 7) for name in NAMES[:4]}
    half = table | {"c1": pa.array(columns["c1"], mask=np.arange(400) % 7 == 0)}
    pool = TablePool(pa.table({"text": [""] * 400, **half, "rating": truth + 0.1 * noise}))
    signal = FeatureGradients(columns=NAMES[:4], outcome="rating")
    learnt = signal.fit(pool, None, Run(place=("signal", "feature_gradients")))
    score = score_in_memory(signal, pool).column("feature_gradients.score").to_pylist()
    assert score[7] is None
    mean, spread = learnt.scales[:2]
    for i in (1, 14):
        z = [(columns[n][i] - mean[j]) / spread[j] for j, n in enumerate(NAMES[:4])]
        if i == 14:
            z[1] = 0
        assert score[i] == pytest.approx(
            float(np.dot((z - learnt.scales[2]) / learnt.scales[3], learnt.slopes)), rel=1e-5
        )


def test_what_it_refuses_and_survives() -> None:
    columns, truth, _ = world(4, 50)
    for rating in (np.ones(50), pa.array(truth, mask=np.arange(50) > 3)):
        made = score_in_memory(FeatureGradients(columns=NAMES, outcome="rating"), pool_of(columns, rating=rating))
        assert made.column("feature_gradients.score").null_count == 50
    pool = pool_of(columns, source=["a"] * 50)
    with pytest.raises(DataError, match="state `value`"):
        FeatureGradients(columns=NAMES, outcome="source").fit(pool, None, Run())
    with pytest.raises(UsageError, match="take it out"):
        FeatureGradients(columns=NAMES, outcome="c3").fit(pool, None, Run())
    with pytest.raises(BadField):
        FeatureGradients(columns=(), outcome="c3")


def golden() -> dict[str, list[float]]:
    columns, truth, noise = world(5, 300)
    pool = pool_of(columns, rating=truth + 0.5 * noise)
    signal = FeatureGradients(columns=NAMES[:6], outcome="rating", steps=100)
    score = score_in_memory(signal, pool).column("feature_gradients.score").to_pylist()
    used = signal.fit(pool, None, Run(place=("signal", "feature_gradients"))).used
    return {"used": used.round(4).tolist(), "score": [round(v, 4) for v in score[:5]]}


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "feature_gradients.json").read_text(encoding="utf-8"))
    found = golden()
    assert found["used"] == pytest.approx(kept["used"], abs=2e-3)
    assert found["score"] == pytest.approx(kept["score"], abs=2e-3)
