"""CIT (Zhang et al. 2024, arXiv 2404.01652): a reader whose contexts may not grow likelier reads instead of recalling.

A decoder of 2 layers first learns a little reading: sentences that give a person a value, drawn anew each time, and
then the same again in another order. This reader is tuned on a corpus, v1: questions about its facts, each after its
own sentence among three others, the whole sequence learned, read many times; other questions are held out. Then some
of the facts change, and all questions are asked again, each after the same sentences as v2 has them. Memorised is an
answer that is the old value of a changed fact. Arms tune the same reader without the penalty on rising likelihoods of
contexts and with it at several strengths; in the controls the likelihood itself is penalised, or only the answers are
learned. The paper tunes T5 readers on real questions and two years of an encyclopedia.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.models.batches import windows_of_documents
from tilth.models.context_invariance import ContextInvariance, likelihoods, memorisation_gap
from tilth.models.feeds import Batch, Fixed
from tilth.models.optim import Options
from tilth.models.train import threads, train_lm
from tilth.models.transformer import Decoder
from tilth.models.tune import Texts, train_sft

__all__ = ["PAPER", "run"]

PAPER = "towards_better_generalization_in_opendomain_question"
SEEDS = 5
STRENGTHS = (0.1, 1.0, 10.0)
CHOSEN = 1.0
ALONE = "loss of the answers alone"
ARMS = ("standard", *(f"CIT, {strength:g}" for strength in STRENGTHS), "control: likelihood itself", ALONE)
LABELS = {
    "v1": "right on v1",
    "v1, held out": "right on v1, other questions",
    "v2": "right on v2",
    "v2, changed": "right on changed facts, questions trained on",
    "old value": "old value of changed facts, questions trained on",
    "rise": "rise of the contexts' log-likelihood, nats a token",
    "gap": "memorisation gap, nats a token",
}
Ints = npt.NDArray[np.int64]
Found = Mapping[str, float]


@dataclass(frozen=True)
class Scale:
    """The world, the reader and its training.

    Attributes:
        people: those of the corpus, and as many others; there is one fact about each.
        changed: share of the facts that are others in v2.
        held: share of the facts whose questions are not trained on.
        given: sentences before each question.
        stories: read before tuning, `batch` windows a step.
        epochs: how often each question is read, its sentences in a new order each time, `tuned` windows a step.
    """

    people: int = 100
    values: int = 60
    changed: float = 0.3
    held: float = 0.2
    given: int = 4
    depth: int = 2
    heads: int = 4
    context: int = 52
    stories: int = 16_000
    epochs: int = 20
    batch: int = 16
    tuned: int = 8
    rate: float = 2e-3


@dataclass(frozen=True)
class Corpus:
    """One fact about each of some people: `people` (n,) numbers of names, `values` (n,)."""

    people: Ints
    values: Ints

    @property
    def sentences(self) -> list[str]:
        """One a fact: the name, the value, a full stop."""
        return [f"{ask}{value}." for ask, value in zip(self.questions, self.answers, strict=True)]

    @property
    def questions(self) -> list[str]:
        """The start of each sentence."""
        return [person(number) for number in self.people.tolist()]

    @property
    def answers(self) -> list[str]:
        """The value of each fact."""
        return [thing(number) for number in self.values.tolist()]


def person(number: int) -> str:
    """A name, one word."""
    return f" {_word(number, 'bdfgklmnprst')}o"


def thing(number: int) -> str:
    """A value, one word."""
    return f" {_word(number, 'bdfgklmnprst')}en"


def _word(number: int, consonants: str) -> str:
    syllables = [a + b for a, b in product(consonants, "aeiou")]
    return syllables[number // len(syllables)] + syllables[number % len(syllables)]


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([measured(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, Found]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed in each arm."""

    def of(arm: str, name: str) -> npt.NDArray[np.float64]:
        return np.array([f[arm][name] for f in found])

    cit = f"CIT, {CHOSEN:g}"
    old = of("standard", "old value")
    left = of(cit, "old value").mean() / max(old.mean(), 1e-9)
    gain, cost = of(cit, "v2") - of("standard", "v2"), of("standard", "v1") - of(cit, "v1")
    gap = of("standard", "gap") - of(cit, "gap")
    apart = np.array([f["alpha 0"]["largest difference of a weight"] for f in found])
    return [
        lab.row("changed facts answered by the old value, standard reader", "measurable (here: at least 0.1)", old,
                old.mean() >= 0.1),
        lab.row(f"... {cit} over standard, of the means", "halved (here: at most 0.5)", [left], left <= 0.5),
        lab.row(f"right on v2, {cit} less standard", "at least 0.10", gain, gain.mean() >= 0.1),
        lab.row(f"right on v1, standard less {cit}", "at most 0.01", cost, cost.mean() <= 0.01),
        lab.row(f"memorisation gap, standard less {cit}", "above 0", gap, lab.mean(gap)[1] > 0),
        lab.row("alpha 0 and standard: largest difference of a weight", "0", apart, not apart.any()),
        *(lab.row(f"{arm}: {LABELS[name]}", "", of(arm, name), None) for name in LABELS for arm in ("before", *ARMS)),
    ]  # fmt: skip


