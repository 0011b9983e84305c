"""The claim about Mix-CPT's distillation on made-up texts, and how its statements judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import jiang2024_mix_cpt as claim
from tilth.claims._lab import read
from tilth.models.train import Trained
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts

TOY = claim.Scale(
    longest=80, vocab=300, depth=1, context=16, tokens=400, later=300, batch=4, held=3, people=4, knowledge=600, form=2
)


def test_every_arm_is_measured_and_they_differ() -> None:
    rng = np.random.default_rng(0)
    texts = []
    for _ in range(2):
        words = ["".join(rng.choice([*"aeioubdfgklm"], 4)) for _ in range(20)]
        texts.append([" ".join(rng.choice(words, 14)) for _ in range(30)])
    found = claim.measured(texts, Run(), TOY)
    assert tuple(found) == claim.ARMS
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    assert len({arm["rise of the general loss"] for arm in found.values()}) == len(claim.ARMS)
    new = {arm: f["fall of the new kind's loss"] for arm, f in found.items()}
    assert new["control: not swapped, 1"] < new["plain"], "held to what it was, it learns less"


def test_statements_hold_where_they_should() -> None:
    def holds(
        plain: tuple[float, float], weak: tuple[float, float], strong: tuple[float, float], mixed: float
    ) -> list[str]:
        arms = dict(zip(claim.ARMS, (plain, weak, strong, (0.1, 0.3)), strict=True))
        found = [
            {arm: {"rise of the general loss": r + i / 1e4, "fall of the new kind's loss": g + i / 1e4}
             for arm, (r, g) in arms.items()}
            for i in range(3)
        ]  # fmt: skip
        return [
            row["holds"] for row in claim.statements(found, [{"mixed: others": mixed, "after: others": 0.1}] * 3)[:5]
        ]

    assert holds((0.8, 1.0), (0.6, 1.0), (0.3, 0.95), 0.4) == ["yes"] * 5
    assert holds((0.8, 1.0), (0.9, 1.0), (0.7, 0.2), 0.2) == ["no"] * 5


def test_both_orders_read_equally_much_and_are_asked_about_others(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[int] = []

    def watched(model: Decoder, texts: Texts, count: int, *rest: Any, **more: Any) -> Trained:
        tokens.append(count)
        return read(model, texts, count, *rest, **more)

    monkeypatch.setattr("tilth.claims._lab.read", watched)
    found = claim.asked(Run(), TOY)
    assert tokens == [600, 300, 300]
    assert found.keys() == {"mixed: others", "mixed: read", "after: others", "after: read"}
    assert all(0 <= share <= 1 for share in found.values())


def test_without_texts_the_claim_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="simplewiki"):
        claim.run(tmp_path)
