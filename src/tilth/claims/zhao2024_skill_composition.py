"""Can Models Learn Skill Composition from Examples? (Zhao et al. 2024, arXiv 2409.19808): more skills than trained on.

A decoder of 2 layers with one token per word learns to write a sentence on a topic that shows some skills: one, up to
two, or up to three at once. It is then asked for two to five at once, in sets that no arm was trained on, and for sets
with a skill of a category that was only ever shown alone. Code tells which skills a sentence shows. Sentences of more
skills are longer, so the arms read as many tokens of replies, not as many sentences. In the control the replies are
dealt to other prompts. Three seeds draw sentences, weights and order. The paper tunes models of 7 and 13 billion
weights, that know the skills beforehand, on texts by GPT-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.skill_mix import SkillMix, full_marks

__all__ = ["PAPER", "run", "statements"]

PAPER = "can_models_learn_skill_composition_from"
SEEDS = 3
TRAINED = (1, 2, 3)
ASKED = (2, 3, 4, 5)
OPEN, HIDDEN = "open", "hidden"
NAMES = {OPEN: "skills composed in training", HIDDEN: "with a skill shown only alone"}
Floats = npt.NDArray[np.float64]
Marks = Mapping[tuple[str, int], float]
"""Share of full marks by whether skills of the hidden category are asked for, and by how many skills are."""


@dataclass(frozen=True)
class Scale:
    """Sentences, questions and training; `tokens` are those of replies that every arm learns from."""

    records: int = 4000
    items: int = 400
    depth: int = 2
    tokens: int = 400_000
    batch: int = 32


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale, seeds = Scale(), range(SEEDS)
    found = {most: [marked(most, Run(seed=seed), scale) for seed in seeds] for most in TRAINED}
    return statements(found, [marked(TRAINED[-1], Run(seed=seed), scale, dealt=True) for seed in seeds])


def statements(found: Mapping[int, Sequence[Marks]], control: Sequence[Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marked` gives of each seed in each arm."""

    def of(most: int, side: str, count: int) -> Floats:
        return np.array([marks[side, count] for marks in found[most]])

    def gain(side: str, count: int, more: int = 3, less: int = 1) -> Floats:
        return of(more, side, count) - of(less, side, count)

    four, five = gain(OPEN, 4), gain(OPEN, 5)
    dealt = np.array([marks[OPEN, 4] for marks in control])
    steps = [gain(OPEN, 4, 2, 1), gain(OPEN, 4, 3, 2)]
    return [
        lab.row("4 skills asked: trained on up to 3 less on 1", "at least 0.15 more", four,
                four.mean() >= 0.15 and lab.mean(four)[1] > 0),
        lab.row("4 skills asked: trained on up to 2 less on 1", "above 0", steps[0], lab.mean(steps[0])[1] > 0),
        lab.row("4 skills asked: trained on up to 3 less on up to 2", "above 0", steps[1], lab.mean(steps[1])[1] > 0),
        lab.row("5 skills asked: trained on up to 3 less on 1", "above 0", five, lab.mean(five)[1] > 0),
        *(lab.row(f"{count} skills asked, at least one shown only alone: trained on up to 3 less on 1", "above 0",
                  gain(HIDDEN, count), lab.mean(gain(HIDDEN, count))[1] > 0) for count in (2, 4)),
        lab.row("control: 4 skills asked, trained on up to 3, replies dealt to other prompts",
                "0 (here: at most 0.05)", dealt, dealt.mean() <= 0.05),
        *(lab.row(f"{count} asked, {NAMES[side]}: trained on {'up to ' * (most > 1)}{most}", "", of(most, side, count),
                  None) for side in NAMES for count in ASKED for most in TRAINED),
    ]  # fmt: skip


def marked(most: int, run: Run, scale: Scale, dealt: bool = False) -> dict[tuple[str, int], float]:
    """Share of full marks by side and number of skills after training on up to `most` skills at once.

    Args:
        dealt: every reply goes to another prompt.
    """
    probe = SkillMix(most=most, test_least=ASKED[0], test_most=ASKED[-1], items=scale.items)
    world = probe.build(scale.records, run)
    assert world.goal is not None
    exams = {OPEN: world.goal.holdout, HIDDEN: world.more["hidden"]}
    prompts, replies = lab.asked(world.pool)
    if dealt:
        replies = [*replies[1:], *replies[:1]]
    asks, says = _spaced(prompts, "\n"), _spaced(replies)
    questions = {side: _spaced(lab.asked(pool)[0], "\n") for side, pool in exams.items()}
    answers = [text for pool in exams.values() for text in lab.asked(pool)[1]]
    vocab = lab.Vocab.of([*asks, *says, *(q for some in questions.values() for q in some)], lab.WORDS)
    longest = max(len(text.split()) for text in answers) * 2  # a sign is a token as well
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 96, run)
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
        talks = lab.talks(vocab, asks, says)
        lab.tune(model, talks, updates(int(talks.learned.sum()), len(asks), scale), run, options)
        said = {side: [t.strip() for t in lab.answers(model, vocab, some, longest)] for side, some in questions.items()}
    marks = {side: full_marks(pool, said[side]) for side, pool in exams.items()}
    return {(side, count): marks[side][str(count)] for side in exams for count in ASKED}


def updates(learned: int, records: int, scale: Scale) -> int:
    """Updates after which as many tokens of replies were read as every arm reads, of replies that have so many."""
    return round(scale.tokens / (learned / records * scale.batch))


def _spaced(texts: list[str], end: str = "") -> list[str]:
    """A blank before every text, so that its first word has one token wherever it stands."""
    return [f" {text}{end}" for text in texts]
