"""The claim about tuning recipes at a toy size: which runs are stopped, what is measured of a run, and judging."""

from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

import torch

from tilth.claims import _lab as lab
from tilth.claims import pareja2024_sft_recipe as claim
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.models.train import Trained
from tilth.models.transformer import Decoder
from tilth.models.tune import answer_log_probs

TOY = claim.Scale(size=60, before=4, read=80, rates=(1e-4, 3e-3), batches=(4, 8), items=20)


def test_the_best_run_is_kept_as_often_as_its_marks_deserve() -> None:
    final = np.random.default_rng(0).random(20)
    assert claim.kept(final, final, Run()) == 1.0
    assert claim.kept(-final, final, Run()) == 0.0
    assert claim.by_lot(final, Run()) == pytest.approx(0.5, abs=0.03)
    spoilt = final.copy()
    spoilt[final.argmin()] = 2.0  # the best of all is stopped whenever it is drawn: in 8 of 20 draws
    assert claim.kept(spoilt, final, Run()) == pytest.approx(0.6, abs=0.03)


def test_a_run_is_measured_early_and_at_its_end() -> None:
    start, (learned, _, _), exam = claim._world(Run(), TOY)
    options = Options(rate=3e-3, batch=4, warmup=claim.WARMUP, clip=float("inf"))
    model = deepcopy(start)
    loss, norm, final = claim.tuned(model, learned, exam, 40, options, Run())
    again = deepcopy(start)
    done = lab.tune(again, learned, 40, Run(), options)
    assert loss == pytest.approx(done.losses[2:4].mean())
    with torch.no_grad():
        nats = -answer_log_probs(again, exam, np.arange(20)).sum()
    assert final == pytest.approx(float(nats) / int(exam.learned.sum()), rel=1e-4)
    assert norm > 0
    clipped = Options(rate=3e-3, batch=4, warmup=claim.WARMUP, clip=norm / 10)
    assert claim.tuned(deepcopy(start), learned, exam, 40, clipped, Run())[1] == pytest.approx(norm / 10, rel=1e-3)


def test_a_run_that_diverges_is_the_worst(monkeypatch: pytest.MonkeyPatch) -> None:
    start, (learned, _, _), exam = claim._world(Run(), TOY)
    with torch.no_grad():
        start.embedding.weight[:] = float("nan")
    assert claim.tuned(start, learned, exam, 40, Options(batch=4), Run()) == (float("inf"),) * 3


def test_all_runs_of_a_seed_read_as_many_sums_from_the_same_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[float, int, float]] = []
    tune = lab.tune

    def watched(model: Decoder, data: Dialogues, steps: int, run: Run, options: Options, **hooks: object) -> Trained:
        weights = float(sum(p.detach().abs().sum() for p in model.parameters()))
        seen.append((weights, steps * options.batch, options.rate))
        return tune(model, data, steps, run, options, **hooks)

    monkeypatch.setattr(lab, "tune", watched)
    found = claim.sweep(Run(), TOY)
    runs = seen[1:]
    assert len({weights for weights, _, _ in runs}) == 1
    assert [read for _, read, _ in runs] == [80] * 4
    assert found.rate.tolist() == [rate for _, _, rate in runs] == [1e-4, 1e-4, 3e-3, 3e-3]
    assert found.batch.tolist() == [4, 8, 4, 8]
    assert np.isfinite(found.final).all()


def test_phases_read_sums_without_carries_first() -> None:
    _, (every, easy, hard), _ = claim._world(Run(), TOY)
    sizes = [data.offsets.size - 1 for data in (every, easy, hard)]
    assert sizes[0] == sizes[1] + sizes[2] == 60
    assert min(sizes) > 0
    assert all(np.isfinite(claim.phases(Run(), TOY)))


def test_statements_hold_where_they_should() -> None:
    end = np.linspace(1, 2, 20)
    grid = np.ones(20)

    def holds(loss: claim.Floats, norm: claim.Floats, order: list[tuple[float, float]]) -> list[str]:
        rows = claim.statements([claim.Sweep(grid, grid, loss, norm, end)] * 3, order)
        assert all(r["holds"] == "-" for r in rows[7:])
        return [r["holds"] for r in rows[:7]]

    alike, apart = [(1.0, 1.1), (1.1, 1.0), (1.0, 1.0)], [(1.5, 1.0), (1.6, 1.0), (1.55, 1.0)]
    assert holds(-end, end, alike) == ["yes", "yes", "no", "yes", "yes", "yes", "yes"]
    assert holds(end, -end, apart) == ["no", "no", "yes", "no", "no", "yes", "no"]
