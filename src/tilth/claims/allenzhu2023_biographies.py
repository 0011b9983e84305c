"""Physics of Language Models, part 3.1 (Allen-Zhu and Li 2023, arXiv 2309.14316): facts told once can not be asked for.

A decoder of 2 layers with one token per word reads biographies of invented people, in one arm a single fixed text of
each, in the other five wordings with their sentences in five orders, as many tokens in both. Then it is tuned on the
questions about half of the people, and answers those about the other half, whom it only read of.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.models.transformer import Decoder
from tilth.probes.biographies import Biographies, marks

__all__ = ["PAPER", "run"]

PAPER = "physics_of_language_models"
SEEDS = 3
SINGLE, MANY = Biographies(rewrites=1, permute=False), Biographies()
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """How many people, and the training: tokens of biographies, then updates on questions."""

    people: int = 100
    tokens: int = 800_000
    depth: int = 2
    context: int = 128
    batch: int = 4
    steps: int = 200
    asked: int = 16


@dataclass(frozen=True)
class Found:
    """Shares of right answers: values completed in the texts read, and questions of both halves of the people."""

    recalled: float
    trained: float
    others: float
    birth_date: float


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    single = [measured(SINGLE, Run(seed=seed), scale) for seed in seeds]
    many = [measured(MANY, Run(seed=seed), scale) for seed in seeds]
    control = [measured(MANY, Run(seed=seed), scale, dealt=True) for seed in seeds]
    return statements(single, many, control)


def statements(single: Sequence[Found], many: Sequence[Found], control: Sequence[Found]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""
    once, often, dealt = (np.array([f.others for f in arm]) for arm in (single, many, control))
    known = np.array([min(a.recalled, b.recalled) for a, b in zip(single, many, strict=True)])
    gap = often - once
    return [
        lab.row("one text each: questions about people only read of", "about 0 to 0.1 (here: at most 0.15)", once,
                once.mean() <= 0.15),
        lab.row("five wordings, permuted: the same", "about 0.96 (here: at least 0.7)", often, often.mean() >= 0.7),
        lab.row("five wordings less one text, equal tokens", "above 0", gap, lab.mean(gap)[1] > 0),
        lab.row("employers completed in the texts read, lower of both arms", "about 1", known, known.mean() >= 0.95),
        lab.row("control: five wordings that name other people", "chance (0.0045)", dealt, dealt.mean() <= 0.05),
        *(lab.row(f"{name}: {what}", "", [getattr(f, field) for f in arm], None)
          for name, arm in (("one text", single), ("five wordings", many))
          for what, field in (("questions tuned on", "trained"), ("birth dates of people only read of", "birth_date"))),
    ]  # fmt: skip


def measured(probe: Biographies, run: Run, scale: Scale, dealt: bool = False) -> Found:
    """Read, be asked, and answer.

    Args:
        dealt: the names of the texts go to other people, so the texts say nothing about those who are asked for.
    """
    world = probe.build(scale.people * probe.rewrites, run)
    texts = [f" {text}" for text in world.pool.column("text").to_pylist()]
    truth = world.pool.column("truth").to_pylist()
    if dealt:
        texts = _dealt(texts, truth)
    (asks, says), (other, _) = (_spaced(world.more[half]) for half in ("qa_train", "qa_test"))
    vocab = lab.Vocab.of([*texts, *asks, *says, *other, *_spaced(world.more["qa_test"])[1]], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), scale.context, run)
        options = Options(rate=model.config.rate, batch=scale.batch)
        lab.read(model, vocab.encode_batch(texts), scale.tokens, run.at("read"), options)
        recalled = _recalled(model, vocab, texts, truth)
        tuned = Options(rate=model.config.rate / 3, batch=scale.asked)
        lab.tune(model, lab.talks(vocab, asks, says), scale.steps, run.at("asked"), tuned)
        trained, others = (lab.answers(model, vocab, some, 8) for some in (asks, other))
    marked = marks(world, [text.strip() for text in others])
    hits = [a.strip() == b.strip() for a, b in zip(trained, says, strict=True)]
    return Found(recalled, float(np.mean(hits)), marked["all"], marked["birth_date"])


def _recalled(model: Decoder, vocab: lab.Vocab, texts: list[str], truth: list[dict[str, Any]]) -> float:
    """The share of employers written out when everything before them in a text read is given."""
    cues = [text[: text.index(f" {row['employer']}")] for text, row in zip(texts, truth, strict=True)]
    said = lab.answers(model, vocab, cues, 3)
    return float(np.mean([a.startswith(f" {row['employer']}") for a, row in zip(said, truth, strict=True)]))


def _dealt(texts: list[str], truth: list[dict[str, Any]]) -> list[str]:
    names = {row["person"]: row["name"] for row in truth}
    people = sorted(names)
    other = dict(zip(people, [*people[1:], *people[:1]], strict=True))
    return [t.replace(row["name"], names[other[row["person"]]]) for t, row in zip(texts, truth, strict=True)]


def _spaced(pool: Pool) -> tuple[list[str], list[str]]:
    prompts, replies = lab.asked(pool)
    return [f" {prompt}" for prompt in prompts], [f" {reply}" for reply in replies]