def world(run: Run, scale: Scale) -> tuple[Corpus, Corpus, Corpus]:
    """The corpus v1, v2 with some facts changed, and as many other people with values drawn at random."""
    rng, n = run.rng("world"), scale.people
    names = rng.permutation(2 * n)
    old = rng.integers(0, scale.values, n)
    moved = rng.permutation(n) < round(scale.changed * n)
    new = np.where(moved, (old + rng.integers(1, scale.values, n)) % scale.values, old)
    return Corpus(names[:n], old), Corpus(names[:n], new), Corpus(names[n:], rng.integers(0, scale.values, n))


def retrieved(scale: Scale, run: Run) -> Ints:
    """Which sentences of the corpus are found for each question, (people, given): its own, and others at random."""
    rng = run.rng("retrieved")
    others = [rng.permutation(scale.people - 1)[: scale.given - 1] for _ in range(scale.people)]
    return np.array([[i, *(some + (some >= i)).tolist()] for i, some in enumerate(others)], np.int64)


def stories(run: Run, scale: Scale) -> list[str]:
    """Texts to learn reading from: sentences, and the same in another order; values are drawn anew for each text."""
    rng = run.rng("stories")
    made = []
    for _ in range(scale.stories):
        people = rng.permutation(2 * scale.people)[: scale.given].tolist()
        values = rng.integers(0, scale.values, scale.given).tolist()
        told = [f"{person(a)}{thing(v)}." for a, v in zip(people, values, strict=True)]
        made.append("?".join("".join(told[k] for k in rng.permutation(scale.given)) for _ in range(2)))
    return made


def prompts(corpus: Corpus, found: Ints, run: Run) -> list[str]:
    """Each question after its sentences in random order."""
    told, rng = corpus.sentences, run.rng("shuffled")
    shuffled = rng.permuted(found, axis=1)
    return [
        f"{''.join(told[i] for i in row)}?{ask}"
        for row, ask in zip(shuffled.tolist(), corpus.questions, strict=True)
    ]  # fmt: skip


