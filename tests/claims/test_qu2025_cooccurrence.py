"""The claim about co-occurrence at a toy size: what is planted, counted, asked for, correlated and made of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from torch import Tensor

from tilth.claims import qu2025_cooccurrence as claim

TOY = claim.Scale(concepts=5, captions=4000, steps=2, batch=8, bins=5, shown=4)


def test_attraction_is_planted_whatever_the_frequencies() -> None:
    rng = np.random.default_rng(0)
    lift, scene, thing = rng.normal(0, 1, (6, 6)), rng.uniform(0.5, 2, 6), rng.uniform(0.5, 2, 6)
    shares = claim.joint(lift, scene, thing)
    assert shares.sum(1) == pytest.approx(scene / scene.sum())
    assert shares.sum(0) == pytest.approx(thing / thing.sum())

    def odds(x: claim.Floats) -> claim.Floats:  # what no frequency changes
        return x[:-1, :-1] + x[1:, 1:] - x[1:, :-1] - x[:-1, 1:]

    assert odds(np.log(shares)) == pytest.approx(odds(lift))


@pytest.mark.parametrize("matching", [False, True])
def test_pmi_is_that_of_the_captions_and_right_things_get_1(matching: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    n = TOY.concepts
    truth = np.repeat(np.arange(n * n) % n, TOY.shown)
    learned: list[str] = []
    for name in ("names", "matches"):
        method = getattr(claim.Matcher, name)

        def noted(model: claim.Matcher, images: Tensor, pair: Tensor, name: str = name, method: Any = method) -> Tensor:
            learned.append(name)
            loss: Tensor = method(model, images, pair)
            return loss

        monkeypatch.setattr(claim.Matcher, name, noted)
    monkeypatch.setattr(claim.Matcher, "things", lambda model, images, alike: np.where(truth == 2, 3, truth))
    shares = claim.joint(Run().rng("lift").normal(0, 0.7, (n, n)), np.ones(n), np.arange(1.0, n + 1))
    found = claim.pairs(shares, Run(), TOY, matching)
    assert {*learned} == {"matches" if matching else "names"}
    assert found.exact.tolist() == [[1.0, 1.0, 0.0, 1.0, 1.0]] * n
    assert found.count.sum() == TOY.captions
    assert np.exp(found.thing[0]) - 1 == pytest.approx(found.count.sum(0))
    assert np.exp(found.scene[:, 0]) - 1 == pytest.approx(found.count.sum(1))
    true = np.log(shares / np.outer(shares.sum(1), shares.sum(0)))
    assert found.pmi == pytest.approx(true, abs=0.35)


def test_naming_learns_the_thing_and_prefers_the_usual_one() -> None:
    scale = claim.Scale(concepts=5, captions=2000, steps=150, batch=64, shown=40, noise=0.1)
    lift = np.where(np.eye(5) > 0, 2.5, 0.0)
    found = claim.pairs(claim.joint(lift, np.ones(5), np.ones(5)), Run(seed=1), scale)
    assert found.exact.mean() > 0.4
    assert np.diag(found.exact).mean() > found.exact[~np.eye(5, dtype=bool)].mean() + 0.05


def test_partial_correlation_takes_out_what_is_given() -> None:
    rng = np.random.default_rng(3)
    common, x = rng.normal(size=400), rng.normal(size=400)
    assert claim.partial(common + x, common - x) == pytest.approx(0, abs=0.1)
    assert claim.partial(common + x, common - x, common) == pytest.approx(-1)
    assert claim.partial(np.ones(5), np.arange(5.0)) == 0.0
    noisy = x + rng.normal(0, 2, 400)
    assert claim.binned(x, noisy, 20) > claim.partial(x, noisy) + 0.2
    assert claim.binned(x, -noisy, 20) < -0.7


def test_controls_know_nothing_of_the_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that is right as often as the planted PMI says, in the corpora where pairs attract."""
    pairs = claim.pairs

    def told(shares: claim.Floats, run: Run, scale: claim.Scale, matching: bool = False) -> claim.Pairs:
        made = pairs(shares, run, scale, matching)
        true = np.log(shares / np.outer(shares.sum(1), shares.sum(0)))
        noise = run.rng("luck").normal(0, 0.02, true.shape)
        return claim.Pairs(made.pmi, made.count, made.scene, made.thing, 0.5 + 0.1 * true + noise)

    monkeypatch.setattr(claim, "pairs", told)
    scale = claim.Scale(concepts=16, captions=20_000, steps=1, batch=8, shown=1, attraction=0.7)
    found = claim.marks(Run(), scale)
    assert min(found[f"{key}: partial"] for key in ("matched", "free", "match matched", "match free")) > 0.9
    assert max(abs(found["random: partial"]), abs(found["free: dealt"])) < 0.25
    assert found["free: bins"] > found["free: count bins"] + 0.02
    assert found["matched: gap"] > 0.2


def test_statements_hold_where_they_should() -> None:
    def marks(bins: float, gap: float, part: float, count: float, null: float, shift: float) -> dict[str, float]:
        keys = ("matched", "free", "random", "match matched", "match free")
        names = ("single", "thing", "exact", "partial", "gap", "count")
        out = {f"{key}: {name}": part + shift for key in keys for name in names}
        out |= {f"{key}: bins": bins + shift for key in keys} | {f"{key}: gap": gap + shift for key in keys}
        out |= {f"{key}: count bins": count for key in keys}
        return out | {"free: dealt": null + shift, "random: partial": null + shift}

    shifts = (-0.01, 0.0, 0.01)
    good = claim.statements([marks(0.9, 0.1, 0.3, 0.5, 0.0, d) for d in shifts])
    bad = claim.statements([marks(0.5, -0.1, -0.3, 0.7, 0.3, d) for d in shifts])
    assert [row["holds"] for row in good[:10]] == ["yes"] * 10
    assert [row["holds"] for row in bad[:10]] == ["no"] * 10
