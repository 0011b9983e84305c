"""When Can Models Learn From Explanations? (Hase and Bansal 2021, arXiv 2102.02201): on their synthetic task.

A record is a list of numbers whose label says which of two hidden numbers occurs more often; an explanation of another
record of the same task tells the hidden ones. A small encoder with one token per number learns the label from the
record alone, with an explanation found by the task's number after it, with explanations that tell wrong numbers, and
with explanations found where the task's number is missing, which are any task's. All arms take as many records and
updates. In the control labels are dealt to other records. Three seeds draw tasks, records, weights and order. The
paper's model is pretrained, its lists are longer and a second number says which of two pairs counts; here one pair
always does. Finding the explanation is not learned here, as it is in the paper: the task's number finds it.
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
from tilth.models.transformer import Classifier
from tilth.models.tune import classify, train_classifier
from tilth.probes.explanations import Explanations, relevant

__all__ = ["PAPER", "run"]

PAPER = "when_can_models_learn_from_explanations"
SEEDS = 3
TOKENS = r"(?s) ?\S+|."
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
ALONE, FOUND, WRONG, LOST, DEALT = (
    "record alone", "explanation found by task", "wrong explanation", "no number of the task", "labels dealt",
)  # fmt: skip


@dataclass(frozen=True)
class Scale:
    """Records and training."""

    records: int = 3000
    per_task: int = 15
    tests: int = 5
    length: int = 12
    largest: int = 20
    depth: int = 2
    steps: int = 1200
    batch: int = 32
    rate: float = 1e-3


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    arms = (ALONE, FOUND, WRONG, LOST, DEALT)
    return statements({arm: np.array([right(arm, Run(seed=s), scale) for s in range(SEEDS)]) for arm in arms})


def statements(found: Mapping[str, Floats]) -> list[dict[str, Any]]:
    """The paper's statements, judged on the share of right labels of each seed in each arm."""
    gain, wrong, lost = (found[a] - found[b] for a, b in ((FOUND, ALONE), (WRONG, ALONE), (FOUND, LOST)))
    return [
        lab.row(FOUND, "above 0.95 (here: at least 0.9)", found[FOUND], found[FOUND].mean() >= 0.9),
        lab.row(ALONE, "below 0.65 (here: below 0.7)", found[ALONE], found[ALONE].mean() < 0.7),
        lab.row(f"{FOUND} less {ALONE}", "above 0", gain, lab.mean(gain)[1] > 0),
        lab.row(f"{FOUND} less {LOST}", "above 0", lost, lab.mean(lost)[1] > 0),
        lab.row(f"{WRONG} less {ALONE}", "no gain (here: at most 0.05)", wrong, wrong.mean() <= 0.05),
        lab.row("control: explanation found, labels dealt to other records", "chance (0.5)", found[DEALT],
                abs(found[DEALT].mean() - 0.5) <= 0.05),
        *(lab.row(arm, "", found[arm], None) for arm in (WRONG, LOST)),
    ]  # fmt: skip


def right(arm: str, run: Run, scale: Scale) -> float:
    """Share of right labels on new records of the trained tasks."""
    probe = Explanations(
        per_task=scale.per_task, tests=scale.tests, length=scale.length, max_int=scale.largest, indicator=False,
        index=arm != LOST, told="wrong" if arm == WRONG else "full",
    )  # fmt: skip
    world = probe.build(scale.records, run)
    test = world.more["test"]
    texts, asked = (pool.column("text").to_pylist() for pool in (world.pool, test))
    labels = np.array([int(label) for label in world.pool.column("label").to_pylist()])
    if arm == DEALT:
        labels = labels[run.rng("dealt").permutation(labels.size)]
    shown, questions = (_spaced(rows) for rows in (texts, asked))
    if arm != ALONE:
        told = world.pool.column("explanation").to_pylist()
        shown, questions = explained(texts, told, texts, run), explained(texts, told, asked, run)
    vocab = lab.Vocab.of([*shown, *questions], TOKENS)
    with threads(1):
        model = Classifier(lab.decoder(scale.depth, len(vocab), 64, run, causal=False), 2)
        # Embeddings that move faster learn single records by heart before anything is counted.
        options = Options(rate=scale.rate, faster=2.0, batch=scale.batch, precision=precision_of("auto"))
        order = lab.order(labels.size, scale.steps * scale.batch, run)
        train_classifier(model, vocab.encode_batch(shown), labels, order, options)
        model.eval()
        said = classify(model, vocab.encode_batch(questions)).argmax(1)
    return probe.grade(world, said.tolist())


def explained(texts: list[str], told: list[str], asked: list[str], run: Run) -> list[str]:
    """The asked records, each before the explanation of a record with the same first number, never its own."""
    rng = run.rng("explained", "pool" if asked is texts else "test")
    alike: dict[str, list[int]] = {}
    for i, text in enumerate(texts):
        alike.setdefault(text.split(maxsplit=1)[0], []).append(i)
    out = []
    for i, text in enumerate(asked):
        near = alike[text.split(maxsplit=1)[0]]
        itself = near.index(i) if asked is texts else None
        chosen = relevant([texts[n] for n in near], text, itself)
        out.append(f" {text} : {told[near[chosen[int(rng.integers(len(chosen)))]]]}")
    return out


def _spaced(texts: list[str]) -> list[str]:
    return [f" {text}" for text in texts]