def measured(
    run: Run, scale: Scale, arms: Sequence[str] = ("standard", "alpha 0", *ARMS[1:])
) -> dict[str, dict[str, float]]:
    """Of each arm, shares of answers and likelihoods; see `judged`."""
    old, new, others = world(run, scale)
    told = stories(run, scale)
    vocab = lab.Vocab.of([*told, *old.sentences, *new.sentences, *others.sentences], lab.WORDS)
    found = retrieved(scale, run)
    exams = {"v1": prompts(old, found, run.at("v1")), "v2": prompts(new, found, run.at("v2"))}
    count = len(old.answers)
    trained = run.rng("trained").permutation(count) >= round(scale.held * count)
    rows = np.flatnonzero(trained)
    asks, says, read = [], [], []
    for epoch in range(scale.epochs):
        some = prompts(old, found, run.at("tune", epoch))
        order = run.rng("order", epoch).permutation(rows)
        asks += [some[i] for i in order]
        says += [old.answers[i] for i in order]
        read += [found[i] for i in order]
    contexts = vocab.encode_batch(old.sentences)
    marks = {}
    with threads(1):
        start = lab.decoder(scale.depth, len(vocab), scale.context, run, heads=scale.heads)
        texts = vocab.encode_batch(told)
        data = windows_of_documents(*texts, np.arange(len(told)), scale.context, lab.END, packing="next_fit")
        train_lm(start, Fixed(data, scale.batch), Options(rate=start.config.rate, batch=scale.batch))
        marks["before"] = judged(start, start, vocab, exams, old, new, others, trained)
        talks = lab.talks(vocab, asks, says)
        everything = replace(talks, learned=np.ones_like(talks.learned))
        standard, options = start, Options(rate=scale.rate, batch=scale.tuned)
        for arm in arms:
            model = copy.deepcopy(start)
            beside = _beside(arm, model, contexts, read)
            train_sft(model, talks if arm == ALONE else everything, np.arange(len(read)), options, beside=beside)
            if arm == "standard":
                standard = model
            if arm == "alpha 0":
                pairs = zip(model.parameters(), standard.parameters(), strict=True)
                marks[arm] = {
                    "largest difference of a weight": max(float((a - b).detach().abs().max()) for a, b in pairs)
                }
            else:
                marks[arm] = judged(model, start, vocab, exams, old, new, others, trained)
    return marks


def judged(
    model: Decoder,
    start: Decoder,
    vocab: lab.Vocab,
    exams: Mapping[str, Sequence[str]],
    old: Corpus,
    new: Corpus,
    others: Corpus,
    trained: npt.NDArray[np.bool_],
) -> dict[str, float]:
    """Shares of right and of old answers, and likelihoods of contexts in nats a token."""
    wanted = {"v1": np.array(old.answers), "v2": np.array(new.answers)}
    said = {name: np.array(lab.answers(model, vocab, asks, 1)) for name, asks in exams.items()}
    right = {name: said[name] == wanted[name] for name in said}
    changed = wanted["v1"] != wanted["v2"]
    learned, fresh = (vocab.encode_batch(corpus.sentences) for corpus in (old, others))
    every = np.arange(len(old.sentences))
    with torch.no_grad():
        now, was = (likelihoods(m, learned, every) for m in (model, start))
    return {
        "v1": right["v1"].mean(),
        "v1, held out": right["v1"][~trained].mean(),
        "v2": right["v2"].mean(),
        "v2, changed": right["v2"][changed & trained].mean(),
        "old value": (said["v2"] == wanted["v1"])[changed & trained].mean(),
        "rise": float((now - was).mean()),
        "gap": memorisation_gap(model, learned, fresh),
    }


def _beside(
    arm: str, model: Decoder, contexts: Texts, read: Sequence[Ints]
) -> Callable[[Batch, Tensor], Tensor] | None:
    """What an arm adds to the loss."""
    if arm in ("standard", ALONE):
        return None
    if arm == "alpha 0" or arm.startswith("CIT"):
        return ContextInvariance(model, contexts, read, 0.0 if arm == "alpha 0" else float(arm.split(", ")[1]))

    def beside(batch: Batch, hidden: Tensor) -> Tensor:
        del hidden
        rows = np.unique(np.concatenate([read[record] for record in np.unique(batch.records[batch.records >= 0])]))
        return CHOSEN * likelihoods(model, contexts, rows).mean()

    return beside
