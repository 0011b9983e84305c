"""Easy training data for hard tasks (Hase et al. 2024, arXiv 2401.06751): easy supervision does most of what hard does.

A decoder of 2 layers first learns two skills on numbers of one to three digits: ``s`` marks their sum, ``m`` the larger
of them, the units first. Then few examples say that a new mark, ``q``, means the sum; they have one or two digits
(easy) or three (hard), and the exam is three digits. What the model says to ``q`` before any example is the
unsupervised baseline (how many replies have the form of a sum is shown, lest it is low for that). The supervision gap
recovered is (easy - baseline) / (hard - baseline). Supervision moves the mark's embedding alone, or all weights. Hard
labels are then dealt to other questions, a share of them. The negative control learns the same examples without having
learned the skills. The paper supervises large pretrained models.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.models.transformer import Decoder
from tilth.probes.addition import Addition

__all__ = ["PAPER", "run"]

PAPER = "the_unreasonable_effectiveness_of_easy_training"
SEEDS = 3
SHOWN_BATCH = 16
WAYS = {"the mark alone": True, "all weights": False}
"""What the supervision moves: the embedding of the new mark, as few weights as the paper's probes have, or all."""
Pairs = list[tuple[int, int]]


@dataclass(frozen=True)
class Scale:
    """The skills' training, and the supervision.

    Attributes:
        shown: examples of supervision; easy and hard alike.
        slower: the learning rate at which supervision moves all weights, as a share of the one for the skills.
        noise: shares of hard labels that are dealt to other questions.
    """

    pretrain: int = 20_000
    digits: int = 3
    depth: int = 2
    steps: int = 3000
    batch: int = 64
    rate: float = 3e-3
    shown: int = 160
    tuning: int = 300
    slower: float = 0.2
    noise: tuple[float, ...] = (0.0, 0.2, 0.3, 0.4)
    items: int = 300


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    return statements([marks(Run(seed=seed), scale) for seed in range(SEEDS)], scale.noise)


