"""BERT on a data diet (Fayyaz et al. 2022, arXiv 2211.05610): text needs a pass before errors mean anything, and the
highest scores are to be dropped, a few of them.

SUBJ and TREC, 2,000 records each, 8 % of the labels changed. The encoder has one layer and is trained from scratch,
where the paper fine-tunes BERT. EL2N and GraNd (of the last layer) are means over three trainings. Before the first
step only GraNd is asked: the last layer starts at zero here, so every record has the same EL2N. Then the tenth, or the
half, of highest EL2N after a pass is dropped, or as many at random, and a fresh encoder is trained on the rest for
three passes and tested on 1,000 other records, whose labels are right. Five seeds draw split, wrong labels, weights and
order. Needs C_labeled; ten seconds a seed.
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
from tilth.models.learner import Learner, labelled
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator, threads
from tilth.models.transformer import Classifier, Config, build
from tilth.models.tune import classify, pooled
from tilth.proofs.classify import Classify

__all__ = ["PAPER", "run"]

PAPER = "bert_on_a_data_diet"
SETS: Final = {"SUBJ": "subjectivity", "TREC": "weak_votes_trec"}
SEEDS: Final = 5
PICKS: Final = ("all", "top tenth dropped", "random tenth dropped", "top half dropped", "random half dropped")
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Scale:
    """Records, the share of wrong labels, and the encoder."""

    train: int = 2000
    test: int = 1000
    wrong: float = 0.08
    trainings: int = 3
    passes: int = 3
    depth: int = 1
    vocab: int = 2048
    context: int = 32
    batch: int = 16


def run(data: Path | None, scale: Scale | None = None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval over the seeds, whether it holds."""
    rows = []
    for name, records in zip(SETS, lab.records(data, *(f"C_labeled/{file}" for file in SETS.values())), strict=True):
        rows += statements(name, [measured(records, scale or Scale(), Run(seed=seed)) for seed in range(SEEDS)])
    return rows


def statements(name: str, found: Sequence[Mapping[str, float]]) -> list[dict[str, Any]]:
    """The rows of one set, judged on what `measured` gives of each seed."""
    of = {key: np.array([one[key] for one in found]) for key in found[0]}
    first, before = of["EL2N after a pass"], of["GraNd before"]
    learnt = of["GraNd after a pass"] - before
    gain = of["top tenth dropped"] - of["all"]
    chance = of["top tenth dropped"] - of["random tenth dropped"]
    half = of["random half dropped"] - of["top half dropped"]
    said = [
        lab.row("wrong labels by EL2N after a pass: AUROC", "at least 0.9", first, first.mean() >= 0.9),
        lab.row("wrong labels by GraNd before the first step: AUROC", "at most 0.65", before, before.mean() <= 0.65),
        lab.row("GraNd after a pass less before: AUROC", "above 0", learnt, lab.mean(learnt)[1] > 0),
        lab.row("top tenth dropped less all", "above 0", gain, lab.mean(gain)[1] > 0),
        lab.row("top tenth less random tenth dropped", "above 0", chance, lab.mean(chance)[1] > 0),
        lab.row("random half less top half dropped", "above 0", half, lab.mean(half)[1] > 0),
    ]
    more = ["GraNd after a pass", "EL2N after all passes", "wrong among the top tenth", *PICKS]
    said += [lab.row(key, "", of[key], None) for key in more]
    return [{**row, "statement": f"{name}, {row['statement']}"} for row in said]


def measured(records: Sequence[Mapping[str, Any]], scale: Scale, run: Run) -> dict[str, float]:
    """Everything of one seed."""
    rng = run.rng("world")
    chosen = [records[i] for i in rng.permutation(len(records))[: scale.train + scale.test]]
    texts, labels = [str(r["text"]) for r in chosen], np.array([r["label"] for r in chosen])
    test = lab.labelled(texts[-scale.test :], labels[-scale.test :])
    given, wrong = lab.flipped(labels[: -scale.test], scale.wrong, rng)
    pool = lab.labelled(texts[: -scale.test], given)
    learner = Learner(
        model="encoder", seeds=scale.trainings, passes=scale.passes, depth=scale.depth, vocab=scale.vocab,
        context=scale.context, batch=scale.batch,
    )  # fmt: skip
    seen = learner.record(pool, run)
    error, gradient = seen.error.mean(0), (seen.error * seen.size).mean(0)
    fresh = [untrained(pool, scale, run.at("fresh", i)) for i in range(scale.trainings)]
    scores = {
        "GraNd before": np.mean(fresh, 0),
        "EL2N after a pass": error[0],
        "GraNd after a pass": gradient[0],
        "EL2N after all passes": error[-1],
    }
    found = {name: float(roc_auc_score(wrong, values)) for name, values in scores.items()}
    lowest, any_ = np.argsort(error[0], kind="stable"), rng.permutation(wrong.size)
    found["wrong among the top tenth"] = float(wrong[lowest[-(wrong.size // 10) :]].mean())
    tenth, half = wrong.size - wrong.size // 10, wrong.size // 2
    picks = (np.arange(wrong.size), lowest[:tenth], any_[:tenth], lowest[:half], any_[:half])
    proof = Classify(
        model="transformer", passes=scale.passes, depth=scale.depth, vocab=scale.vocab, context=scale.context,
        batch=scale.batch,
    )  # fmt: skip
    for name, rows in zip(PICKS, picks, strict=True):
        found[name] = lab.accuracy(proof, pool, test, run.at("train"), rows)
    return found


def untrained(pool: TablePool, scale: Scale, run: Run) -> Floats:
    """Last-layer GraNd of each record under an encoder before its first step."""
    _, labels, names, texts = labelled(pool)
    strings = texts.to_pylist()
    tokenizer = Tokenizer.train(strings, scale.vocab)
    encoded = tokenizer.encode_batch(strings)
    config = Config.of_depth(scale.depth, tokenizer.vocab_size, scale.context, causal=False)
    with threads(1):
        model = Classifier(build(config, generator(run.rng("init"))), len(names)).eval()
        errors = classify(model, encoded)
        inputs = pooled(model, encoded)
    errors[np.arange(labels.size), labels] -= 1
    return np.asarray(np.linalg.norm(errors, axis=1) * np.sqrt((inputs.astype(np.float64) ** 2).sum(1) + 1))
