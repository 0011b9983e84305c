"""What Algorithms can Transformers Learn? (Zhou et al. 2023, arXiv 2310.16028): which tasks go on to longer questions.

A decoder of 2 layers with one token per word learns a task on short questions and is asked questions of the trained
lengths and up to twice as long. Counting and copying different numbers have short programs in RASP-L, parity and
addition with reversed digits have none; with index hints, a token for its place before every token, addition has one.
All take as many updates on as many questions. In the control replies are dealt to other questions. Three seeds draw
questions, weights and order.
The paper trains on longer questions and packs them into long contexts; here each question stands alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.label_sort_hints import LabelSortHints

__all__ = ["PAPER", "run", "statements"]

PAPER = "what_algorithms_can_transformers_learn_a"
SEEDS = 3
TOKENS = r"(?s) ?\S+|."
COUNT, COPY, COPY_HINTS, PARITY, ADD, ADD_HINTS, DEALT = (
    "count", "unique copy", "unique copy, hints", "parity", "reversed addition", "reversed addition, hints",
    "count, replies dealt",
)  # fmt: skip
ARMS: dict[str, tuple[str, bool]] = {
    COUNT: ("count", False), COPY: ("copy_unique", False), COPY_HINTS: ("copy_unique", True),
    PARITY: ("parity", False), ADD: ("add_reverse", False), ADD_HINTS: ("add_reverse", True), DEALT: ("count", False),
}  # fmt: skip
"""The task, and whether it has index hints."""
Floats = npt.NDArray[np.float64]
Marks = Mapping[str, Floats]


@dataclass(frozen=True)
class Scale:
    """Questions and training."""

    records: int = 20_000
    train: int = 10
    test: int = 20
    vocabulary: int = 100
    items: int = 100
    depth: int = 2
    steps: int = 800
    batch: int = 32


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = {}
    for arm in ARMS:
        seeds = [marked(arm, Run(seed=seed), scale) for seed in range(SEEDS)]
        found[arm] = {name: np.array([marks[name] for marks in seeds]) for name in seeds[0]}
    return statements(found)


def statements(found: Mapping[str, Marks]) -> list[dict[str, Any]]:
    """The paper's statements, judged on the seeds' shares of right answers to trained and to longer lengths."""
    longer = {arm: marks["longer"] for arm, marks in found.items()}
    hints, copies = longer[ADD_HINTS] - longer[ADD], longer[COPY_HINTS] - longer[COPY]
    return [
        *(lab.row(f"{arm}, longer", "at least 0.9", longer[arm], longer[arm].mean() >= 0.9) for arm in (COUNT, COPY)),
        # Guessing gets half of the parities right, so what fails is near that.
        lab.row(f"{PARITY}, longer; chance is 0.5", "fails (here: at most 0.6)", longer[PARITY],
                longer[PARITY].mean() <= 0.6),
        lab.row(f"{ADD}, longer", "fails (here: at most 0.2)", longer[ADD], longer[ADD].mean() <= 0.2),
        lab.row(f"{ADD_HINTS}, longer", "at least 0.8", longer[ADD_HINTS], longer[ADD_HINTS].mean() >= 0.8),
        lab.row("gain by hints: reversed addition, longer", "above 0", hints, lab.mean(hints)[1] > 0),
        lab.row("gain by hints: unique copy, longer", "-", copies, None),
        lab.row("control: count, replies dealt, trained lengths", "0", found[DEALT]["same"],
                found[DEALT]["same"].mean() <= 0.05),
        *(lab.row(f"{arm}, {name}", "", found[arm][key], None)
          for arm in ARMS if arm != DEALT for key, name in (("same", "trained lengths"), ("longer", "longer"))),
    ]  # fmt: skip


def marked(arm: str, run: Run, scale: Scale) -> dict[str, float]:
    """Shares of right answers to questions of the trained lengths and to longer ones."""
    task, hints = ARMS[arm]
    probe = LabelSortHints.model_validate(
        {"task": task, "hints": hints} | {k: getattr(scale, k) for k in ("train", "test", "vocabulary", "items")}
    )
    world = probe.build(scale.records, run)
    assert world.goal is not None
    exams = {"same": world.more["same"], "longer": world.goal.holdout}
    asks, says = (_spaced(texts, end) for texts, end in zip(lab.asked(world.pool), (" :", ""), strict=True))
    if arm == DEALT:
        says = [*says[1:], *says[:1]]
    questions = {name: _spaced(lab.asked(pool)[0], " :") for name, pool in exams.items()}
    replies = {name: _spaced(lab.asked(pool)[1], "") for name, pool in exams.items()}
    texts = [text for of in (questions, replies) for some in of.values() for text in some]
    vocab = lab.Vocab.of([*asks, *says, *texts], TOKENS)
    longest = max(len(reply.split()) for some in replies.values() for reply in some) + 1
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), 128, run)
        options = Options(rate=model.config.rate, batch=scale.batch, precision=precision_of("auto"))
        lab.tune(model, lab.talks(vocab, asks, says), scale.steps, run, options)
        said = {name: lab.answers(model, vocab, questions[name], longest) for name in exams}
    rights = {name: pool.column("truth.answer").to_pylist() for name, pool in exams.items()}
    return {
        name: float(np.mean([probe.final(a) == right for a, right in zip(said[name], rights[name], strict=True)]))
        for name in exams
    }


def _spaced(texts: list[str], end: str) -> list[str]:
    """A blank before every word, so that it has one token wherever it stands."""
    return [f" {text}{end}" for text in texts]
