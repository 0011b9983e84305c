"""The coverage principle (Chang et al. 2025, arXiv 2505.20278): a transformer composes what it saw behave alike.

The task is t = g(f(x1, x2), x3) with random tables over 12 tokens. Most pairs (x1, x2) are trained on in most contexts
x3, but a quarter of them in a single one, which is too little evidence for the principle (k = 2). A decoder of 2 layers
is then asked for unseen inputs of both kinds, told apart by `tilth.models.coverage` alone. In the control the answers
are dealt to other inputs. Not run: how the data needed grow with the number of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.coverage import depth
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.probes.two_hop import FRAGMENTS, TwoHop

__all__ = ["PAPER", "run"]

PAPER = "the_coverage_principle"
SEEDS = 3
MOST = 8
BANDS = ((0, 1), (2, 4), (5, 7), (8, 8))
"""Depths of coverage whose accuracy is compared; unseen inputs of the first band are not covered."""
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """The task and the training.

    Attributes:
        share: of all inputs, how many the pool has before rare pairs are thinned out.
        rare: share of pairs that are trained on in one context only.
    """

    tokens: int = 12
    share: float = 0.7
    rare: float = 0.25
    depth: int = 2
    steps: int = 2500
    batch: int = 128


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = [right(Run(seed=seed), scale) for seed in range(SEEDS)]
    control = np.array([right(Run(seed=seed), scale, dealt=True)["covered"] for seed in range(SEEDS)])
    return statements(found, control, 1 / scale.tokens)


def statements(found: Sequence[Mapping[str, float]], control: Floats, chance: float) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `right` gives of each seed."""
    covered, uncovered, rank = (np.array([f[name] for f in found]) for name in ("covered", "uncovered", "rank"))
    gap = covered - uncovered
    return [
        lab.row("covered unseen inputs", "near 1 (here: above 0.9)", covered, covered.mean() > 0.9),
        lab.row(f"uncovered unseen inputs; chance is {chance:.3f}", f"near chance (here: at most {2 * chance:.3f})",
                uncovered, uncovered.mean() <= 2 * chance),
        lab.row("covered less uncovered", "above 0", gap, lab.mean(gap)[1] > 0),
        lab.row("rank correlation of depth of coverage with being right", "above 0", rank, lab.mean(rank)[1] > 0),
        lab.row("control: covered inputs, answers dealt to other inputs", f"chance ({chance:.3f})", control,
                control.mean() <= 2 * chance),
        lab.row("share of unseen inputs that are covered", "", [f["share"] for f in found], None),
        *(lab.row(f"depth {low} to {high}", "rises", [f[f"{low}-{high}"] for f in found], None)
          for low, high in BANDS if all(f"{low}-{high}" in f for f in found)),
    ]  # fmt: skip


def right(run: Run, scale: Scale, dealt: bool = False) -> dict[str, float]:
    """Shares of right answers to unseen inputs, by whether and how deeply the training set covers them.

    Args:
        dealt: every answer goes to another input of training.
    """
    probe = TwoHop(tokens=scale.tokens, items=max(2, scale.tokens**3 // 10))
    world = probe.build(round(scale.share * scale.tokens**3), run)
    goal = world.goal
    assert goal is not None
    prompts, replies = lab.asked(world.pool)
    seen, unseen = _thinned(prompts, scale, run.rng("rare"))
    exam = [(prompts[i], replies[i]) for i in unseen]
    for pool in (goal.target, goal.holdout):
        exam += zip(*lab.asked(pool), strict=True)
    asks, says = ([f" {texts[i]}" for i in seen] for texts in (prompts, replies))
    deep = depth([_numbers(a) for a in asks], [_numbers(s)[0] for s in says], [_numbers(a) for a, _ in exam], MOST,
                 FRAGMENTS["two_hop"])  # fmt: skip
    if dealt:
        says = [*says[1:], *says[:1]]
    vocab = lab.Vocab.of([f" t{i}" for i in range(scale.tokens)], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 16, run)
        options = Options(rate=model.config.rate, batch=scale.batch, weight_decay=1.0)
        lab.tune(model, lab.talks(vocab, asks, says), scale.steps, run, options)
        said = lab.answers(model, vocab, [f" {a}" for a, _ in exam], 2)
    hits = np.array([a.strip() == b for a, (_, b) in zip(said, exam, strict=True)], float)
    out = {f"{low}-{high}": float(hits[(deep >= low) & (deep <= high)].mean()) for low, high in BANDS
           if ((deep >= low) & (deep <= high)).any()}  # fmt: skip
    covered = deep >= probe.k
    return {
        **out,
        "covered": float(hits[covered].mean()),
        "uncovered": float(hits[~covered].mean()),
        "share": float(covered.mean()),
        "rank": float(spearmanr(deep, hits).statistic) if 0 < hits.mean() < 1 else 0.0,
    }


def _thinned(prompts: list[str], scale: Scale, rng: np.random.Generator) -> tuple[list[int], list[int]]:
    """Numbers of the inputs to train on and of those left out: all but one of every rare pair."""
    pairs = sorted({prompt.rsplit(" ", 1)[0] for prompt in prompts})
    rare = {pairs[i] for i in rng.permutation(len(pairs))[: round(scale.rare * len(pairs))]}
    met: set[str] = set()
    kept: list[int] = []
    out: list[int] = []
    for i, prompt in enumerate(prompts):
        pair = prompt.rsplit(" ", 1)[0]
        (out if pair in rare and pair in met else kept).append(i)
        met.add(pair)
    return kept, out


def _numbers(text: str) -> list[int]:
    return [int(word[1:]) for word in text.split()]
