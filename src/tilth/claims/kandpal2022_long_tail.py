"""Long-tail knowledge (Kandpal et al. 2022, arXiv 2211.08411): a fact is recalled if many documents state it.

The world is `tilth.probes.long_tail`, the count of a question's documents that of `LongTailCount`. A decoder of 2
layers, one token per word, reads the documents, and questions with answers about one half of the facts, each alone and
again after a document that states the answer. It is then asked about the other half of the facts, from memory and with
a document. In the causal arm all documents of some of these facts are left out, and as many tokens are read. Controls:
counts dealt to other questions, and questions of which no document states the answer.

The paper correlates the counts with what published models say, and trains one model of 4.8 billion weights anew. Not
run: larger models.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Run, World
from tilth.core.pool import Pool
from tilth.models.optim import Options
from tilth.models.train import threads
from tilth.probes.long_tail import LongTail
from tilth.signals.difficulty.long_tail_count import LongTailCount

__all__ = ["PAPER", "run"]

PAPER = "large_language_models_struggle_to_learn"
SEEDS = 3
BANDS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 64), (65, 512))
"""Counts of documents whose accuracies are compared."""
Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """Documents and training.

    Attributes:
        top: documents of the most frequent fact.
        tokens: read in all, ends of texts counted.
        known: facts of at least so many documents may lose them in the causal arm; half of them do.
    """

    documents: int = 7000
    top: int = 512
    depth: int = 2
    context: int = 64
    tokens: int = 700_000
    batch: int = 16
    known: int = 5


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    return statements([marks(Run(seed=seed), Scale()) for seed in range(SEEDS)])


def statements(found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `marks` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    bands, gap = of["bands"], of["most"] - of["least"]
    lost, same = of["drop deleted"] - of["drop kept"], of["drop kept"]
    flat = of["slope with document"] / of["slope"]
    return [
        lab.row("rank correlation of the count and accuracy, bands of counts", "at least 0.9", bands,
                bands.mean() >= 0.9),
        lab.row(f"accuracy, at least {BANDS[-1][0]} documents less 1 document", "above 0", gap, lab.mean(gap)[1] > 0),
        lab.row("rank correlation of the count and being right, single questions", "above 0", of["count"],
                lab.mean(of["count"])[1] > 0),
        lab.row("the same less that of documents with the answer", "above 0", of["count"] - of["answer"],
                lab.mean(of["count"] - of["answer"])[1] > 0),
        lab.row("documents left out: loss of their facts less loss of the others", "above 0", lost,
                lab.mean(lost)[1] > 0),
        lab.row("documents left out: loss of the others", "none (here: within 0.1)", same,
                bool(abs(same.mean()) <= 0.1)),
        lab.row("with a document: slope on the count, share of the slope from memory", "flatter (here: at most 0.5)",
                flat, flat.mean() <= 0.5),
        lab.row("control: counts dealt to other questions, rank correlation", "0 (here: within 0.1)", of["dealt"],
                bool(abs(of["dealt"].mean()) <= 0.1)),
        lab.row("control: accuracy where no document states the answer", "chance, 0.02 (here: at most 0.1)",
                of["none"], of["none"].mean() <= 0.1),
        lab.row("gain in accuracy from 10 times as many documents", "", of["slope"], None),
        *(lab.row(f"accuracy, {low} documents" if low == high else f"accuracy, {low} to {high} documents", "",
                  of[f"{low}-{high}"], None) for low, high in BANDS),
        lab.row("accuracy, all that documents state, from memory", "", of["exact"], None),
        lab.row("accuracy, all that documents state, with a document", "", of["exact with document"], None),
        lab.row("documents left out: accuracy on their facts before", "", of["before"], None),
        lab.row("documents left out: accuracy on their facts", "", of["after"], None),
    ]  # fmt: skip


def marks(run: Run, scale: Scale) -> dict[str, float]:
    """What `statements` judges, of one seed."""
    world = LongTail(top=scale.top).build(scale.documents, run)
    goal = world.goal
    assert goal is not None
    count = counts(world.pool, goal.holdout, run)
    answers = [f" {reply}" for reply in lab.asked(goal.holdout)[1]]
    texts: list[str] = world.pool.column("text").to_pylist()
    naive = np.array([sum(answer.strip() in text for text in texts) for answer in answers])
    stated = world.pool.column("truth.fact").to_pylist()
    facts: Ints = np.array(goal.holdout.column("truth.fact").to_pylist())
    drawn = run.rng("deleted").permutation(np.flatnonzero(count >= scale.known))
    gone = np.isin(np.arange(facts.size), drawn[: drawn.size // 2])
    kept = ~np.isin(np.array([-1 if fact is None else fact for fact in stated]), facts[gone])
    closed, opened = right(world, np.ones(len(texts), bool), run, scale)
    after, _ = right(world, kept, run, scale)
    there = count > 0
    some, by = closed[there], count[there]
    bands = {f"{low}-{high}": float(some[(by >= low) & (by <= high)].mean()) for low, high in BANDS}
    drop, rest = closed - after, (count >= scale.known) & ~gone
    log = np.log10(by)
    return {
        **bands,
        "bands": _rank(np.arange(len(BANDS)), np.array([*bands.values()])),
        "least": bands[f"{BANDS[0][0]}-{BANDS[0][1]}"],
        "most": bands[f"{BANDS[-1][0]}-{BANDS[-1][1]}"],
        "count": _rank(by, some),
        "answer": _rank(naive[there], some),
        "dealt": _rank(run.rng("dealt").permutation(by), some),
        "slope": float(np.polyfit(log, some, 1)[0]),
        "slope with document": float(np.polyfit(log, opened[there], 1)[0]),
        "exact": float(some.mean()),
        "exact with document": float(opened[there].mean()),
        "none": float(closed[~there].mean()),
        "drop deleted": float(drop[gone].mean()),
        "drop kept": float(drop[rest].mean()),
        "before": float(closed[gone].mean()),
        "after": float(after[gone].mean()),
    }


def counts(pool: Pool, questions: Pool, run: Run) -> Ints:
    """Documents that may state the answer of each question, by `LongTailCount`; 0 where a name is missing."""
    support = LongTailCount().fit(pool, Goal(questions, questions, Budget(pool.count, "records")), run)
    return np.array([count or 0 for count in support.counts])


def right(world: World, kept: npt.NDArray[np.bool_], run: Run, scale: Scale) -> tuple[Floats, Floats]:
    """Whether each question of the holdout is answered, from memory and after a document that states the answer.

    Args:
        kept: which documents are read. Those that are shown with a question come from all of them.
    """
    goal = world.goal
    assert goal is not None
    documents = [f" {text}" for text in world.pool.column("text").to_pylist()]
    stating: dict[int, str] = {}
    for fact, text in zip(world.pool.column("truth.fact").to_pylist(), documents, strict=True):
        if fact is not None:
            stating.setdefault(fact, text)
    asked = {name: _asked(pool, stating) for name, pool in (("taught", goal.target), ("held", goal.holdout))}
    lessons = [q + a for q, _, a in asked["taught"]] + [q + a for _, q, a in asked["taught"] if q is not None]
    read = [text for text, keep in zip(documents, kept.tolist(), strict=True) if keep] + lessons
    vocab = lab.Vocab.of([*documents, *(text for q, _, a in asked["held"] for text in (q, a)), *lessons], lab.WORDS)
    with threads(1):
        model = lab.decoder(scale.depth, len(vocab), scale.context, run)
        lab.read(model, vocab.encode_batch(read), scale.tokens, run, Options(rate=model.config.rate, batch=scale.batch))
        closed = lab.answers(model, vocab, [q for q, _, _ in asked["held"]], 2)
        known = [(i, q) for i, (_, q, _) in enumerate(asked["held"]) if q is not None]
        told = lab.answers(model, vocab, [q for _, q in known], 2)
    said = {i: answer for (i, _), answer in zip(known, told, strict=True)}
    truth = [a for _, _, a in asked["held"]]
    return (
        np.array([a == b for a, b in zip(closed, truth, strict=True)], float),
        np.array([said.get(i) == b for i, b in enumerate(truth)], float),
    )


def _asked(pool: Pool, stating: Mapping[int, str]) -> list[tuple[str, str | None, str]]:
    """Each question, the question after a document that states the answer (None without one), and the answer."""
    rows = zip(*lab.asked(pool), pool.column("truth.fact").to_pylist(), strict=True)
    return [(f" {q}", f"{stating[fact]} {q}" if fact in stating else None, f" {a}") for q, a, fact in rows]


def _rank(by: npt.NDArray[Any], hits: Floats) -> float:
    """Rank correlation; 0 where all are alike."""
    return float(spearmanr(by, hits).statistic) if np.ptp(hits) > 0 and np.ptp(by) > 0 else 0.0
