"""Rehearsal-free continual learning (Smith et al. 2023, arXiv 2203.17269): from a pretrained model, plain L2 is enough.

A decoder of 2 layers reads requests of a hundred intents (CLINC150, no labels), then learns five tasks of ten other
intents each, one after the other, without a text of an earlier one. The loss is over the task's own classes. Arms hold
the body to its weights before the task alike (L2) or by their Fisher information (EWC), or what it says of earlier
classes (answers) or what its last layer reads (features) to a frozen copy's. Strengths are chosen for the mean accuracy
on the first two tasks, with another seed, weights pretrained. Forgetting is judged within a task's classes, as is the
paper's from-scratch ordering; accuracy over all fifty classes is shown. The paper learns images with ResNet and ViT.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import reading_order
from tilth.models.continual import Tasks, answers_kept, classifier_fisher, ewc, features_kept, l2
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator, threads
from tilth.models.transformer import Classifier, Decoder
from tilth.models.tune import Texts, classify, train_classifier

__all__ = ["PAPER", "run"]

PAPER = "a_closer_look_at_rehearsalfree_continual"
FILE = "C_labeled/clinc150"
SEEDS = 3
TUNING = 100
"""The seed that strengths are chosen with."""
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "none": (0.0,),
    "l2": (1.0, 10.0, 100.0),
    "ewc": (1e4, 1e6, 1e8),
    "answers": (0.3, 1.0, 3.0),
    "features": (0.1, 1.0, 10.0),
}
Found = Mapping[str, float]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Tasks, texts, model and training.

    Attributes:
        tasks, classes: how many tasks, and intents of each.
        texts, held: of each intent, trained on and held out.
        tokens: read before the first task.
        rate: peak learning rate of each task.
        informed: texts of a task that its Fisher information is taken from.
    """

    tasks: int = 5
    classes: int = 10
    texts: int = 50
    held: int = 20
    vocab: int = 1024
    depth: int = 2
    context: int = 32
    tokens: int = 400_000
    epochs: int = 5
    batch: int = 16
    rate: float = 1e-3
    informed: int = 200


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when the intents are missing.
    """
    (rows,) = lab.records(data, FILE)
    scale = Scale()
    strengths = chosen(World(rows, Run(seed=TUNING), scale))
    found = [measured(World(rows, Run(seed=seed), scale), strengths) for seed in range(SEEDS)]
    return statements(found, strengths)


def statements(found: Sequence[Mapping[str, Found]], strengths: Mapping[str, float]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed."""

    def of(arm: str, name: str = "forgetting") -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    ewc_less_l2, less = of("ewc") - of("l2"), of("none") - of("ewc")
    kept = of("none") - of("l2")
    scratch = of("answers, from scratch", "average") - of("l2, from scratch", "average")
    return [
        lab.row("pretrained: forgetting, none less L2", "above 0", kept, lab.mean(kept)[1] > 0),
        lab.row("pretrained: forgetting, none less EWC", "above 0", less, lab.mean(less)[1] > 0),
        lab.row("pretrained: forgetting, EWC less L2", "above 0", ewc_less_l2, lab.mean(ewc_less_l2)[1] > 0),
        lab.row("from scratch: average accuracy, answers less L2", "above 0", scratch, lab.mean(scratch)[1] > 0),
        *(lab.row(f"{arm}: {name}" + (f" (strength {strengths[arm]:g})" if arm in strengths else ""), "",
                  of(arm, name), None)
          for arm in found[0] for name in found[0][arm]),
    ]  # fmt: skip


def chosen(world: World) -> dict[str, float]:
    """Of each arm the strength with the best mean accuracy on the first two tasks."""
    start = world.pretrained()
    best = {}
    for arm, strengths in STRENGTHS.items():
        marks = [world.learned(start, arm, strength, 2)["average"] for strength in strengths]
        best[arm] = strengths[int(np.argmax(marks))]
    return best


