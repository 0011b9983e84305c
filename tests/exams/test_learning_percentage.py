"""learning_percentage: late learners are low, whatever their final loss; the columns are the paper's formulas."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from sklearn.metrics import roc_auc_score
from tests.worlds import table_of

from tilth.core import Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.probes.label_noise import LabelNoise
from tilth.signals.difficulty.learning_percentage import LearningPercentage, percentages

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "learning_percentage.json").read_text(encoding="utf-8"))


def column(signal: LearningPercentage, pool: TablePool, name: str = "score") -> np.ndarray:
    scored = score_in_memory(signal, pool).column(f"learning_percentage.{name}")
    return np.asarray(scored.to_numpy(), np.float64)


def test_golden() -> None:
    for of, after in (("perplexity", 1), ("perplexity", 2), ("loss", 1)):
        found = percentages(GOLDEN["loss"], after, of)  # type: ignore[arg-type]
        for name, want in GOLDEN[f"{of} {after}"].items():
            assert found[name] == pytest.approx(np.array(want, float), rel=1e-6, nan_ok=True), (of, after, name)


def test_columns_by_hand() -> None:
    """Perplexities of two seeds; the third record is learnt by one seed alone, the fourth by none."""
    one = [[8, 8, 8, 8], [4, 7, 6, 9], [2, 4, 4, 9]]
    two = [[8, 8, 8, 8], [2, 6, 9, 9], [2, 4, 9, 8]]
    found = percentages(np.log(np.array([one, two], float)))
    assert found["score"] == pytest.approx([(2 / 3 + 1) / 2, (0.25 + 0.5) / 2, 0.5, np.nan], nan_ok=True)
    assert found["spread"] == pytest.approx([1 / 6, 0.125, np.nan, np.nan], nan_ok=True)
    assert found["approx"] == pytest.approx([0.625, 0.1875, 0.0625, -0.125])
    assert found["drop"][3] == pytest.approx(np.log(8 / 9) / 2)
    overshot = percentages(np.log([[[8.0, 8.0], [9.0, 2.0], [4.0, 4.0]]]))
    assert overshot["score"].tolist() == [0, 1]  # got worse first; learnt better early than late


@pytest.mark.parametrize("passes", [60, 100])
def test_wrong_labels_are_learnt_last_and_the_final_belief_forgets_it(passes: int) -> None:
    probe = LabelNoise(flip=0.1, words=12)
    world = probe.build(800, Run())
    learner = Learner(passes=passes)
    late = probe.grade(world, -column(LearningPercentage(learner=learner), table_of(world)))
    last = learner.record(world.pool, Run()).gold[:, -1].mean(0)
    assert late > 0.98
    assert late > probe.grade(world, -last) + 0.01
    lengths = np.array([len(t) for t in world.pool.column("text").to_pylist()])
    assert 0.4 < probe.grade(world, lengths) < 0.6


def test_what_is_not_learnt_by_the_end_has_no_share() -> None:
    world = LabelNoise(flip=0.3, words=40).build(800, Run())
    signal = LearningPercentage(learner=Learner(passes=3))
    none = np.isnan(column(signal, table_of(world)))
    flipped = np.array([t["flipped"] for t in world.pool.column("truth").to_pylist()])
    assert flipped[none].mean() > 0.9
    assert none.sum() > 20
    assert (column(signal, table_of(world), "drop")[none] < 0).all()


def test_rare_words_are_learnt_late_and_frequent_ones_early() -> None:
    rng = np.random.default_rng(0)
    texts, labels = [], []
    for i in range(600):
        group = i // 2 % 60  # the word of a hard record stands in five records
        kind = group % 3 if i % 2 else int(rng.integers(3))
        words = [f"w{int(60 ** rng.random())}" for _ in range(6)] + [f"r{group}" if i % 2 else f"c{kind}"]
        texts.append(" ".join(rng.permutation(words)))
        labels.append(f"k{kind}")
    pool = TablePool(pa.table({"text": texts, "label": labels}), "labeled")
    score = column(LearningPercentage(), pool)
    assert roc_auc_score(np.arange(600) % 2, -score) > 0.98


@pytest.mark.parametrize("of", ["perplexity", "loss"])
def test_on_text_it_is_about_when_and_not_about_how_well(of: str) -> None:
    """A long cycle of words is learnt late and in the end best; dice are never guessed, but all there is at once."""
    pytest.importorskip("torch")
    rng = np.random.default_rng(0)
    texts = []
    for i in range(300):
        first = int(rng.integers(60))
        cycle = [f"word{(first + j) * 7 % 60}" for j in range(15)]
        texts.append(" ".join(cycle if i % 2 else [f"die{d}" for d in rng.integers(40, size=15)]))
    late = np.arange(300) % 2
    pool = TablePool(pa.table({"text": texts}))
    learner = Learner(model="lm", seeds=1, passes=10, depth=1, vocab=400, tokens=20_000, batch=4)
    score = column(LearningPercentage(learner=learner, of=of), pool)
    assert roc_auc_score(late, -score) > 0.95
    last = learner.record(pool, Run()).loss[0, -1]
    assert roc_auc_score(late, last) < 0.05  # the rival, hard is what has a high loss, has it upside down


def test_the_early_pass_must_be_early() -> None:
    world = LabelNoise().build(50, Run())
    with pytest.raises(UsageError, match="more `passes`"):
        column(LearningPercentage(after=6), table_of(world))
