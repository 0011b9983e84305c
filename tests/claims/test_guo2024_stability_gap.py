"""The claim about the stability gap in miniature: languages, quality, tokens of the arms, and how statements judge."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import guo2024_stability_gap as claim

TOY = claim.Scale(words=20, records=60, length=11, depth=1, context=24, first=800, held=5, points=4)


def test_noise_is_what_it_says_and_bigrams_find_it() -> None:
    rng = np.random.default_rng(0)
    rules = rng.integers(0, 30, (30, 2))
    noise = np.linspace(0, 1, 400)
    records = claim.written_by(rules, noise, 40, rng)
    follows = (rules[records[:, :-1] - 1] == records[:, 1:, None] - 1).any(2).mean(1)
    assert follows[0] == 1
    assert follows[-40:].mean() < 0.2
    found = claim.bigram_losses(records, claim.written_by(rules, np.zeros(100), 40, rng), 30)
    assert np.corrcoef(found, noise)[0, 1] > 0.95


def test_arms_have_two_fifths_of_the_tokens_and_everything_is_measured() -> None:
    found = claim.measured(Run(), TOY)
    assert tuple(found) == tuple(claim.ARMS)
    assert all(np.isfinite(v) for arm in found.values() for v in arm.values())
    whole = found["one epoch of all"]["tokens"]
    assert whole == 60 * 12
    for arm, marks in found.items():
        if arm != "one epoch of all":
            assert marks["tokens"] == pytest.approx(0.4 * whole, rel=0.1)


def test_statements_hold_where_they_should() -> None:
    def arm(dip: float, score: float, recovered: float = 1.0) -> dict[str, float]:
        rest = {"general score, change at the end": 0.0, "tokens": 1.0}
        return {"dip": dip, "area": 2 * dip, "recovered": recovered, "domain score": score, **rest}

    def holds(rules: dict[str, float], whole: dict[str, float], rest: dict[str, float]) -> list[str]:
        arms = dict.fromkeys(claim.ARMS, rest) | {"three rules": rules, "one epoch of all": whole}
        few = [{k: {n: v + 1e-4 * i for n, v in a.items()} for k, a in arms.items()} for i in range(3)]
        for found in few:
            found["one epoch of all"]["recovered"] = whole["recovered"]
        return [row["holds"] for row in claim.statements(few)[:7]]

    assert holds(arm(0.1, -1.0), arm(0.5, -2.0), arm(0.3, -1.5)) == ["yes"] * 7
    assert holds(arm(0.4, -2.0), arm(0.5, -1.0, 0.0), arm(0.3, -1.5)) == ["no"] * 7
