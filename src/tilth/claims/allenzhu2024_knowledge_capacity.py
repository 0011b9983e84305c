"""Physics of Language Models, part 3.3 (Allen-Zhu and Li 2024, arXiv 2404.05405): bits held, exposures, junk and tags.

A decoder of 2 layers with one token per word reads texts of invented people, each told a number of times in ever new
words, alone or amid seven times as many texts of people told once. How much it holds of what there is to know about
the useful people is told from its losses on their names and values (`tilth.models.knowledge`). The control asks the
same of people who are in no text. The paper demands more bits than its models can hold; here there are far fewer to
learn, so what is compared is how much is learned, not how much fits.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tilth.claims import _lab as lab
from tilth.core import Pool, Run
from tilth.models.batches import windows_to_score
from tilth.models.knowledge import bits, ceiling
from tilth.models.optim import Options, precision_of
from tilth.models.train import record_losses, threads
from tilth.models.transformer import Decoder
from tilth.probes.knowledge_bits import KnowledgeBits, spans

__all__ = ["PAPER", "run"]

PAPER = "physics_of_language_models_2"
SEEDS = 3


@dataclass(frozen=True)
class Scale:
    """Useful people, how often each is told, the share of junk among the texts, and the training."""

    people: int = 50
    few: int = 30
    many: int = 100
    junk: float = 7 / 8
    repeated: int = 20
    depth: int = 2
    context: int = 128
    batch: int = 4


@dataclass(frozen=True)
class Found:
    """Bits held as a share of all there are to know, about the people told and as many who are not; bits a parameter.

    Shares are not cut off at 0: a model that is surer than even guesses, and wrong, holds less than nothing.
    """

    told: float
    untold: float
    per_parameter: float
    most: float


def arms(scale: Scale) -> dict[str, KnowledgeBits]:
    """The worlds that are compared, by name."""
    few, junk = scale.few, scale.junk
    return {
        "few": KnowledgeBits(exposures=few),
        "many": KnowledgeBits(exposures=scale.many),
        "junk": KnowledgeBits(exposures=few, junk_ratio=junk),
        "tagged": KnowledgeBits(exposures=few, junk_ratio=junk, tag=True),
        "repeated": KnowledgeBits(exposures=few, junk_ratio=junk, junk_people=scale.repeated),
    }


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = {name: [measured(probe, Run(seed=seed), scale) for seed in range(SEEDS)]
             for name, probe in arms(scale).items()}  # fmt: skip
    return statements(found, scale)


def statements(found: Mapping[str, Sequence[Found]], scale: Scale) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""
    few, many, junk, tagged, repeated = (
        np.array([f.told for f in found[name]]) for name in ("few", "many", "junk", "tagged", "repeated")
    )
    untold = np.array([[f.untold for f in arm] for arm in found.values()]).max(0)
    more, lost, back, same = many - few, few - junk, tagged - junk, repeated - few
    ratio = few / np.maximum(junk, 1e-3)
    share = back / np.maximum(lost, 1e-3)
    named = {
        "few": f"told {scale.few} times",
        "many": f"told {scale.many} times",
        "junk": f"told {scale.few} times amid junk",
        "tagged": f"told {scale.few} times amid junk, marked",
        "repeated": f"told {scale.few} times amid junk about {scale.repeated} people",
    }
    return [
        lab.row(f"told {scale.many} times less {scale.few} times: share of the bits held", "above 0", more,
                lab.mean(more)[1] > 0),
        lab.row("without junk less with: share of the bits held", "above 0", lost, lab.mean(lost)[1] > 0),
        lab.row("without junk over with", "20 at 100 exposures (here: at least 3)", ratio, ratio.mean() >= 3),
        lab.row("useful texts marked less not, amid junk", "above 0", back, lab.mean(back)[1] > 0),
        lab.row("share of what junk costs that the mark gives back", "most of it (here: at least 0.5)", share,
                share.mean() >= 0.5),
        lab.row("junk about few people less no junk", "harmless (here: at least -0.05)", same, same.mean() >= -0.05),
        lab.row("control: people who are in no text, most of all arms", "0 or less (here: at most 0.05)", untold,
                untold.mean() <= 0.05),
        *(lab.row(f"{named[name]}: share of the bits held", "", [f.told for f in arm], None)
          for name, arm in found.items()),
        lab.row(f"{named['many']}: bits a parameter", "", [f.per_parameter for f in found["many"]], None),
        lab.row(f"{named['many']}: bits there are, a parameter", "", [f.most for f in found["many"]], None),
    ]  # fmt: skip


def measured(probe: KnowledgeBits, run: Run, scale: Scale) -> Found:
    """Read the pool once and be scored on the useful people, and on as many people of another world."""
    size = round(scale.people * probe.exposures / (1 - probe.junk_ratio))
    world, other = probe.build(size, run), probe.build(size, run.at("others"))
    assert world.goal is not None
    assert other.goal is not None
    texts, told, untold = (_texts(pool) for pool in (world.pool, world.goal.holdout, other.goal.holdout))
    vocab = lab.Vocab.of([*texts, *told, *untold], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), scale.context, run)
        data = vocab.encode_batch(texts)
        total = int((np.diff(data[0]) + 1).sum())
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
        lab.read(model, data, total, run, options)
        count = len(told)
        held = bits(*knowledge_losses(model, vocab, world.goal.holdout), count).total
        none = bits(*knowledge_losses(model, vocab, other.goal.holdout), count).total
    parameters = sum(p.numel() for p in model.parameters())
    most = ceiling(count)
    return Found(held / most, none / most, held / parameters, most / parameters)


def knowledge_losses(model: Decoder, vocab: lab.Vocab, pool: Pool) -> tuple[float, float]:
    """p1 and p2 of `tilth.models.knowledge.bits`: mean nats of a name, and of pronoun and values together."""
    texts, truth = _texts(pool), pool.column("truth").to_pylist()
    found = []
    for names in (True, False):
        counted = [flag for text, row in zip(texts, truth, strict=True) for flag in _counted(text, row, names)]
        data = windows_to_score(*vocab.encode_batch(texts), model.config.context, lab.END, np.array(counted))
        found.append(float(record_losses(model, data)[0].mean()))
    return found[0], found[1]


def _counted(text: str, truth: Mapping[str, Any], names: bool) -> list[bool]:
    """Which pieces of a text, to which a space was added in front, belong to the name or to the values."""
    name, values = spans(truth)
    chosen = [name] if names else values
    return [any(a <= m.end() - 2 < b for a, b in chosen) for m in re.finditer(lab.WORDS, text)]


def _texts(pool: Pool) -> list[str]:
    return [f" {text}" for text in pool.column("text").to_pylist()]
