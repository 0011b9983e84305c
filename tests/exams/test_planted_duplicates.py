"""planted_duplicates: the world is what it says, and only a detector that tolerates light edits gets full marks."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.engine.apply import score_in_memory
from tilth.probes.planted_duplicates import EDITS, PlantedDuplicates, edited, plant
from tilth.signals.duplicates.exact_duplicate import ExactDuplicate
from tilth.signals.duplicates.minhash import MinHash


def test_copies_differ_from_their_originals_as_stated() -> None:
    world = PlantedDuplicates().build(400, Run(seed=1))
    rows = world.pool.table(["id", "text", "truth"]).to_pylist()
    place = {row["id"]: i for i, row in enumerate(rows)}
    seen = {edit: 0 for edit in EDITS}
    for i, row in enumerate(rows):
        words = row["text"].split()
        assert 50 <= len(words) <= 400
        base, edit = row["truth"]["base"], row["truth"]["edit"]
        if base is None:
            continue
        seen[edit] += 1
        assert place[base] < i
        original = rows[place[base]]["text"].split()
        assert len(original) == len(words)
        changed = sum(a != b for a, b in zip(original, words, strict=True))
        # A word may be replaced by itself: frequent words are frequent in other texts too.
        assert round(edit * len(words)) * 0.6 <= changed <= round(edit * len(words))
    assert set(seen.values()) == {40}


def test_a_detector_passes_and_naive_rivals_do_not() -> None:
    probe = PlantedDuplicates()
    world = probe.build(800, Run(seed=2))
    assert isinstance(world.pool, TablePool)
    near = score_in_memory(MinHash(threshold=0.5), world.pool).column("minhash.duplicate")
    exact = score_in_memory(ExactDuplicate(), world.pool).column("exact_duplicate.duplicate")
    lengths = [len(text) for text in world.pool.column("text").to_pylist()]
    same_length = [n in lengths[:i] for i, n in enumerate(lengths)]
    coin = Run(seed=2).rng("coin").random(800) < 0.5
    assert probe.grade(world, near) > 0.97
    assert 0.6 < probe.grade(world, exact) < 0.7, "half of what is to be found, nothing else"
    assert probe.grade(world, same_length) < 0.7
    assert probe.grade(world, coin) < 0.4
    assert probe.grade(world, [True] * 800) == pytest.approx(0.4)


def test_a_plan_is_graded_by_what_it_drops() -> None:
    probe = PlantedDuplicates()
    world = probe.build(200, Run())
    truth = world.pool.column("truth").to_pylist()
    copies = np.array([t["base"] is not None for t in truth])
    plan = Plan.everything(world.pool, Budget(10, "records"))
    assert probe.grade(world, plan) == 0
    assert probe.grade(world, copies) == 1
    with pytest.raises(DataError, match="3 flags"):
        probe.grade(world, [True] * 3)


def test_planting_into_given_texts_keeps_white_space() -> None:
    rng = Run().rng("plant")
    text = "  one two\n\nthree\tfour five "
    for share, changed in ((0.0, 0), (0.05, 1), (0.6, 3), (1.0, 5)):
        made = edited(text, share, ["x y z"], rng)
        assert sum(word in "xyz" for word in made.split()) == changed
        for word in made.split():
            made = made.replace(word, "", 1)
        assert made == "   \n\n\t  "
    assert edited("", 0.3, ["x"], rng) == ""
    texts, base, edit = plant(["a b", "c d"], 6, rng)
    assert texts[:2] == ["a b", "c d"]
    assert base[:2].tolist() == [-1, -1]
    assert [texts[i] == texts[base[i]] for i in range(2, 8)] == [e == 0 or texts[i] == texts[base[i]]
                                                               for i, e in enumerate(edit) if i >= 2]  # fmt: skip
    assert pa.array(edit[2:]).to_pylist() == [0, 0.05, 0.15, 0.3, 0, 0.05]
