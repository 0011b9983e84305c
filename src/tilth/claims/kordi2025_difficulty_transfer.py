"""Revisiting Generalization Across Difficulty Levels (Kordi et al. 2025, arXiv 2511.21692): training on one difficulty
helps little on others, up or down.

Two parts. Item response theory finds planted difficulty of 2,000 simulated items from 200 simulated models. And a
transfer matrix: a decoder of 2 layers with one token per character is trained on sums of one length (2, 3, 4 or 5
digits) or of all, always equally many sums and updates, and asked for other sums of every length; replies are spelt
units first. ``M[train, test]`` is the share of a reply's characters, its closing mark included, that are right: whole
replies of other lengths are hardly ever right, so exact match would be a matrix of its diagonal. In the control, on
3 digits, replies are dealt to other sums: what it gets right is what replies look like. Five seeds draw sums,
weights and order. The paper fine-tunes language models on benchmarks binned by difficulty from thousands of models'
answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models import irt
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.probes.addition import Addition

__all__ = ["PAPER", "run"]

PAPER = "revisiting_generalization_across_difficulty_levels"
SEEDS = 5
Floats = npt.NDArray[np.float64]
Asked = tuple[list[str], list[str]]
CONTROL = 1
"""Place of the length whose replies are dealt to other sums."""
ALPHABET = "$0123456789+="


@dataclass(frozen=True)
class Scale:
    """Lengths of sums, how many are trained on, and the training."""

    lengths: tuple[int, ...] = (2, 3, 4, 5)
    size: int = 1500
    depth: int = 2
    steps: int = 1000
    batch: int = 32
    items: int = 80


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = [transfer(Run(seed=seed), scale) for seed in range(SEEDS)]
    matrix, exact, control = (np.array(part) for part in zip(*found, strict=True))
    planted = {own: [recovered(Run(seed=seed), own) for seed in range(SEEDS)] for own in (False, True)}
    return [*_irt_rows(planted), *statements(matrix, control), *_context(matrix, exact, scale)]


def statements(matrix: Floats, control: Floats) -> list[dict[str, Any]]:
    """The paper's statements, judged on accuracy by seed, training (the last is mixed) and test, and the control's."""
    bins = matrix.shape[2]
    train, test = np.indices((bins, bins))
    alone = matrix[:, :bins]
    rows = []
    for name, side in (("easier", test >= train), ("harder", test <= train)):
        apart = np.abs(test - train)
        slope = [float(np.polyfit(apart[side], one[side], 1)[0]) for one in alone]
        near, far = (alone[:, side & at].mean(1) for at in (apart == 1, apart > 1))
        rows += [
            lab.row(f"trained on {name}: accuracy per bin of distance", "below 0", slope, lab.mean(slope)[2] < 0),
            lab.row(
                f"trained on {name}: one bin away less further", "above 0", near - far, lab.mean(near - far)[1] > 0
            ),
        ]
    worst = (matrix[:, bins] - alone.min(1)).min(1)
    same = alone[:, CONTROL, CONTROL]
    return [
        *rows,
        lab.row("mixed less the worst bin, on the test where that is least", "above 0", worst, lab.mean(worst)[1] > 0),
        lab.row("same bin less the control of dealt replies, 3 digits", "above 0", same - control,
                lab.mean(same - control)[1] > 0),
    ]  # fmt: skip


def _irt_rows(planted: dict[bool, list[float]]) -> list[dict[str, Any]]:
    return [
        lab.row(f"planted difficulty, {1 + own} parameter(s): Spearman", "at least 0.95", found, min(found) >= 0.95)
        for own, found in planted.items()
    ]


def _context(matrix: Floats, exact: Floats, scale: Scale) -> list[dict[str, Any]]:
    names = [*(f"{n} digits" for n in scale.lengths), "all"]
    cells = [(i, j) for i in range(len(names)) for j in range(len(scale.lengths))]
    return [
        lab.row(f"{kind}: trained on {names[i]}, asked {names[j]}", "", values[:, i, j], None)
        for kind, values in (("characters", matrix), ("whole replies", exact))
        for i, j in cells
        if kind == "characters" or i == j or i == len(scale.lengths)
    ]


def recovered(run: Run, own: bool, models: int = 200, items: int = 2000) -> float:
    """Spearman correlation of estimated with planted difficulty; `own`: each item has a discrimination of its own."""
    from scipy.special import expit
    from scipy.stats import spearmanr

    rng = run.rng("answers")
    theta, b = rng.normal(size=models), rng.normal(size=items)
    a = np.exp(irt.SPREAD * rng.normal(size=items)) if own else np.ones(items)
    answers = (rng.random((items, models)) < expit(a[:, None] * (theta - b[:, None]))).astype(np.int8)
    return float(spearmanr(irt.fit(answers, 1 + own).rate(answers).b, b).statistic)


def transfer(run: Run, scale: Scale) -> tuple[Floats, Floats, float]:
    """Shares of characters and of whole replies that are right, (trainings, tests), and of the control."""
    worlds = [
        Addition(spelling="reversed", digits=n, low=n, items=scale.items).build(scale.size, run.at("digits", n))
        for n in scale.lengths
    ]
    pools = [lab.asked(world.pool) for world in worlds]
    tests = [lab.asked(world.goal.holdout) for world in worlds if world.goal is not None]
    share = scale.size // len(pools)
    mixed = [p for asks, _ in pools for p in asks[:share]], [r for _, says in pools for r in says[:share]]
    marks = [_trained(pool, tests, run, scale) for pool in [*pools, mixed]]
    asks, says = pools[CONTROL]
    ((dealt, _),) = _trained((asks, [*says[1:], *says[:1]]), [tests[CONTROL]], run, scale)
    characters, whole = (np.array([[cell[k] for cell in row] for row in marks]) for k in (0, 1))
    return characters, whole, dealt


def _trained(pool: Asked, tests: Sequence[Asked], run: Run, scale: Scale) -> list[tuple[float, float]]:
    """Marks on each test after training on a pool."""
    vocab = lab.Vocab.of([ALPHABET], lab.CHARACTERS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 128, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        lab.tune(model, lab.talks(vocab, *pool), scale.steps, run, options)
        longest = max(len(reply) for _, says in tests for reply in says) + 2
        return [mark(lab.answers(model, vocab, asks, longest), says) for asks, says in tests]


def mark(said: Sequence[str], right: Sequence[str]) -> tuple[float, float]:
    """Mean share of the right reply's characters that stand where they should, and share of replies right as a whole.

    >>> mark(["15$", "25$", "1"], ["15$", "15$", "15$"])
    (0.6666666666666666, 0.3333333333333333)
    """
    shares = [sum(a == b for a, b in zip(one, other, strict=False)) / len(other)
              for one, other in zip(said, right, strict=True)]  # fmt: skip
    return float(np.mean(shares)), float(np.mean([one == other for one, other in zip(said, right, strict=True)]))
