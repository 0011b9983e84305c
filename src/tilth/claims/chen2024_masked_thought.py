"""Masked Thought (Chen et al. 2024, arXiv 2403.02178): hiding parts of the reasoning that is read makes it better.

A decoder of 2 layers learns to work out chains of sums and differences of digits, step by step, from a few hundred
problems. While it learns, a token of the reasoning is replaced by a mask where it is read, never where it is predicted;
how many are rises over the first two thirds of the training. Problems are then solved from clean text. With and without
masks the same weights take the same updates on the same problems. In the control the replies are dealt to other
problems of as many steps. The paper tunes pretrained models of 7 billion parameters on GSM8K.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.dialogues import Dialogues
from tilth.models.optim import Options
from tilth.models.train import Trained, threads, train_examples
from tilth.models.transformer import Decoder
from tilth.models.tune import answer_tokens

__all__ = ["PAPER", "masked", "run", "tune_masked"]

PAPER = "masked_thought"
SEEDS = 5
CONTROLS = 3
SHARE = 0.2
WARMUP = 0.66
PIECES = r" \S+"
Ints = npt.NDArray[np.int64]
Marks = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """The problems and the training.

    Attributes:
        size: problems that are trained on.
        least, most: steps of a problem.
        base: digits there are.
    """

    size: int = 500
    least: int = 3
    most: int = 5
    base: int = 10
    depth: int = 2
    steps: int = 1500
    batch: int = 32
    items: int = 300


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    plain, hidden = ([right(share, Run(seed=seed), scale) for seed in range(SEEDS)] for share in (0.0, SHARE))
    control = [right(SHARE, Run(seed=seed), scale, dealt=True)[0] for seed in range(CONTROLS)]
    return statements(plain, hidden, control, scale)


def statements(
    plain: Sequence[Marks], hidden: Sequence[Marks], control: Sequence[float], scale: Scale
) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `right` gives of each seed without and with masks."""
    without, with_masks = np.array(plain), np.array(hidden)
    gain, chance = with_masks[:, 0] - without[:, 0], 1 / scale.base
    known = without[:, 1]
    return [
        lab.row(f"right answers, {SHARE:.0%} masked less none", "at least 0.03", gain,
                gain.mean() >= 0.03 and lab.mean(gain)[1] > 0),
        lab.row("problems trained on, none masked", "all are known (here: at least 0.95)", known, known.mean() >= 0.95),
        lab.row("control: replies dealt to other problems", f"chance ({chance:g}; here: at most {chance + 0.05:g})",
                control, float(np.mean(control)) <= chance + 0.05),
        lab.row("right answers, none masked", "", without[:, 0], None),
        lab.row(f"right answers, {SHARE:.0%} masked", "", with_masks[:, 0], None),
        lab.row(f"problems trained on, {SHARE:.0%} masked", "", with_masks[:, 1], None),
    ]  # fmt: skip


def problems(count: int, scale: Scale, rng: np.random.Generator) -> list[tuple[str, str]]:
    """Different problems and their replies: digits added and taken away in turn, each result by its last digit.

    >>> problems(1, Scale(), np.random.default_rng(0))
    [(' 6 - 5 - 2 - 3 - 0 - 0 ;', ' 6 - 5 = 1 - 2 = 9 - 3 = 6 - 0 = 6 - 0 = 6')]
    """
    made: dict[str, str] = {}
    while len(made) < count:
        terms = rng.integers(0, scale.base, int(rng.integers(scale.least, scale.most + 1)) + 1)
        signs = np.where(rng.random(terms.size - 1) < 0.5, 1, -1)
        results = (terms[0] + np.cumsum(signs * terms[1:])) % scale.base
        told = [f" {'+' if sign > 0 else '-'} {term}" for sign, term in zip(signs, terms[1:], strict=True)]
        reply = [f"{step} = {result}" for step, result in zip(told, results, strict=True)]
        made[f" {terms[0]}{''.join(told)} ;"] = f" {terms[0]}{''.join(reply)}"
    return [*made.items()]


def right(share: float, run: Run, scale: Scale, dealt: bool = False) -> Marks:
    """The share of right last results, in unseen problems and in those trained on.

    Args:
        share: of the reasoning's tokens that are masked when it is read, after the warm-up.
        dealt: every reply goes to another problem of as many steps.
    """
    drawn = problems(scale.size + scale.items, scale, run.rng("problems"))
    prompts, replies = [p for p, _ in drawn], [r for _, r in drawn]
    exam = prompts[scale.size :], replies[scale.size :]
    prompts, replies = prompts[: scale.size], replies[: scale.size]
    if dealt:
        replies = dealt_out(replies)
    vocab = lab.Vocab.of([*prompts, *replies, *exam[0], *exam[1]], PIECES)
    longest = max(len(reply.split()) for reply in [*replies, *exam[1]]) + 1
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab) + 1, 64, run)  # the last id is the mask
        options = Options(rate=model.config.rate, batch=scale.batch)
        tune_masked(model, lab.talks(vocab, prompts, replies), scale.steps, run, options, share, len(vocab))
        marks = [
            float(np.mean([a.split()[-1:] == b.split()[-1:] for a, b in zip(said, wanted, strict=True)]))
            for asks, wanted in (exam, (prompts[: scale.items], replies[: scale.items]))
            for said in (lab.answers(model, vocab, asks, longest),)
        ]
    return marks[0], marks[1]


def dealt_out(replies: Sequence[str]) -> list[str]:
    """Every reply at the place of another one as long, if there is one."""
    out = list(replies)
    for length in {len(reply.split()) for reply in replies}:
        same = [i for i, reply in enumerate(replies) if len(reply.split()) == length]
        for i, j in zip(same, [*same[1:], *same[:1]], strict=True):
            out[i] = replies[j]
    return out


def tune_masked(
    model: Decoder, data: Dialogues, steps: int, run: Run, options: Options, share: float, mask: int
) -> Trained:
    """`lab.tune`, but of the reply's tokens a share is replaced by the id `mask` where they are read.

    The share rises from 0 in a straight line over the first 66 % of the steps, and is drawn anew for every step.
    """
    counts = np.add.reduceat(data.learned, data.offsets[:-1])
    rng = run.rng("masks")
    step = iter(range(steps))

    def losses_of(rows: Ints) -> tuple[Tensor, None]:
        inputs, targets = answer_tokens(data, rows, end=lab.END)
        now = share * min(1.0, next(step) / (WARMUP * steps))
        inputs = masked(inputs, targets, now, mask, rng)
        losses = model.losses(torch.from_numpy(inputs), torch.from_numpy(targets)).sum(1)
        return losses / float(counts[rows].mean()), None

    return train_examples(model, losses_of, lab.order(data.offsets.size - 1, steps * options.batch, run), options)


def masked(inputs: Ints, targets: Ints, share: float, mask: int, rng: np.random.Generator) -> Ints:
    """The inputs with a share of the reply's tokens replaced; what is asked for and the targets stay as they are.

    Args:
        inputs, targets: (B, T); the input at t + 1 is the token at t: one of the reply where that target is learned.

    >>> inputs, targets = np.array([[0, 5, 6, 7]]), np.array([[-1, 6, 7, 8]])
    >>> masked(inputs, targets, 1.0, 9, np.random.default_rng(0)).tolist()
    [[0, 5, 9, 9]]
    """
    of_reply = np.zeros(inputs.shape, np.bool_)
    of_reply[:, 1:] = targets[:, :-1] >= 0
    return np.where(of_reply & (rng.random(inputs.shape) < share), mask, inputs)
