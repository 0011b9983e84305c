"""Data diet (Paul et al. 2021, arXiv 2107.07075): early errors find wrong labels, and records one can do without.

Three real labelled sets: SUBJ, TREC and CLINC150. Softmax regression on words is trained ten times over; EL2N is the
mean length of its errors after a pass. First part, a tenth of 4,000 labels changed: how well EL2N finds them after 1 to
40 passes, and how alike two disjoint groups of ten trainings rank. Second part, no label changed: the 40 % of lowest
EL2N after two passes are pruned, or 40 % at random, from the set as it is and from a redundant one, in which a third of
1,600 records stand six times, each copy short of one word. Accuracy is that of a fresh training on 1,500 other records.
Five seeds draw split, wrong labels, copies and order. Needs C_labeled; seconds a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tilth.claims import _lab as lab
from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.learner import Learner
from tilth.proofs.classify import Classify
from tilth.signals.difficulty.el2n import El2n

__all__ = ["PAPER", "run"]

PAPER = "deep_learning_on_a_data_diet"
SETS: Final = {"SUBJ": "subjectivity", "TREC": "weak_votes_trec", "CLINC150": "clinc150"}
SEEDS: Final = 5
PASSES: Final = (1, 2, 5, 10, 40)
EARLY: Final = 2
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Records, the share of wrong labels, trainings, and what is pruned."""

    train: int = 4000
    test: int = 1500
    wrong: float = 0.1
    trainings: int = 10
    pruned: float = 0.4
    copies: int = 6


def run(data: Path | None, scale: Scale | None = None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval over the seeds, whether it holds."""
    rows = []
    for name, records in zip(SETS, lab.records(data, *(f"C_labeled/{file}" for file in SETS.values())), strict=True):
        known = [record for record in records if record["label"] != "oos"]  # out of scope is no intent
        found = [measured(known, scale or Scale(), Run(seed=seed)) for seed in range(SEEDS)]
        rows += statements(name, found)
    return rows


def statements(name: str, found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The rows of one set, judged on what `measured` gives of each seed."""
    of = {key: np.array([one[key] for one in found]) for key in found[0]}
    early, late = of[f"AUROC after {EARLY}"], of[f"AUROC after {PASSES[-1]}"]
    said = [
        lab.row("wrong labels found: AUROC", "at least 0.9", early, early.mean() >= 0.9),
        lab.row("early less memorised: AUROC", "above 0", early - late, lab.mean(early - late)[1] > 0),
        lab.row("ranks of two groups of trainings: Spearman", "at least 0.9", of["ranks"], of["ranks"].mean() >= 0.9),
    ]
    for kind in ("as it is", "redundant"):
        lost = of[f"{kind}: all"] - of[f"{kind}: easiest pruned"]
        ahead = of[f"{kind}: easiest pruned"] - of[f"{kind}: random pruned"]
        said += [
            lab.row(f"{kind}: lost by pruning the easiest", "at most 0.01", lost, lost.mean() <= 0.01),
            lab.row(f"{kind}: easiest less random pruned", "above 0", ahead, lab.mean(ahead)[1] > 0),
        ]
    more = [*(f"AUROC after {n}" for n in PASSES), "wrong labels in the top fifth", "copies among the pruned"]
    more += [f"{k}: {what}" for k in ("as it is", "redundant") for what in ("all", "easiest pruned", "random pruned")]
    said += [lab.row(key, "", of[key], None) for key in more]
    return [{**row, "statement": f"{name}, {row['statement']}"} for row in said]


def measured(records: Sequence[Mapping[str, Any]], scale: Scale, run: Run) -> dict[str, float]:
    """Everything of one seed."""
    rng = run.rng("world")
    chosen = [records[i] for i in rng.permutation(len(records))[: scale.train + scale.test]]
    texts, labels = [str(r["text"]) for r in chosen], np.array([r["label"] for r in chosen])
    test = lab.labelled(texts[-scale.test :], labels[-scale.test :])
    texts, labels = texts[: -scale.test], labels[: -scale.test]
    given, wrong = lab.flipped(labels, scale.wrong, rng)
    pool = lab.labelled(texts, given)
    errors = Learner(seeds=scale.trainings, passes=PASSES[-1]).record(pool, run).error
    found = {f"AUROC after {n}": float(roc_auc_score(wrong, errors[:, n - 1].mean(0))) for n in PASSES}
    score = errors[:, EARLY - 1].mean(0)
    found["wrong labels in the top fifth"] = float(wrong[np.argsort(-score)[: score.size // 5]].sum() / wrong.sum())
    twice = Learner(seeds=2 * scale.trainings, passes=EARLY).record(pool, run).error[:, -1]
    groups = twice[: scale.trainings].mean(0), twice[scale.trainings :].mean(0)
    found["ranks"] = float(spearmanr(*groups).statistic)
    again = redundant(texts[: int(scale.train * 0.4)], scale.copies, rng)
    kinds = {"as it is": (texts, labels), "redundant": ([t for t, _ in again], labels[[i for _, i in again]])}
    for kind, (some, theirs) in kinds.items():
        clean = lab.labelled(some, theirs)
        kept = _pruned(clean, scale, run)
        chance = rng.permutation(len(some))[: kept.size]
        for what, rows in {"all": None, "easiest pruned": kept, "random pruned": chance}.items():
            found[f"{kind}: {what}"] = lab.accuracy(Classify(ngrams=1, rate=0.3), clean, test, run.at("train"), rows)
    counts = np.bincount([i for _, i in again])
    many = counts[[i for _, i in again]] > 1
    gone = np.setdiff1d(np.arange(many.size), kept)
    found["copies among the pruned"] = float(many[gone].mean())
    return found


def redundant(texts: Sequence[str], copies: int, rng: np.random.Generator) -> list[tuple[str, int]]:
    """The texts with their number, a third of them so many times; every copy but the first lacks a word."""
    out = []
    for i, text in enumerate(texts):
        out.append((text, i))
        words = text.split()
        for _ in range((copies - 1) * (i % 3 == 0 and len(words) > 1)):
            drop = int(rng.integers(len(words)))
            out.append((" ".join([*words[:drop], *words[drop + 1 :]]), i))
    return out


def _pruned(pool: TablePool, scale: Scale, run: Run) -> npt.NDArray[np.int64]:
    """The rows that stay when those of the lowest EL2N go."""
    signal = El2n(after=EARLY, learner=Learner(seeds=scale.trainings, passes=EARLY))
    score = score_in_memory(signal, pool, None, run).column("el2n.score").to_numpy()
    return np.argsort(score, kind="stable")[round(scale.pruned * score.size) :]
