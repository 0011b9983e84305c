"""Recognition, recall, and retention of few-shot memories (Orhan 2023, arXiv 2303.17557), with a small transformer.

A decoder of 2 layers reads 3,000 template sentences, then studies 100 new items, each as often as another, at a
constant learning rate. Recognition is the share of items whose loss is below that of a foil of the same shape, recall
the share whose end the model writes word for word after their first five words. Then it reads new sentences only, at
the same constant rate, and is asked again. The control reads new sentences instead of the items, as many. Five seeds
draw items, foils, weights and order. The paper's models have up to 2.8 billion parameters and read the web before.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tilth.claims import _lab as lab
from tilth.core import Run, World
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads
from tilth.models.transformer import Decoder
from tilth.probes.memories import Memories, recall, recognised

__all__ = ["PAPER", "run"]

PAPER = "recognition_recall_and_retention_of_fewshot"
SEEDS = 5
STUDY = Options(rate=3e-3, batch=2, warmup=0, decay="constant", weight_decay=0)
Scores = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """How much is read, studied and measured; updates are of two windows, about eight sentences."""

    items: int = 100
    before: int = 3000
    after: int = 1000
    tokens: int = 400_000
    exposures: tuple[int, ...] = (1, 3, 10, 30)
    updates: tuple[int, ...] = (1, 10, 50, 200)


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = [measured(Run(seed=seed), scale) for seed in range(SEEDS)]

    def of(what: str, at: int, which: int) -> np.ndarray[Any, Any]:
        return np.array([seed[what, at][which] for seed in found])

    few, most, later = scale.exposures[1], scale.exposures[-1], scale.updates[2]
    blank, control = of("sentences", 0, 0), of("control", most, 0)
    once, often = of("sentences", 1, 0), of("sentences", most, 0)
    one, three, full = (of("sentences", n, 1) for n in (1, few, most))
    kept, still = of("retention", later, 1), of("retention", later, 0)
    strings = full - of("strings", most, 1)
    return [
        lab.row("recognition, not studied", "0.5", blank, abs(lab.mean(blank)[0] - 0.5) <= 0.05),
        lab.row(f"control: recognition after {most} rounds of other items", "0.5", control, _around(control)),
        lab.row("recognition, 1 exposure", "near 1 (here: at least 0.95)", once, once.mean() >= 0.95),
        lab.row("recognition, 1 exposure less none", "above 0", once - blank, lab.mean(once - blank)[1] > 0),
        lab.row(f"recognition, {most} exposures", "near 1 (here: at least 0.95)", often, often.mean() >= 0.95),
        lab.row(f"recall, {few} exposures", "near 1 (here: at least 0.9)", three, three.mean() >= 0.9),
        lab.row(f"recall, {few} exposures less 1", "above 0", three - one, lab.mean(three - one)[1] > 0),
        lab.row(f"recall, {most} exposures", "near 1 (here: at least 0.9)", full, full.mean() >= 0.9),
        lab.row(f"recall left after {later} updates on new items", "at most half of what it was", kept,
                full.mean() > 0.1 and kept.mean() <= full.mean() / 2),
        lab.row(f"recognition left after {later} updates", "at least 0.8", still, still.mean() >= 0.8),
        lab.row(f"recall of sentences less that of strings, {most} exposures", "above 0", strings,
                lab.mean(strings)[1] > 0),
        *(lab.row(f"recognition after {n} updates", "falls slowly", of("retention", n, 0), None)
          for n in scale.updates),
        *(lab.row(f"recall after {n} updates", "falls at once", of("retention", n, 1), None) for n in scale.updates),
    ]  # fmt: skip


def measured(run: Run, scale: Scale) -> dict[tuple[str, int], Scores]:
    """Recognition and recall of one seed by what was studied and how often, and of ``retention`` by updates."""
    out: dict[tuple[str, int], Scores] = {}
    with threads(1):
        stream = (scale.before + scale.after) / scale.items
        worlds = {kind: _world(kind, scale.items, stream, run) for kind in ("sentences", "strings")}
        old = worlds["sentences"].more["stream"].column("text").to_pylist()
        tokenizer = Tokenizer.train(old[: scale.before], vocab=700)
        new = tokenizer.encode_batch(old[scale.before :])
        base = lab.decoder(2, tokenizer.vocab_size, 64, run)
        first = Options(rate=base.config.rate, batch=8)
        lab.read(base, tokenizer.encode_batch(old[: scale.before]), scale.tokens, run.at("before"), first)
        for kind, world in worlds.items():
            model, exam = copy.deepcopy(base), _Exam(world, tokenizer)
            other = copy.deepcopy(base) if kind == "sentences" else None
            out[kind, 0] = exam.mark(model)
            done = 0
            for n in scale.exposures:
                lab.read(model, exam.study, (n - done) * exam.tokens, run.at("study", n), STUDY)
                out[kind, n] = exam.mark(model)
                if other is not None:
                    lab.read(other, new, (n - done) * exam.tokens, run.at("study", n), STUDY)
                    out["control", n] = exam.mark(other)
                done = n
            if kind == "sentences":
                done = 0
                for n in scale.updates:
                    lab.read(model, new, (n - done) * STUDY.batch * 64, run.at("new", n), STUDY)
                    out["retention", n], done = exam.mark(model), n
    return out


class _Exam:
    """A world's items as tokens, and the two marks of a model."""

    def __init__(self, world: World, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.study, self.foils = (
            tokenizer.encode_batch(pool.column("text").to_pylist()) for pool in (world.pool, world.more["foils"])
        )
        self.cues: Sequence[str] = world.pool.column("truth.cue").to_pylist()
        self.rests: Sequence[str] = world.pool.column("truth.rest").to_pylist()
        self.tokens = int((np.diff(self.study[0]) + 1).sum())  # each text and its end
        self.longest = int(tokenizer.count([f" {rest}" for rest in self.rests]).max()) + 1

    def mark(self, model: Decoder) -> Scores:
        told = recognised(lab.losses(model, self.study), lab.losses(model, self.foils))
        written = lab.answers(model, self.tokenizer, self.cues, self.longest)
        return float(told.mean()), float(np.mean(recall(self.rests, written)))


def _world(kind: Any, items: int, stream: float, run: Run) -> World:
    return Memories(kind=kind, stream=stream).build(items, run)


def _around(values: np.ndarray[Any, Any]) -> bool:
    return abs(lab.mean(values)[0] - 0.5) <= 0.05
