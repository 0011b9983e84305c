"""label_issues: wrong labels are found by models that never saw them, and the columns are those of the definition."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from tests.worlds import table_of

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.linear import Rows, epochs
from tilth.probes.label_noise import LabelNoise
from tilth.signals.labels.label_issues import LabelIssues, confident

PROBE = LabelNoise(flip=0.1, clarity=0.15)


def test_finds_wrong_labels_and_what_they_should_be() -> None:
    world = PROBE.build(1500, Run())
    scored = score_in_memory(LabelIssues(), table_of(world))
    truth = world.pool.column("truth").to_pylist()
    flipped = np.array([t["flipped"] for t in truth])
    for name in ("self_confidence", "margin", "normalized"):
        assert PROBE.grade(world, -scored.column(f"label_issues.{name}").to_numpy()) > 0.95
    off = np.array(scored.column("label_issues.off").to_pylist())
    assert flipped[off].mean() > 0.9
    assert off[flipped].mean() > 0.5
    expected = scored.column("label_issues.expected").to_pylist()
    named = [expected[i] == truth[i]["label"] for i in np.flatnonzero(off & flipped)]
    assert np.mean(named) > 0.95


def test_labels_at_random_are_not_believed_unless_the_judge_has_seen_them() -> None:
    """The trap of judging records by a model that was trained on them."""
    rng = np.random.default_rng(0)
    table = PROBE.build(300, Run()).pool.table(["id", "text", "source"])
    labels = rng.choice(["a", "b"], 300)
    pool = TablePool(table.append_column("label", pa.array(labels.tolist())), "labeled")
    scored = score_in_memory(LabelIssues(passes=60), pool)
    assert 0.4 < np.mean(scored.column("label_issues.self_confidence").to_numpy()) < 0.6
    number = (labels == "b").astype(int)
    rows = Rows.of(pool.column("text"), 1, 1 << 18)
    *_, seen = epochs(rows, number, 2, 60, Run().rng("order"), rate=0.3)
    assert seen.gold(rows, number).mean() > 0.8


def test_columns_by_hand() -> None:
    """Class means of self-confidence: a (.9 + .1) / 2 = .5, b .6. Record 1 reaches b's; record 2 reaches its own."""
    p = np.array([[0.9, 0.1], [0.1, 0.9], [0.4, 0.6]], np.float32)
    found = confident(p, np.array([0, 0, 1]), ("a", "b"))
    assert found["self_confidence"] == pytest.approx([0.9, 0.1, 0.6])
    assert found["margin"] == pytest.approx([0.8, -0.8, 0.2])
    assert found["normalized"] == pytest.approx([0.4, -0.4, 0.0], abs=1e-6)
    assert found["expected"].tolist() == ["a", "b", "b"]
    assert found["off"].tolist() == [False, True, False]
    unsure = confident(np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]], np.float32), np.array([0, 0, 1]), ("a", "b"))
    assert unsure["expected"].tolist() == [None, "a", "b"]


def test_folds_leave_the_record_out_and_depend_on_nothing_else() -> None:
    world = PROBE.build(200, Run())
    rows = Rows.of(world.pool.column("text"), 1, 1 << 12)
    labels = np.unique(world.pool.column("label").to_pylist(), return_inverse=True)[1]
    signal = LabelIssues(folds=4)
    before = signal.out_of_fold(rows, labels, 4, Run())
    other = labels.copy()
    other[7] = (other[7] + 1) % 4
    after = signal.out_of_fold(rows, other, 4, Run())
    assert np.array_equal(before[7], after[7])  # a record's own label does not reach its judge
    assert not np.array_equal(before, after)