def measured(world: World, strengths: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Measures of each arm, from the pretrained weights and, of some, from fresh ones."""
    start, fresh = world.pretrained(), world.fresh()
    found = {arm: world.learned(start, arm, strength) for arm, strength in strengths.items()}
    for arm in ("none", "l2", "answers"):
        found[f"{arm}, from scratch"] = world.learned(fresh, arm, strengths[arm])
    return found


class World:
    """Requests of many intents: those of the tasks with labels, in order, the others as text to read before.

    Args:
        rows: records with a text and a label.
    """

    def __init__(self, rows: Sequence[Mapping[str, Any]], run: Run, scale: Scale) -> None:
        self.run, self.scale = run, scale
        by: dict[str, list[str]] = {}
        for row in rows:
            if row["label"] != "oos":
                by.setdefault(row["label"], []).append(row["text"])
        names = [str(name) for name in run.rng("tasks").permutation(sorted(by))]
        count = scale.tasks * scale.classes
        other = [text for name in names[count:] for text in by[name]]
        tokenizer = Tokenizer.train(other, scale.vocab)
        self.vocab, self.reading = tokenizer.vocab_size, tokenizer.encode_batch(other)
        self.parts: dict[str, tuple[Texts, Ints]] = {}
        texts = {name: [by[name][i] for i in run.rng("texts", name).permutation(len(by[name]))] for name in names}
        for part, start, end in (("train", 0, scale.texts), ("held", scale.texts, scale.texts + scale.held)):
            said = [text for name in names[:count] for text in texts[name][start:end]]
            labels = np.array([i for i, name in enumerate(names[:count]) for _ in texts[name][start:end]])
            self.parts[part] = tokenizer.encode_batch(said), labels

    def fresh(self) -> Decoder:
        """Untrained weights."""
        return lab.decoder(self.scale.depth, self.vocab, self.scale.context, self.run)

    def pretrained(self) -> Decoder:
        """Weights after reading."""
        with threads(1):
            model = self.fresh()
            options = Options(rate=model.config.rate, batch=32)
            lab.read(model, self.reading, self.scale.tokens, self.run.at("read"), options)
        return model

    def learned(self, start: Decoder, arm: str, strength: float, tasks: int | None = None) -> dict[str, float]:
        """The measures of `Tasks` after so many tasks, all by default, and the accuracy over all their classes."""
        tasks = tasks or self.scale.tasks
        model = Classifier(copy.deepcopy(start).requires_grad_(True), self.scale.tasks * self.scale.classes)
        with threads(1):
            marks = []
            summed: dict[str, Any] | None = None
            for task in range(tasks):
                summed = self._learn(model, task, arm, strength, summed)
                marks.append([self.right(model, j, self.classes(j)) for j in range(tasks)])
            seen = [c for j in range(tasks) for c in self.classes(j)]
            whole = float(np.mean([self.right(model, j, seen) for j in range(tasks)]))
        return {**Tasks(np.array(marks)).report(), "accuracy over all classes": whole}

    def classes(self, task: int) -> list[int]:
        """Those of a task."""
        return [*range(task * self.scale.classes, (task + 1) * self.scale.classes)]

    def right(self, model: Classifier, task: int, classes: Sequence[int]) -> float:
        """Accuracy on a task's held-out texts, the answer being one of these classes."""
        texts, labels = self.parts["held"]
        rows = np.flatnonzero(np.isin(labels, self.classes(task)))
        model.eval()
        said = np.asarray(classes)[classify(model, _some(texts, rows))[:, list(classes)].argmax(1)]
        return float((said == labels[rows]).mean())

    def _learn(
        self, model: Classifier, task: int, arm: str, strength: float, summed: dict[str, Any] | None
    ) -> dict[str, Any] | None:
        """Train on one task; returns the Fisher information of all so far, for EWC."""
        texts, labels = self.parts["train"]
        rows = np.flatnonzero(np.isin(labels, self.classes(task)))
        hooks: dict[str, Any] = {}
        if task and arm == "l2":
            hooks["stepped"] = l2(model, strength, _body)
        elif task and arm == "ewc":
            assert summed is not None
            hooks["stepped"] = ewc(model, summed, strength)
        elif task and arm in ("answers", "features"):
            teacher, earlier = copy.deepcopy(model), [c for j in range(task) for c in self.classes(j)]
            answers = arm == "answers"
            hooks["beside"] = (
                answers_kept(teacher, texts, strength, earlier) if answers else features_kept(teacher, texts, strength)
            )
        order = rows[reading_order(np.full(rows.size, self.scale.epochs), self.run.rng("order", task))]
        options = Options(rate=self.scale.rate, batch=self.scale.batch, faster=1.0, weight_decay=0.0)
        train_classifier(model, texts, labels, order, options, classes=self.classes(task), **hooks)
        if arm != "ewc":
            return None
        some = self.run.rng("fisher", task).permutation(rows)[: self.scale.informed]
        rng = generator(self.run.rng("draws", task))
        found = classifier_fisher(model, texts, some, rng, classes=self.classes(task), only=_body)
        return {name: f + summed[name] if summed is not None else f for name, f in found.items()}


def _body(name: str) -> bool:
    return not name.startswith("head.")


def _some(texts: Texts, rows: Ints) -> Texts:
    """The texts of these rows."""
    offsets, ids = texts
    parts = [ids[offsets[row] : offsets[row + 1]] for row in rows]
    return np.concatenate([[0], np.cumsum([part.size for part in parts])]).astype(np.int64), np.concatenate(parts)
