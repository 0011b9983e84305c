"""Supervised tuning recipes (Pareja et al. 2024, arXiv 2412.13337): the start of a run tells how it will end.

A decoder of 1 layer that adds two-digit numbers is tuned to spell the sums backwards, once for each of 20 pairs of a
learning rate and a batch size, all reading as many sums. After a tenth of the updates the training loss per token and
the norm of the gradient are taken, and are compared with the loss on unseen sums at the end. Stopping the worse half of
the runs there leaves 55 % of the cost; it is right if the run that would have ended best goes on. That is asked of many
draws of 8 of the 20. As a control the half that goes on is drawn by lot. Three seeds draw sums, weights and order. The
paper tunes models of 3 to 7 billion parameters, and finds that a small gradient and a high loss at the start go with a
good end.
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.stats import rankdata, spearmanr

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.models.train import Examples, threads
from tilth.models.transformer import Decoder
from tilth.models.tune import answer_log_probs
from tilth.probes.addition import Addition

__all__ = ["PAPER", "kept", "run"]

PAPER = "unveiling_the_secret_recipe"
SEEDS = 3
EARLY = 0.1
WARMUP = 0.05
DRAWN, DRAWS = 8, 2000
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The sums, the training before, and the runs.

    Attributes:
        before: updates on sums spelt as usual, before all runs.
        read: sums that each run reads.
    """

    size: int = 1000
    before: int = 400
    read: int = 4800
    rates: tuple[float, ...] = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)
    batches: tuple[int, ...] = (8, 16, 32, 64)
    items: int = 300


@dataclass(frozen=True)
class Sweep:
    """The runs of a seed: rate, batch, loss and norm of the gradient after a tenth of the updates, loss at the end."""

    rate: Floats
    batch: Floats
    loss: Floats
    norm: Floats
    final: Floats


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), [Run(seed=seed) for seed in range(SEEDS)]
    sweeps = [sweep(seed, scale) for seed in seeds]
    order = [phases(seed, scale) for seed in seeds]
    return statements(sweeps, order)


