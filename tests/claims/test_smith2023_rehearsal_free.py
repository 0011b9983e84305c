"""The claim about learning without rehearsal on made-up intents: who reads what, what holds what, how rows judge."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import smith2023_rehearsal_free as claim

TOY = claim.Scale(
    tasks=3, classes=2, texts=6, held=3, vocab=300, depth=1, context=12, tokens=500, epochs=1, batch=4, informed=4
)


def rows(intents: int = 9, each: int = 10) -> list[dict[str, Any]]:
    rng = np.random.default_rng(0)
    words = ["".join(rng.choice([*"aeioubdfgklm"], 4)) for _ in range(60)]
    made = [
        {"text": f"{words[i]} {' '.join(rng.choice(words, 4))}", "label": f"intent{i}"}
        for i in range(intents)
        for _ in range(each)
    ]
    return [*made, {"text": "out of scope", "label": "oos"}]


def test_tasks_share_no_intent_and_no_text_with_the_reading() -> None:
    world = claim.World(rows(), Run(), TOY)
    (texts, labels), (held, held_labels) = world.parts["train"], world.parts["held"]
    assert np.bincount(labels).tolist() == [6] * 6
    assert np.bincount(held_labels).tolist() == [3] * 6
    assert len(world.reading[0]) - 1 == 30, "the three other intents, and nothing out of scope"
    assert [world.classes(j) for j in range(3)] == [[0, 1], [2, 3], [4, 5]]
    as_sets = [{tuple(ids[a:b]) for a, b in pairwise(o)} for o, ids in (texts, held, world.reading)]
    assert not as_sets[0] & as_sets[1]
    assert not (as_sets[0] | as_sets[1]) & as_sets[2]


def test_every_arm_is_measured_and_strength_0_is_none() -> None:
    world = claim.World(rows(), Run(), TOY)
    found = claim.measured(world, {"none": 0.0, "l2": 1e9, "ewc": 1.0, "answers": 0.0, "features": 1.0})
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    assert found["answers"] == found["none"]
    start = world.pretrained()
    frozen = world.learned(start, "l2", 1e12)
    assert frozen["forgetting"] <= 1e-9, "the body does not move, and heads of old tasks are left alone"
    assert world.learned(start, "none", 0.0, 2).keys() == found["none"].keys()


def test_chosen_takes_the_best_on_two_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    world = claim.World(rows(), Run(), TOY)
    seen = []

    def learned(start: object, arm: str, strength: float, tasks: int) -> dict[str, float]:
        seen.append((arm, strength, tasks))
        return {"average": -abs(strength - claim.STRENGTHS[arm][-1])}

    monkeypatch.setattr(world, "learned", learned)
    assert claim.chosen(world) == {arm: strengths[-1] for arm, strengths in claim.STRENGTHS.items()}
    assert {tasks for *_, tasks in seen} == {2}


def test_statements_hold_where_they_should() -> None:
    def arm(forgetting: float, average: float = 0.8) -> dict[str, float]:
        return {"forgetting": forgetting, "average": average}

    def holds(none: float, l2: float, ewc: float, scratch: float) -> list[str]:
        found = {"none": arm(none), "l2": arm(l2), "ewc": arm(ewc)}
        found |= {"l2, from scratch": arm(0.3, 0.5), "answers, from scratch": arm(0.3, scratch)}
        few = [{k: {n: v + 1e-3 * i for n, v in a.items()} for k, a in found.items()} for i in range(3)]
        return [row["holds"] for row in claim.statements(few, {"l2": 1.0})[:4]]

    assert holds(0.3, 0.1, 0.2, 0.6) == ["yes"] * 4
    assert holds(0.1, 0.3, 0.2, 0.4) == ["no"] * 4


def test_without_intents_the_claim_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="clinc150"):
        claim.run(tmp_path)
