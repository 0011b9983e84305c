"""The claim about packing at a toy size: what it measures tells good packing and closed documents from bad ones."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import wang2025_open_qwen2vl as claim
from tilth.kernels.packing import next_fit

TOY = claim.Scale(lengths=3000, texts=30, context=96, vocab=20)


def test_marks_hold_at_a_toy_size_and_a_bad_packer_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    good = claim.marks(Run(seed=1), TOY)
    assert good["fill"] > 0.98 > 0.75 > good["padded"]
    assert good["gap"] <= 1e-5 < 1e-3 < good["leak"]
    assert good["parted"] == good["moved"] == 0
    assert good["sorted"] < -0.5
    monkeypatch.setattr(claim, "first_fit_decreasing", next_fit)
    monkeypatch.setattr(claim, "losses", lambda run, scale: {"gap": good["gap"], "leak": good["leak"]})
    bad = claim.marks(Run(seed=1), TOY)
    assert bad["fill"] < 0.95
    held = {row["statement"]: row["holds"] for row in claim.statements([good, bad])}
    assert held["windows filled by first fit decreasing"] == "no"
    assert held["filled if each sample is padded to a window"] == "yes"


def test_sequences_that_overlap_are_seen() -> None:
    lengths, bins = np.array([3, 4, 2]), np.array([0, 0, 1])
    assert claim._overlapping(lengths, bins, np.array([0, 3, 0])).tolist() == [False, False, False]
    assert claim._overlapping(lengths, bins, np.array([0, 2, 0])).tolist() == [False, True, False]
