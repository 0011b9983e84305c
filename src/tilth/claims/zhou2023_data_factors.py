"""Data Factors for Better Compositional Generalization (Zhou et al. 2023, arXiv 2311.04420), on SCAN.

A decoder of 2 layers with one token per word learns commands and their actions, then translates commands with ``jump``,
a word that it only ever saw alone. All settings take as many records and updates. The paper trains an encoder and a
decoder from scratch; the median over seeds is shown beside the mean, since seeds differ widely.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.probes.scan import Scan

__all__ = ["PAPER", "run"]

PAPER = "data_factors_for_better_compositional_generalization"
SEEDS = 3
Marks = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """Records and training."""

    records: int = 2000
    depth: int = 2
    steps: int = 600
    batch: int = 32


ARMS = {
    "1 word": Scan(primitives=1, complexity=2),
    "20 words": Scan(primitives=20, complexity=2),
    "20 words, each command 20 times": Scan(primitives=20, complexity=2, unique=0.05),
}


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    found = {name: [right(probe, Run(seed=seed), scale) for seed in seeds] for name, probe in ARMS.items()}
    control = [right(ARMS["20 words"], Run(seed=seed), scale, dealt=True) for seed in seeds]
    return statements(found, control)


def statements(found: Mapping[str, Sequence[Marks]], control: Sequence[Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `right` gives of each seed in each arm."""
    one, many, often = (np.array(found[name]) for name in ARMS)
    jump, like = many[:, 0], many[:, 1]
    fewer, same = jump - one[:, 0], like - often[:, 1]
    dealt = np.array(control)[:, 1]
    return [
        lab.row("jump in compositions, 1 word like it", "at most 0.2", one[:, 0], one[:, 0].mean() <= 0.2),
        lab.row("jump in compositions, 20 words like it", "above 0.5", jump, np.median(jump) > 0.5),
        lab.row("20 words less 1 word", "above 0", fewer, lab.mean(fewer)[1] > 0),
        lab.row("commands like training, each once less each 20 times", "above 0", same, lab.mean(same)[1] > 0),
        lab.row("control: outputs dealt to other commands, commands like training", "0", dealt, dealt.mean() <= 0.05),
        *(lab.row(f"{name}: commands like training", "", [marks[1] for marks in arm], None)
          for name, arm in found.items()),
        lab.row("20 words, each command 20 times: jump in compositions", "", often[:, 0], None),
    ]  # fmt: skip


def right(probe: Scan, run: Run, scale: Scale, dealt: bool = False) -> tuple[float, float]:
    """Exact match on commands with the word that was seen alone, and on unseen commands like those of training.

    Args:
        dealt: every output goes to another command.
    """
    world = probe.build(scale.records, run)
    prompts, replies = lab.asked(world.pool)
    if dealt:
        replies = [*replies[1:], *replies[:1]]
    assert world.goal is not None
    hidden, like = (lab.asked(pool) for pool in (world.goal.holdout, world.goal.target))
    vocab = lab.Vocab.of([f" {t}" for t in [*prompts, *replies, *hidden[0], *hidden[1], *like[0]]], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 96, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        lab.tune(model, lab.talks(vocab, _spaced(prompts), _spaced(replies)), scale.steps, run, options)
        longest = max(len(reply.split()) for reply in [*replies, *hidden[1]]) + 1
        said = [[t.strip() for t in lab.answers(model, vocab, _spaced(a), longest)] for a, _ in (hidden, like)]
    marks = [
        float(np.mean([a == b for a, b in zip(s, w, strict=True)]))
        for s, (_, w) in zip(said, (hidden, like), strict=True)
    ]
    return marks[0], marks[1]


def _spaced(texts: list[str]) -> list[str]:
    return [f" {text}" for text in texts]
