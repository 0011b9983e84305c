"""Let's Agree to Agree (Hacohen et al. 2019, arXiv 1905.10854): models learn real examples in one order.

A collection is ten models of one kind, trained alike on the same 600 requests of 30 intents (CLINC150); only initial
weights and order of the data differ (of the linear models, which start at zero, the order alone). The share of a
collection that has an example right is its true-positive agreement, and for one model the share of epochs at which it
has it right says how early it learns it. "Early" is the first epoch at which accuracy is half-way from chance to its
best. Three collections of each kind, each on other intents; agreement is that on the training set. In one negative
control the labels are dealt to other requests, so that they are learned by heart; in another the words are drawn too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.agreement import excess, order_correlation, rank_correlation
from tilth.models.batches import reading_order
from tilth.models.linear import Rows, encode_labels, epochs
from tilth.models.optim import Options
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import threads
from tilth.models.transformer import Classifier
from tilth.models.tune import classify, train_classifier

__all__ = ["PAPER", "run"]

PAPER = "lets_agree_to_agree"
FILE = "C_labeled/clinc150"
OUTSIDE = "oos"
"""The label of requests that belong to no class."""
SEEDS = 3
KINDS = ("encoders", "linear models")
CONTEXT = {
    "halves": "rank correlation of the order of one half of the models with the other half",
    "unseen": "the same on unseen sentences",
    "unseen excess": "early: variance ratio on unseen sentences",
    "early": "accuracy when early",
    "last": "accuracy at the end",
}
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Labelled = Sequence[tuple[str, str]]
Control = Literal["", "dealt", "drawn"]


@dataclass(frozen=True)
class Scale:
    """Collections and training.

    Attributes:
        classes: how many of the intents take part.
        slower: learning rate of the encoders, as a share of the usual one, so that an epoch shows what comes early.
        rate: step size of the linear models, low for the same reason.
    """

    models: int = 10
    classes: int = 30
    train: int = 600
    unseen: int = 300
    epochs: int = 12
    vocab: int = 1024
    batch: int = 16
    slower: float = 0.1
    rate: float = 0.1


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds.

    Raises:
        UsageError: when the labelled sentences are missing.
    """
    (records,) = lab.records(data, FILE)
    scale = Scale()
    inside = [(r["text"], r["label"]) for r in records if r["label"] != OUTSIDE]
    found = [marks(inside, Run(seed=seed), scale) for seed in range(SEEDS)]
    dealt = [marks(inside, Run(seed=seed), scale, "dealt") for seed in range(SEEDS)]
    drawn = [marks(inside, Run(seed=seed), scale, "drawn") for seed in range(SEEDS)]
    return statements(found, dealt, drawn)


