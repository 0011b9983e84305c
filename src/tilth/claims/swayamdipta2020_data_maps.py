"""Data maps (Swayamdipta et al. 2020, arXiv 2009.10795): ambiguous records help out of distribution, easy ones do not.

Two real sets of sentences, SUBJ (subjective or objective) and MR (positive or negative). Every text gets a last word,
one for each class: in training and in distribution it agrees with the label nine times in ten, out of distribution once
in ten; a third test has no such word. Softmax regression on words is trained on all 6,000 records or on a third: the
most ambiguous by `cartography` (default learner), the easiest, the hardest, or any. The shift is made; texts and labels
are real. In the second part 8 % of the labels are changed, and confidence ranks the records. Five seeds draw split,
cue, wrong labels and order. Needs C_labeled; seconds a seed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from sklearn.metrics import roc_auc_score

from tilth.claims import _lab as lab
from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.proofs.classify import Classify
from tilth.signals.difficulty.cartography import Cartography

__all__ = ["PAPER", "run"]

PAPER = "dataset_cartography"
SETS: Final = {"SUBJ": "subjectivity", "MR": "sentence_polarity"}
SEEDS: Final = 5
PICKS: Final = ("all", "random", "ambiguous", "easy", "hard")
TESTS: Final = ("in", "out", "no cue")


@dataclass(frozen=True)
class Scale:
    """Records, how often the cue agrees with the label, and the share that is kept."""

    train: int = 6000
    test: int = 2000
    cue: float = 0.9
    kept: float = 1 / 3
    wrong: float = 0.08


def run(data: Path | None, scale: Scale | None = None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval over the seeds, whether it holds."""
    rows = []
    for name, records in zip(SETS, lab.records(data, *(f"C_labeled/{file}" for file in SETS.values())), strict=True):
        found = [measured(records, scale or Scale(), Run(seed=seed)) for seed in range(SEEDS)]
        rows += statements(name, found)
    return rows


def statements(name: str, found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The rows of one set, judged on what `measured` gives of each seed."""
    of = {key: np.array([one[key] for one in found]) for key in found[0]}
    in_, out = ({pick: of[f"{pick}: {test}"] for pick in PICKS} for test in ("in", "out"))
    small = out["ambiguous"] - out["random"]
    easy = out["random"] - out["easy"]
    all_ = out["ambiguous"] - out["all"]
    same = in_["ambiguous"] - in_["all"]
    said = [
        lab.row("out of distribution: ambiguous less random third", "above 0", small, lab.mean(small)[1] > 0),
        lab.row("out of distribution: random less easy third", "above 0", easy, lab.mean(easy)[1] > 0),
        lab.row("out of distribution: ambiguous third less all", "above 0", all_, lab.mean(all_)[1] > 0),
        lab.row("in distribution: ambiguous third less all", "at least -0.01", same, same.mean() >= -0.01),
        lab.row("wrong labels found by low confidence: AUROC", "at least 0.9", of["auroc"], of["auroc"].mean() >= 0.9),
    ]
    said += [
        lab.row(f"{pick}: {test}", "", of[f"{pick}: {test}"], None) for pick in PICKS for test in TESTS
    ]  # fmt: skip
    return [{**row, "statement": f"{name}, {row['statement']}"} for row in said]


def measured(records: Sequence[Mapping[str, Any]], scale: Scale, run: Run) -> dict[str, float]:
    """Accuracy of every pick on every test, and how well confidence finds wrong labels, of one seed."""
    rng = run.rng("world")
    chosen = [records[i] for i in rng.permutation(len(records))[: scale.train + scale.test]]
    texts, labels = [str(r["text"]) for r in chosen], np.array([r["label"] for r in chosen])
    here = slice(0, scale.train)
    pool = cued(texts[here], labels[here], scale.cue, rng)
    held = texts[scale.train :], labels[scale.train :]
    tests = {
        "in": cued(*held, scale.cue, rng),
        "out": cued(*held, 1 - scale.cue, rng),
        "no cue": lab.labelled(*held),
    }
    mapped = score_in_memory(Cartography(), pool, None, run)
    spread, sure = (mapped.column(f"cartography.{c}").to_numpy() for c in ("variability", "confidence"))
    size = round(scale.kept * scale.train)
    picks = {
        "all": np.arange(scale.train),
        "random": rng.permutation(scale.train)[:size],
        "ambiguous": np.argsort(-spread)[:size],
        "easy": np.argsort(-sure)[:size],
        "hard": np.argsort(sure)[:size],
    }
    proof = Classify(ngrams=1, rate=0.3)
    found = {
        f"{pick}: {test}": lab.accuracy(proof, pool, tests[test], run.at("train"), picks[pick])
        for pick in PICKS
        for test in TESTS
    }
    given, wrong = lab.flipped(labels[here], scale.wrong, rng)
    doubted = score_in_memory(Cartography(), lab.labelled(texts[here], given), None, run)
    return found | {"auroc": float(roc_auc_score(wrong, -doubted.column("cartography.confidence").to_numpy()))}


def cued(texts: Sequence[str], labels: npt.NDArray[np.str_], agree: float, rng: np.random.Generator) -> TablePool:
    """The texts with a last word that names their label with this probability, and else another label."""
    names, place = np.unique(labels, return_inverse=True)
    off = rng.integers(1, names.size, labels.size) * (rng.random(labels.size) >= agree)
    cue = (place + off) % names.size
    return lab.labelled([f"{text} cueword{c}" for text, c in zip(texts, cue, strict=True)], labels)