def statements(sweeps: Sequence[Sweep], order: Sequence[tuple[float, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on the sweeps of the seeds and on what `phases` gives of each."""
    loss, norm = (
        np.array([spearmanr(getattr(s, name), s.final).statistic for s in sweeps]) for name in ("loss", "norm")
    )
    rules = {
        "the higher loss": [s.loss for s in sweeps],
        "the larger gradient": [s.norm for s in sweeps],
        "the larger gradient and the lower loss": [rankdata(s.norm) - rankdata(s.loss) for s in sweeps],
    }
    right = {
        name: np.array(
            [kept(early, s.final, Run(seed=i)) for i, (early, s) in enumerate(zip(marks, sweeps, strict=True))]
        )
        for name, marks in rules.items()
    }
    lot = np.array([by_lot(s.final, Run(seed=i)) for i, s in enumerate(sweeps)])
    apart = np.array([one - other for one, other in order])
    low, high = lab.mean(apart)[1:]
    best = {name: np.array([getattr(s, name)[s.final.argmin()] for s in sweeps]) for name in ("rate", "batch")}
    return [
        lab.row("rank correlation, gradient at a tenth and loss at the end", "above 0", norm, lab.mean(norm)[1] > 0),
        lab.row("rank correlation, loss at a tenth and loss at the end", "below 0", loss, lab.mean(loss)[2] < 0),
        *(lab.row(f"best run kept, the half with {name} stopped", "at least 0.9 (at 55 % of the cost)", found,
                  found.mean() >= 0.9) for name, found in right.items()),
        lab.row("control: best run kept, a half stopped by lot", "0.5", lot, abs(lot.mean() - 0.5) <= 0.05),
        lab.row("loss at the end, in phases less all at once", "0 (interval holds 0)", apart, low <= 0 <= high),
        lab.row("loss at the end, in phases", "", [one for one, _ in order], None),
        lab.row("loss at the end, all at once", "", [other for _, other in order], None),
        lab.row("best run: rate", "", best["rate"], None),
        lab.row("best run: batch", "", best["batch"], None),
        lab.row("loss at the end, best run", "", [s.final.min() for s in sweeps], None),
        lab.row("loss at the end, median run", "", [np.median(s.final) for s in sweeps], None),
    ]  # fmt: skip


def kept(early: Floats, final: Floats, run: Run, draws: int = DRAWS) -> float:
    """How often the run that ends lowest is in the half with the lower marks, among 8 runs drawn at random.

    >>> kept(np.arange(10.0), np.arange(10.0), Run()), kept(-np.arange(10.0), np.arange(10.0), Run())
    (1.0, 0.0)
    """
    rng = run.rng("draws")
    some = np.argsort(rng.random((draws, final.size)), 1)[:, :DRAWN]
    going = np.take_along_axis(some, np.argsort(early[some], 1, kind="stable")[:, : DRAWN // 2], 1)
    best = np.take_along_axis(some, final[some].argmin(1)[:, None], 1)
    return float((going == best).any(1).mean())


def by_lot(final: Floats, run: Run) -> float:
    """`kept` if the marks are drawn by lot, anew each time."""
    rng = run.rng("lot")
    return float(np.mean([kept(rng.random(final.size), final, run.at(str(k)), draws=20) for k in range(500)]))


def sweep(run: Run, scale: Scale) -> Sweep:
    """All runs of a seed, from the same weights through the same sums."""
    start, learned, exam = _world(run, scale)
    found = []
    for rate in scale.rates:
        for batch in scale.batches:
            options = Options(rate=rate, batch=batch, warmup=WARMUP, clip=float("inf"))
            found.append((rate, batch, *tuned(deepcopy(start), learned[0], exam, scale.read // batch, options, run)))
    return Sweep(*np.array(found).T)


def phases(run: Run, scale: Scale) -> tuple[float, float]:
    """The loss at the end of tuning on sums without and then with carries, and on all at once, in as many updates."""
    start, (every, easy, hard), exam = _world(run, scale)
    options = Options(rate=scale.rates[len(scale.rates) // 2], batch=scale.batches[0], warmup=WARMUP)
    steps = scale.read // options.batch
    apart = deepcopy(start)
    tuned(apart, easy, exam, steps // 2, options, run.at("easy"))
    one = tuned(apart, hard, exam, steps - steps // 2, options, run.at("hard"))[-1]
    return one, tuned(deepcopy(start), every, exam, steps, options, run)[-1]


def tuned(
    model: Decoder, learned: Dialogues, exam: Dialogues, steps: int, options: Options, run: Run
) -> tuple[float, float, float]:
    """Tune a model: mean loss and norm of the gradient from a twentieth to a tenth of the updates, and loss at the end.

    The gradient is as long as it was before clipping only where nothing is clipped.
    """
    norms: list[float] = []

    def watch(told: Examples) -> None:
        del told
        norms.append(float(torch.stack([p.grad.norm() for p in model.parameters() if p.grad is not None]).norm()))

    with threads(1):
        done = lab.tune(model, learned, steps, run, options, watch=watch)
        model.eval()
        with torch.no_grad():
            total = float(answer_log_probs(model, exam, np.arange(exam.offsets.size - 1), end=lab.END).sum())
    window = slice(round(EARLY * steps / 2), max(1, round(EARLY * steps)))
    marks = float(done.losses[window].mean()), float(np.mean(norms[window])), -total / int(exam.learned.sum())
    loss, norm, final = (mark if np.isfinite(mark) else float("inf") for mark in marks)
    return loss, norm, final


def _world(run: Run, scale: Scale) -> tuple[Decoder, tuple[Dialogues, Dialogues, Dialogues], Dialogues]:
    """A model that adds, the sums to learn in the new spelling (all, without carries, with), and unseen ones."""
    world = Addition(spelling="reversed", digits=2, low=2, items=scale.items).build(scale.size, run)
    assert world.goal is not None
    asks, says = lab.asked(world.pool)
    vocab = lab.Vocab.of([*asks, *says, "$0123456789+="], lab.CHARACTERS)
    carries = np.array([truth["carries"] for truth in world.pool.column("truth").to_pylist()])
    with threads(1):
        model = lab.decoder(1, len(vocab), 32, run)
        usual = lab.talks(vocab, [ask.strip("$") for ask in asks], [say.strip("$")[::-1] for say in says])
        lab.tune(model, usual, scale.before, run.at("before"), Options(rate=model.config.rate, batch=32))
    every, easy, hard = (
        lab.talks(vocab, [asks[i] for i in some], [says[i] for i in some])
        for some in (np.arange(len(asks)), np.flatnonzero(carries == 0), np.flatnonzero(carries > 0))
    )
    return model, (every, easy, hard), lab.talks(vocab, *lab.asked(world.goal.holdout))
