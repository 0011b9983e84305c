"""The claim about GeRe on made-up texts: equal updates, the start's margin loss, and how the statements judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import zhang2025_gere as claim
from tilth.models.replay import Slots
from tilth.models.train import Trained, train_lm
from tilth.models.transformer import Decoder

TOY = claim.Scale(
    longest=80, vocab=300, depth=1, context=16, tokens=400, each=200, samples=4, slots=1, batch=3, held=3
)  # fmt: skip


def texts() -> list[list[str]]:
    rng = np.random.default_rng(0)
    parts = []
    for _ in range(1 + len(claim.TASKS)):
        words = ["".join(rng.choice([*"aeioubdfgklm"], 4)) for _ in range(20)]
        parts.append([" ".join(rng.choice(words, 14)) for _ in range(30)])
    return parts


def test_every_arm_takes_as_many_updates_and_margins_start_at_0(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[int] = []

    def watched(model: Decoder, feed: Slots, *args: Any, **more: Any) -> Trained:
        steps.append(feed.steps)
        return train_lm(model, feed, *args, **more)

    monkeypatch.setattr(claim, "train_lm", watched)
    found = claim.measured(texts(), Run(), TOY)
    assert len(steps) == len(claim.ARMS) * len(claim.TASKS)
    per_arm = np.array(steps).reshape(len(claim.ARMS), -1)
    assert (per_arm == per_arm[0]).all()
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    assert len({arm["loss of the tasks"] for arm in found.values()}) == len(claim.ARMS), "arms differ"
    for arm in claim.ARMS:
        assert found[arm]["margin loss at step 0"] < 1e-4


def test_statements_hold_where_they_should() -> None:
    def holds(rises: dict[str, float], start: float = 0.0) -> list[str]:
        found = {
            arm: {"rise of the general loss": rise, "loss of the tasks": 3.0, "margin loss at step 0": start}
            for arm, rise in rises.items()
        }
        return [row["holds"] for row in claim.statements([found] * 3)[:6]]

    base = dict.fromkeys(claim.ARMS, 0.4)
    good = {**base, "none": 1.0, "margin, strength 1": 0.2, "margin, strength 100": 0.25}
    assert holds(good) == ["yes"] * 6
    assert holds({**base, "none": 1.0, "margin, strength 1": 0.5, "margin, strength 100": 0.45}, 0.1) == ["no"] * 5 + [
        "yes"
    ]
    assert holds({**good, "margin, strength 100": 0.9})[-1] == "no"


def test_without_texts_the_claim_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="simplewiki"):
        claim.run(tmp_path)
