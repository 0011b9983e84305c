"""Sometimes I am a Tree (Qin et al. 2024, arXiv 2412.04619): what is only repeated decides how questions are formed.

A decoder of 3 layers with one token per word reads statements that are repeated or turned into questions, both by both
rules alike. A share of the repeated statements has a clause inside the subject. It is then asked for questions whose
subject has one: which auxiliary comes first, the main clause's (the rule about structure) or the first one (the rule
about words)? All arms take as many records and updates. In one arm the statements come from five trees of either shape;
in the control every question of training starts with an auxiliary drawn at random. Four seeds draw sentences, weights
and order. The paper's models are larger and train far longer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import f

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.grammar import AUXILIARIES, Grammar, rules

__all__ = ["PAPER", "run"]

PAPER = "sometimes_i_am_a_tree"
SEEDS = 4
TOKENS = r"(?s) ?\S+|."
"""Words as blanks part them: ``don't`` is one."""
AUXILIARY = tuple(word for words in AUXILIARIES.values() for word in words)
CHANCE = 1 / len(AUXILIARY)
Floats = npt.NDArray[np.float64]
Marks = Mapping[str, Floats]
SOME, MUCH, FEW, CONTROL = "0.2", "0.8", "0.8, five trees", "0.8, questions at random"


@dataclass(frozen=True)
class Scale:
    """Sentences and training."""

    records: int = 10_000
    items: int = 200
    depth: int = 3
    steps: int = 450
    batch: int = 32


ARMS = {
    "0": Grammar(p_center=0.0, depth=1),
    SOME: Grammar(p_center=0.2, depth=1),
    MUCH: Grammar(p_center=0.8, depth=1),
    FEW: Grammar(p_center=0.8, depth=1, trees=5),
    CONTROL: Grammar(p_center=0.8, depth=1),
}


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = {}
    for name, probe in ARMS.items():
        seeds = [followed(probe, Run(seed=seed), scale, at_random=name == CONTROL) for seed in range(SEEDS)]
        found[name] = {key: np.array([marks[key] for marks in seeds]) for key in seeds[0]}
    return statements(found)


def statements(found: Mapping[str, Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on the seeds' shares of either rule in each arm."""
    main = {name: marks["main"] for name, marks in found.items()}
    gain, varied = main[MUCH] - main["0"], main[MUCH] - main[FEW]
    some, other = float(main[SOME].var(ddof=1)), max(float(main[name].var(ddof=1)) for name in ("0", MUCH))
    free = main[SOME].size - 1
    apart = some > other * float(f.ppf(0.95, free, free))  # else so few seeds may differ by chance
    words = found["0"]["linear"]
    return [
        lab.row("no clause inside a subject: rule about words", "followed (here: above 0.5)", words,
                words.mean() > 0.5),
        lab.row(f"{MUCH} of statements with one: rule about structure", "followed (here: above 0.5)", main[MUCH],
                main[MUCH].mean() > 0.5),
        lab.row(f"rule about structure, {MUCH} less 0", "above 0", gain, lab.mean(gain)[1] > 0),
        lab.row(f"standard deviation of seeds at {SOME}, less the larger of 0 and {MUCH}", "above 0 (here: F test)",
                [some**0.5 - other**0.5], apart),
        lab.row("rule about structure, all trees less five", "above 0", varied, lab.mean(varied)[1] > 0),
        lab.row(f"control: rule about structure, questions at random; chance is {CHANCE}", "chance", main[CONTROL],
                abs(main[CONTROL].mean() - CHANCE) <= 0.1),
        *(lab.row(f"{name}: {said}", "", marks[key], None) for name, marks in found.items()
          for key, said in (("main", "rule about structure"), ("linear", "rule about words"),
                            ("known", "unseen questions like training"))),
    ]  # fmt: skip


def followed(probe: Grammar, run: Run, scale: Scale, at_random: bool = False) -> dict[str, float]:
    """Shares of the asked questions by the rule they follow, and of right ones among those like training's.

    Args:
        at_random: each question of training starts with an auxiliary drawn at random.
    """
    world = probe.model_copy(update={"items": scale.items}).build(scale.records, run)
    assert world.goal is not None
    prompts, replies = lab.asked(world.pool)
    if at_random:
        rng = run.rng("auxiliaries")
        replies = [
            f"{rng.choice(AUXILIARY)} {reply.split(' ', 1)[1]}" if prompt.endswith(" QUEST") else reply
            for prompt, reply in zip(prompts, replies, strict=True)
        ]
    hidden, like = (lab.asked(pool)[0] for pool in (world.goal.holdout, world.goal.target))
    texts = [f" {prompt} {reply}" for prompt, reply in zip(prompts, replies, strict=True)]
    vocab = lab.Vocab.of([f" {word}" for text in [*texts, *hidden, *like] for word in text.split()], TOKENS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 64, run)
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
        # The statement is learned as well as the reply: what it is like is the only evidence for structure.
        lab.tune(model, lab.talks(vocab, [""] * len(texts), texts), scale.steps, run, options)
        first, known = ([a.strip() for a in lab.answers(model, vocab, [f" {p}" for p in asks], 1)]
                        for asks in (hidden, like))  # fmt: skip
    truth = world.goal.target.column("truth").to_pylist()
    right = [a == t["main"] for a, t in zip(known, truth, strict=True) if t["rule"] == "both"]
    return {**rules(world.goal.holdout, first), "known": float(np.mean(right))}
