"""The claim about simulated curves at a toy size: who reads what, TracIn's steps, and what the statements judge."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

import torch

from tilth.claims import _lab as lab
from tilth.claims import chai2024_gptfluence as claim

TOY = replace(
    claim.Scale(), pretrain=8, seen=5, unseen=4, items=2, new=1, longest=60, context=16, vocab=300, depth=1, start=2,
    runs=3, told=2, steps=4, batch=3, passes=2,
)  # fmt: skip


def texts() -> list[list[str]]:
    rng = Run().rng("texts")
    return [[" ".join(rng.choice([f"{s}{w}" for w in "abcdef"], 20)) for _ in range(24)] for s in "xyz"]


def test_all_rivals_are_judged_on_runs_over_the_right_records(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[str, Any]] = []
    real = claim.record

    def seen(*args: Any) -> Any:
        curves, weights = real(*args)
        world, part = args[2], args[3]
        assert set(np.unique(curves.batches)) <= set(world.rows[part].tolist())
        assert curves.losses.shape[1:] == (TOY.steps + 1, 9)
        assert np.allclose(curves.losses[0, 0], curves.losses[-1, 0])  # a common start
        assert not np.allclose(curves.losses[0, -1], curves.losses[-1, -1])
        assert len(weights) == 3
        read.append((part, weights))
        return curves, weights

    monkeypatch.setattr(claim, "record", seen)
    found = claim.marks(texts(), Run(), TOY)
    assert [part for part, _ in read] == ["seen", "seen", "unseen"]
    states = [torch.cat([v.flatten() for v in state.values()]) for state in read[0][1]]
    assert not torch.equal(states[0], states[1])
    assert not torch.equal(states[1], states[2])
    names = {f"{k}: {r}{w}" for k in claim.SETTINGS for r in ("", "dealt ", "tracin ", "no change ", "mean curve ")
             for w in ("error", "rank", "change rank")}  # fmt: skip
    assert set(found) == names
    assert all(np.isfinite(v) for v in found.values())
    assert len(claim.statements([found, found, found])) == 2 * 12


def test_texts_of_all_parts_differ() -> None:
    world, vocab = claim.world_of(texts(), Run(), TOY)
    rows = np.concatenate([*world.rows.values()])
    assert np.array_equal(rows, np.arange(len(world.inputs)))
    assert len({tuple(t) for t in world.targets.tolist()}) == len(rows)
    assert vocab <= 300
    shifted = world.targets[:, :-1]
    assert bool((world.inputs[:, 1:] == torch.where(world.targets[:, 1:] >= 0, shifted, 0)).all())


def test_tracins_step_is_what_one_small_step_does() -> None:
    world, vocab = claim.world_of(texts(), Run(), TOY)
    model = lab.decoder(1, vocab, TOY.context, Run())
    state = {name: value.clone() for name, value in model.state_dict().items()}
    rows, items = world.rows["seen"], world.rows["items"]
    products = claim.inner(model, state, world, rows, items)
    batch = np.array([[[rows[0], rows[3]], [rows[1], rows[2]]]])
    told = claim.tracin_steps(batch, [products, 2 * products], rows)
    assert told[0, 1] == pytest.approx(-2 * (products[1] + products[2]) / 2)
    before = claim._measured(model, world, items)
    model.zero_grad()
    world.losses(model, batch[0, 0]).mean().backward()  # type: ignore[no-untyped-call]
    with torch.no_grad():
        for p in model.parameters():
            assert p.grad is not None
            p.sub_(1e-4 * p.grad)
    change = (claim._measured(model, world, items) - before) / 1e-4
    assert np.corrcoef(told[0, 0], change)[0, 1] > 0.99
    assert told[0, 0].mean() == pytest.approx(change.mean(), rel=0.1)


def test_marks_and_verdicts() -> None:
    truth = np.cumsum(Run().rng("t").normal(size=(2, 5, 8)), 1)
    assert claim.judged(truth, truth) == {"error": 0.0, "rank": 1.0, "change rank": 1.0}
    still = np.broadcast_to(truth[:, :1], truth.shape)
    assert claim.judged(still, truth)["change rank"] == 0.0

    def seed(error: float, rank: float, noise: float) -> dict[str, float]:
        rivals = {"": (error, rank), **{f"{r} ": (1.0, 0.5) for r in ("tracin", "no change", "mean curve", "dealt")}}
        return {f"{k}: {r}{w}": v + noise for k in claim.SETTINGS for r, (e, s) in rivals.items()
                for w, v in (("error", e), ("rank", s), ("change rank", s))}  # fmt: skip

    def verdicts(error: float, rank: float) -> list[str]:
        rows = claim.statements([seed(error, rank, 0.001 * i) for i in range(3)])
        return [r["holds"] for r in rows if r["holds"] != "-"]

    assert verdicts(0.5, 0.9) == ["yes"] * 14
    assert verdicts(1.5, 0.4) == ["no"] * 14