def statements(found: Sequence[Mapping[str, float]], noise: Sequence[float]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed, for both ways of supervising."""
    none, scratch = _of(found, "none"), _of(found, "scratch")
    rows = []
    for way in WAYS:
        easy, gap = _of(found, f"{way}: easy"), _of(found, f"{way}: hard 0.0") - none
        recovered = (_of(found, f"{way}: easy") - none) / np.where(gap > 0, gap, np.nan)
        gains = {share: easy - _of(found, f"{way}: hard {share}") for share in noise if share >= 0.2}
        rows += [
            lab.row(f"{way}: hard supervision less none, hard exam", "above 0", gap, lab.mean(gap)[1] > 0),
            lab.row(f"{way}: supervision gap recovered by easy examples", "at least 0.7", recovered,
                    bool(recovered.mean() >= 0.7) and lab.mean(gap)[1] > 0),
            *(lab.row(f"{way}: easy less hard with {share:.0%} of its labels dealt", "above 0", gain,
                      lab.mean(gain)[1] > 0) for share, gain in gains.items()),
        ]  # fmt: skip
    context = {
        "none": "no supervision",
        "form": "replies without supervision that have the form of a sum",
        "skill": "the skill: sums of three digits under their own mark",
        **{f"{way}: easy": f"{way}: easy supervision" for way in WAYS},
        **{f"{way}: hard {s}": f"{way}: hard supervision, {s:.0%} of labels dealt" for way in WAYS for s in noise},
    }
    return [
        *rows,
        lab.row("control: easy examples without the skills learned before", "near 0 (here: at most 0.1)", scratch,
                scratch.mean() <= 0.1),
        *(lab.row(said, "", _of(found, name), None) for name, said in context.items()),
    ]  # fmt: skip


def marks(run: Run, scale: Scale) -> dict[str, float]:
    """Exact match on unseen hard questions by supervision: none, ``WAY: easy``, ``WAY: hard SHARE`` of labels dealt.

    ``form`` is the share of replies before any that look like sums, ``skill`` the exam asked with the sum's own mark,
    ``scratch`` easy supervision of a model that learned nothing before.
    """
    world = Addition(low=1, digits=scale.digits, items=scale.items).build(scale.pretrain, run)
    assert world.goal is not None
    easy, hard = split(world.pool, scale.digits)
    exam = split(world.goal.holdout, scale.digits)[1]
    taught, easy, hard = [*easy[scale.shown :], *hard[scale.shown :]], easy[: scale.shown], hard[: scale.shown]
    width = scale.digits
    vocab = lab.Vocab.of(["smq0123456789+="], lab.CHARACTERS)
    exam_sums = sums(exam, width)

    def said(learner: Decoder, mark: str = "q") -> list[str]:
        return lab.answers(learner, vocab, asks(mark, exam, width), width + 2)

    def right(learner: Decoder, mark: str = "q") -> float:
        return float(np.mean([text == wanted for text, wanted in zip(said(learner, mark), exam_sums, strict=True)]))

    with threads(1):
        fresh = lab.decoder(scale.depth, len(vocab), 24, run)
        model = copy.deepcopy(fresh)
        options = Options(rate=scale.rate, batch=scale.batch, precision=precision_of("auto"))
        prompts = [*asks("s", taught, width), *asks("m", taught, width)]
        replies = [*sums(taught, width), *largest(taught, width)]
        lab.tune(model, lab.talks(vocab, prompts, replies), scale.steps, run, options)

        def after(start: Decoder, shown: Pairs, replies: list[str], rate: float, only: bool = False) -> float:
            learner = copy.deepcopy(start)
            if only:
                freeze_but(learner, vocab.ids["q"])
            few = replace(options, rate=rate, batch=SHOWN_BATCH)
            lab.tune(learner, lab.talks(vocab, asks("q", shown, width), replies), scale.tuning, run.at("shown"), few)
            return right(learner)

        gentle = scale.slower * options.rate
        out = {
            "none": right(model),
            "form": float(np.mean([text.isdigit() and len(text) == width + 1 for text in said(model)])),
            "skill": right(model, "s"),
            "scratch": after(fresh, easy, sums(easy, width), options.rate),
        }
        for way, only in WAYS.items():
            rate = options.rate if only else gentle
            out[f"{way}: easy"] = after(model, easy, sums(easy, width), rate, only)
            for share in scale.noise:
                labels = dealt(sums(hard, width), share, run.rng("noise"))
                out[f"{way}: hard {share}"] = after(model, hard, labels, rate, only)
    return out


def freeze_but(model: Decoder, token: int) -> None:
    """Leave nothing to train but the embedding of one token."""
    model.requires_grad_(False)
    table = model.embedding.weight.requires_grad_(True)
    kept = torch.zeros(len(table), 1)
    kept[token] = 1
    table.register_hook(lambda gradient: gradient * kept)  # type: ignore[no-untyped-call]


def split(pool: Pool, digits: int) -> tuple[Pairs, Pairs]:
    """The pairs of numbers of a pool of sums: those with fewer digits, and those with so many."""
    out: tuple[Pairs, Pairs] = ([], [])
    for truth in pool.column("truth").to_pylist():
        out[truth["digits"] == digits].append((int(truth["a"]), int(truth["b"])))
    return out


def dealt(labels: Sequence[str], share: float, rng: np.random.Generator) -> list[str]:
    """The labels, a share of them passed on to the next of those chosen."""
    out = list(labels)
    chosen = rng.permutation(len(out))[: round(share * len(out))].tolist()
    for i, j in zip(chosen, [*chosen[1:], *chosen[:1]], strict=True):
        out[i] = labels[j]
    return out


def asks(mark: str, pairs: Pairs, width: int) -> list[str]:
    """Questions; numbers are filled up with zeros, so that places stand where they always stand."""
    return [f"{mark}{a:0{width}d}+{b:0{width}d}=" for a, b in pairs]


def sums(pairs: Pairs, width: int) -> list[str]:
    """The sums, the units first and filled up with zeros."""
    return [f"{a + b:0{width + 1}d}"[::-1] for a, b in pairs]


def largest(pairs: Pairs, width: int) -> list[str]:
    """The larger number of each pair, written as sums are."""
    return [f"{max(pair):0{width + 1}d}"[::-1] for pair in pairs]


def _of(found: Sequence[Mapping[str, float]], name: str) -> npt.NDArray[np.float64]:
    return np.array([f[name] for f in found])