def statements(
    found: Sequence[Mapping[str, float]], dealt: Sequence[Mapping[str, float]], drawn: Sequence[Mapping[str, float]]
) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed: true labels, dealt labels, drawn words."""
    rows = []
    for kind in KINDS:
        ends, middle, over, order = (_of(found, f"{kind}: {name}") for name in ("ends", "middle", "excess", "order"))
        rows += [
            lab.row(f"{kind}, early: examples at the lower of two peaks less those in the middle, per place", "above 0",
                    ends - middle, lab.mean(ends - middle)[1] > 0),
            lab.row(f"{kind}, early: variance of agreement over that of independent models", "above 1 (here: 2)",
                    over, lab.mean(over)[1] > 2),
            lab.row(f"{kind}: rank correlation of two models' order", "at least 0.7", order, order.mean() >= 0.7),
        ]  # fmt: skip
        for what, control in (("labels dealt", dealt), ("labels dealt, words drawn", drawn)):
            over, order = (_of(control, f"{kind}: {name}") for name in ("excess", "order"))
            rows += [
                lab.row(f"control, {what}, {kind}: variance ratio", "near 1 (here: at most 2)", over, over.mean() <= 2),
                lab.row(f"control, {what}, {kind}: rank correlation", "near 0 (here: at most 0.2)", order,
                        order.mean() <= 0.2),
            ]  # fmt: skip
    across = _of(found, "across")
    rows.append(
        lab.row("rank correlation of the encoders' order with that of the linear models", "above 0", across,
                lab.mean(across)[1] > 0)
    )  # fmt: skip
    for kind in KINDS:
        rows += [lab.row(f"{kind}: {said}", "", _of(found, f"{kind}: {name}"), None) for name, said in CONTEXT.items()]
    for what, control in (("labels dealt", dealt), ("labels dealt, words drawn", drawn)):
        rows += [lab.row(f"control, {what}, {kind}: {CONTEXT[name]}", "", _of(control, f"{kind}: {name}"), None)
                 for kind in KINDS for name in ("halves", "early", "last")]  # fmt: skip
    return rows


def marks(labelled: Labelled, run: Run, scale: Scale, control: Control = "") -> dict[str, float]:
    """What `statements` judges, of one collection of each kind on the same sentences.

    Args:
        control: ``dealt``: every sentence gets the label of another one. ``drawn``: besides, its words are drawn from
            all words of the sentences, all equally often.
    """
    some, y = sample(labelled, run, scale)
    if control:
        y = run.rng("dealt").permutation(y)
    if control == "drawn":
        some = redrawn(some, run.rng("drawn"))
    out: dict[str, float] = {}
    orders = []
    for kind, right in (("encoders", encoders(some, y, run, scale)), ("linear models", linear(some, y, run, scale))):
        seen, unseen = right[:, :, : scale.train], right[:, :, scale.train :]
        early = early_epoch(seen, scale.classes)
        low, high, middle = histogram(seen[:, early])
        half = scale.models // 2
        out |= {
            f"{kind}: ends": min(low, high),
            f"{kind}: middle": middle,
            f"{kind}: excess": excess(seen[:, early]),
            f"{kind}: order": order_correlation(seen),
            f"{kind}: halves": rank_correlation(seen[:half].mean((0, 1)), seen[half:].mean((0, 1))),
            f"{kind}: unseen": rank_correlation(unseen[:half].mean((0, 1)), unseen[half:].mean((0, 1))),
            f"{kind}: unseen excess": excess(unseen[:, early]),
            f"{kind}: early": float(seen[:, early].mean()),
            f"{kind}: last": float(seen[:, -1].mean()),
        }
        orders.append(seen.mean((0, 1)))
    return {**out, "across": rank_correlation(*orders)}


def sample(labelled: Labelled, run: Run, scale: Scale) -> tuple[list[str], Ints]:
    """Sentences of some classes, those to train on first, and their labels as numbers."""
    names = sorted({label for _, label in labelled})
    chosen = {names[i] for i in run.rng("classes").permutation(len(names))[: scale.classes]}
    some = [pair for pair in labelled if pair[1] in chosen]
    drawn = run.rng("sentences").permutation(len(some))[: scale.train + scale.unseen].tolist()
    labels, _ = encode_labels([some[i][1] for i in drawn], sorted(chosen))
    return [some[i][0] for i in drawn], labels


def redrawn(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Texts of the same lengths whose words are drawn from all words, evenly."""
    words = sorted({word for text in texts for word in text.split()})
    return [" ".join(words[i] for i in rng.integers(len(words), size=len(text.split()))) for text in texts]


def encoders(texts: Sequence[str], labels: Ints, run: Run, scale: Scale) -> Bools:
    """Whether each of the collection's encoders has each example right after each epoch: (models, epochs, examples)."""
    tokenizer = Tokenizer.train(texts[: scale.train], scale.vocab)
    ids = tokenizer.encode_batch(texts)
    out = np.zeros((scale.models, scale.epochs, len(texts)), np.bool_)
    with threads(1):
        for k in range(scale.models):
            here = run.at("encoder", k)
            base = lab.decoder(2, tokenizer.vocab_size, 64, here, causal=False, layers=1)
            model = Classifier(base, int(labels.max()) + 1)
            order = reading_order(np.full(scale.train, scale.epochs), here.rng("order"))
            options = Options(rate=base.config.rate * scale.slower, batch=scale.batch)

            def said(model: Classifier = model) -> Floats:
                return np.asarray(classify(model, ids).argmax(1), np.float64)

            done = train_classifier(model, ids, labels, order, options, measure=said, points=scale.epochs)
            assert done.curve is not None
            out[k] = done.curve.losses == labels
    return out


def linear(texts: Sequence[str], labels: Ints, run: Run, scale: Scale) -> Bools:
    """The same of linear models on words, which differ in the order of the data alone."""
    rows, classes = Rows.of(texts, ngrams=1), int(labels.max()) + 1
    weights = np.arange(len(texts)) < scale.train
    out = np.zeros((scale.models, scale.epochs, len(texts)), np.bool_)
    for k in range(scale.models):
        rng = run.rng("linear", k)
        passes = epochs(rows, labels, classes, scale.epochs, rng, weights=weights, rate=scale.rate)
        for e, model in enumerate(passes):
            out[k, e] = model.logits(rows).argmax(1) == labels
    return out


def early_epoch(right: Bools, classes: int) -> int:
    """The first epoch whose accuracy is at least half-way from chance to the best."""
    accuracy = right.mean((0, 2))
    return int(np.argmax(accuracy >= (1 / classes + accuracy.max()) / 2))


def histogram(right: Bools) -> tuple[float, float, float]:
    """Shares of examples per place of the scale: of the two lowest, the two highest and the middle places.

    Args:
        right: (models, examples).
    """
    count, models = right.sum(0), len(right)
    share = np.bincount(count, minlength=models + 1) / count.size
    middle = share[models // 2 - 1 : models // 2 + 2]
    return float(share[:2].mean()), float(share[-2:].mean()), float(middle.mean())


def _of(found: Sequence[Mapping[str, float]], name: str) -> Floats:
    return np.array([f[name] for f in found])
