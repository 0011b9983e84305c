"""Teaching Arithmetic to Small Transformers (Lee et al. 2023, arXiv 2307.03381): how a sum is spelt decides.

A decoder of 2 layers with one token per character is trained on so many sums and asked for others; only how the reply
is spelt differs. All spellings take the same number of updates of the same number of examples, whatever they cost in
tokens (the table says). In the control the replies are dealt to other sums. Three seeds draw sums, weights and order.
The paper's model has 6 layers of 384 and is trained on text of sums, question and reply alike; here the reply alone is
learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.probes.addition import Addition

__all__ = ["PAPER", "run"]

PAPER = "teaching_arithmetic_to_small_transformers"
SEEDS = 3
Spelling = Literal["plain", "reversed", "scratchpad", "detailed"]
Floats = npt.NDArray[np.float64]
SPELLINGS: tuple[Spelling, ...] = ("plain", "reversed", "scratchpad")


@dataclass(frozen=True)
class Scale:
    """Sums of so many digits, how many are trained on, and the training."""

    digits: int = 2
    sizes: tuple[int, ...] = (500, 1000)
    depth: int = 2
    steps: int = 1500
    batch: int = 32
    items: int = 100


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    exact = {s: {n: _seeds(s, n, scale) for n in scale.sizes} for s in SPELLINGS}
    control = _seeds("plain", scale.sizes[-1], scale, dealt=True)
    return [*statements(exact, control), *_context(exact, scale)]


def statements(exact: Mapping[Spelling, Mapping[int, Floats]], control: Floats) -> list[dict[str, Any]]:
    """The paper's statements, judged on exact match by spelling, examples and seed."""
    sizes = sorted(exact["plain"])
    gaps = {n: exact["reversed"][n] - exact["plain"][n] for n in sizes}
    widest = max(sizes, key=lambda n: float(gaps[n].mean()))
    apart = [n for n in sizes if exact["reversed"][n].mean() >= 0.95 and exact["plain"][n].mean() <= 0.7]
    shown = apart[0] if apart else widest
    pad = exact["scratchpad"][widest] - exact["reversed"][widest]
    jumps = {(s, n): exact[s][m] - exact[s][n] for s in exact for n, m in pairwise(sizes)}
    spelling, start = max(jumps, key=lambda at: float(jumps[at].mean()))
    jump = jumps[spelling, start]
    return [
        lab.row(f"reversed, {shown} examples", "at least 0.95 where plain is at most 0.7", exact["reversed"][shown],
                bool(apart)),
        lab.row(f"plain, {shown} examples", "at most 0.7 where reversed is at least 0.95", exact["plain"][shown],
                bool(apart)),
        lab.row(f"reversed less plain, {widest} examples", "above 0", gaps[widest], lab.mean(gaps[widest])[1] > 0),
        lab.row(f"scratchpad less reversed, {widest} examples", "above 0", pad, lab.mean(pad)[1] > 0),
        lab.row(f"{spelling}: gain from {start} examples to twice as many", "a jump (here: at least 0.4)", jump,
                jump.mean() >= 0.4),
        lab.row("control: replies dealt to other sums", "0", control, control.mean() <= 0.05),
    ]  # fmt: skip


def _context(exact: Mapping[Spelling, Mapping[int, Floats]], scale: Scale) -> list[dict[str, Any]]:
    return [
        lab.row(f"{spelling}, {n} examples", "", found, None)
        for spelling, by_size in exact.items()
        for n, found in by_size.items()
    ] + [
        lab.row(f"{spelling}: tokens of a sum and its reply", "", [tokens(spelling, scale)], None)
        for spelling in SPELLINGS
    ]


def _seeds(spelling: Spelling, size: int, scale: Scale, dealt: bool = False) -> Floats:
    return np.array([right(spelling, size, Run(seed=seed), scale, dealt) for seed in range(SEEDS)])


def right(spelling: Spelling, size: int, run: Run, scale: Scale, dealt: bool = False) -> float:
    """Exact match on other sums after training on `size` sums.

    Args:
        dealt: every reply goes to another sum, so there is nothing to learn but how replies look.
    """
    probe = Addition(spelling=spelling, digits=scale.digits, low=scale.digits, items=scale.items)
    world = probe.build(size, run)
    prompts, replies = lab.asked(world.pool)
    if dealt:
        replies = [*replies[1:], *replies[:1]]
    vocab = lab.Vocab.of([*prompts, *replies, "$0123456789+=:C "], lab.CHARACTERS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 128, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        lab.tune(model, lab.talks(vocab, prompts, replies), scale.steps, run, options)
        held = world.goal.holdout if world.goal is not None else world.pool
        said = lab.answers(model, vocab, lab.asked(held)[0], max(map(len, replies)) + 1)
    return probe.grade(world, said)


def tokens(spelling: Spelling, scale: Scale) -> float:
    """Mean characters of a sum and its reply."""
    world = Addition(spelling=spelling, digits=scale.digits, low=scale.digits, items=1).build(200, Run())
    return float(np.mean([len(a) + len(b) for a, b in zip(*lab.asked(world.pool), strict=True)]))
