"""Latent learning (Lampinen et al. 2025, arXiv 2509.16189): what was learned one way is not there the other way.

A decoder of 3 layers with one token per syllable learns that a is taught by b for pairs of names, and whom b teaches
for half of them; it is then asked whom b teaches for the others: alone, with the sentence it needs as a note, and with
that among notes it does not need, as an oracle would retrieve them. Its training also has questions about notes with
facts of their own. In the ablation these notes are records by themselves, so that nothing was ever learned in context.
As a control the question comes with the notes of another question. Three seeds draw names, weights and order. Only
reversals are run; the paper also has codebooks, mazes and natural text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.latent_learning import TESTS, LatentLearning, right

__all__ = ["PAPER", "run"]

PAPER = "latent_learning"
SEEDS = 3
TOKENS = r"(?s) is taught by|\bWhom does| teach\?|Notes:|[bdfgklmnprstvz][aeiou]|."
"""Names are three syllables; the other words stand in fixed phrases."""
OTHER = "other notes"
Marks = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """Records and training.

    Attributes:
        size: records of the pool, about; one pair takes 1.5 and `context`.
        distractors: notes that the question does not need, when retrieved and at most in training.
        often: how many times as often facts and their questions are read as records with notes.
    """

    size: int = 16_000
    context: float = 100.0
    distractors: int = 2
    often: int = 20
    depth: int = 3
    steps: int = 1500
    batch: int = 32


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    noted, plain = (
        [marked(Run(seed=seed), scale, in_context) for seed in range(SEEDS)] for in_context in (True, False)
    )
    return statements(noted, plain)


def statements(noted: Sequence[Marks], plain: Sequence[Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on each seed's marks with and without notes in training."""
    told, latent, context, found, other = (np.array([m[n] for m in noted]) for n in (*TESTS, OTHER))
    lost = np.array([m["retrieval"] for m in plain])
    gain, needed = found - latent, found - lost
    return [
        lab.row("sentences as they were learned", "learned (here: at least 0.9)", told, told.mean() >= 0.9),
        lab.row("reversed, the question alone", "chance (here: at most 0.05)", latent, latent.mean() <= 0.05),
        lab.row("reversed, with the sentence it needs", "solved (here: at least 0.9)", context, context.mean() >= 0.9),
        lab.row("reversed, with retrieved sentences", "mostly solved (here: at least 0.8)", found, found.mean() >= 0.8),
        lab.row("retrieved sentences less the question alone", "above 0", gain, lab.mean(gain)[1] > 0),
        lab.row("retrieved sentences, no notes in training", "fails (here: at most 0.4)", lost, lost.mean() <= 0.4),
        lab.row("retrieved sentences, notes in training less none", "above 0", needed, lab.mean(needed)[1] > 0),
        lab.row("control: with another question's notes", "at most the question alone (here: at most 0.05)", other,
                other.mean() <= 0.05),
        *(lab.row(f"no notes in training: {name}", "", [m[name] for m in plain], None)
          for name in ("explicit", "latent", "in_context")),
    ]  # fmt: skip


def marked(run: Run, scale: Scale, in_context: bool) -> dict[str, float]:
    """Share of right answers to each test of the facts whose use was not trained.

    Args:
        in_context: training has notes before questions; else the same sentences and questions by themselves.
    """
    probe = LatentLearning(task="reversal", context=scale.context, distractors=scale.distractors, in_context=in_context)
    world = probe.build(scale.size, run)
    facts = [t["fact"] for t in world.pool.column("truth").to_pylist()]
    fresh = [i for i, fact in enumerate(facts) if fact.startswith("fresh")]
    known = sorted(set(range(len(facts))) - set(fresh))
    # Notes that are records by themselves are more records; both arms are to read the facts as often.
    kept = fresh[: round(scale.context * len({facts[i] for i in known}))]
    rows = [*kept, *(i for i in known for _ in range(scale.often))]
    prompts, replies = ([texts[i] for i in rows] for texts in lab.asked(world.pool))
    says = [f" {reply}" for reply in replies]
    exams = {name: lab.asked(world.more[name]) for name in TESTS}
    exams[OTHER] = swapped(*exams["retrieval"])
    vocab = lab.Vocab.of(
        [*prompts, *says, *(text for asks, wants in exams.values() for text in (*asks, *wants))], TOKENS
    )
    longest = max(vocab.encode_batch([say])[1].size for say in set(says)) + 1
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 128, run)
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
        lab.tune(model, lab.talks(vocab, prompts, says), scale.steps, run, options)
        said = {name: lab.answers(model, vocab, asks, longest) for name, (asks, _) in exams.items()}
    return {name: float(np.mean(right(wants, said[name]))) for name, (_, wants) in exams.items()}


def swapped(asks: list[str], wants: list[str]) -> tuple[list[str], list[str]]:
    """Each question after the notes of another that do not hold its answer."""
    parts = [ask.rpartition("\n\n") for ask in asks]
    out = []
    for i, (_, blank, question) in enumerate(parts):
        turned = [*parts[i + 1 :], *parts[:i]]
        notes = next(notes for notes, _, _ in turned if wants[i] not in notes)
        out.append(f"{notes}{blank}{question}")
    return out, wants
