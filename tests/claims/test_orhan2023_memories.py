"""The claim about memories at a toy size: studying must tell item from foil, and studying something else must not."""

from __future__ import annotations

import pytest

from tilth.core import Run

pytest.importorskip("torch")


def test_studied_items_are_told_from_foils_and_others_are_not() -> None:
    from tilth.claims.orhan2023_memories import Scale, measured

    scale = Scale(items=30, before=200, after=200, tokens=4_000, exposures=(1, 12), updates=(1, 30))
    found = measured(Run(), scale)
    recognition = {at: scores[0] for at, scores in found.items()}
    assert 0.25 <= recognition["sentences", 0] <= 0.75
    assert 0.25 <= recognition["control", 12] <= 0.75
    assert recognition["sentences", 12] >= 0.9
    assert recognition["sentences", 12] >= recognition["sentences", 1]
    assert recognition["retention", 30] <= recognition["sentences", 12]
    assert set(found) >= {("strings", 12), ("retention", 1)}
