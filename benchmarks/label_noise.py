"""Wrong labels planted in real sets: which signals find them, and does label_issues agree with cleanlab?

    python benchmarks/label_noise.py --data ../shared/data     # cleanlab is compared where it is installed

A tenth of the labels of CLINC150, SUBJ and TREC are changed to another class at random. Printed for every signal: the
area under the ROC curve, 0.5 being chance, mean of the seeds of the flips; seconds; and how many of the records that
the confident joint names are wrong. cleanlab gets the same out-of-fold probabilities. Then the tweets whose annotators'
votes are known: rank correlation of each signal with their disagreement, with its 95 % interval.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tilth.core import Run, Signal, TablePool
from tilth.engine.apply import score_in_memory
from tilth.io.streams import blocks, lines
from tilth.models.learner import Learner, labelled
from tilth.models.linear import Rows
from tilth.signals.difficulty.cartography import Cartography
from tilth.signals.difficulty.el2n import El2n
from tilth.signals.difficulty.grand import Grand
from tilth.signals.influence.influence_average import InfluenceAverage
from tilth.signals.labels.label_issues import LabelIssues, confident

SETS = {"CLINC150": "clinc150", "SUBJ": "subjectivity", "TREC": "weak_votes_trec"}
SIGNALS: dict[str, tuple[Signal[Any], str, int]] = {
    "el2n": (El2n(), "el2n.score", 1),
    "el2n, memorised": (El2n(after=60, learner=Learner(seeds=1, passes=60)), "el2n.score", 1),
    "cartography, confidence": (Cartography(), "cartography.confidence", -1),
    "cartography, variability": (Cartography(), "cartography.variability", 1),
    "grand, encoder": (Grand(learner=Learner(model="encoder", seeds=1, passes=3)), "grand.score", 1),
    "influence_average": (InfluenceAverage(), "influence_average.mean", -1),
    "label_issues": (LabelIssues(), "label_issues.self_confidence", -1),
}


def rows_of(file: Path) -> Iterator[dict[str, Any]]:
    for _, line, _ in lines(blocks(file)):
        yield orjson.loads(line)


def table(texts: list[str], labels: npt.NDArray[Any]) -> TablePool:
    columns = {"id": [str(i) for i in range(len(texts))], "text": texts, "label": labels.tolist()}
    return TablePool(pa.table(columns | {"source": ["a"] * len(texts)}), "labeled")


def flipped(labels: npt.NDArray[Any], seed: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    names, number = np.unique(labels, return_inverse=True)
    rng = Run(seed=seed).rng("flips")
    wrong = np.zeros(labels.size, bool)
    wrong[rng.permutation(labels.size)[: labels.size // 10]] = True
    other = (number + rng.integers(1, names.size, labels.size)) % names.size
    return names[np.where(wrong, other, number)], wrong


def planted(data: Path, seeds: int) -> None:
    found: dict[str, dict[str, list[float]]] = {name: {s: [] for s in SETS} for name in SIGNALS}
    seconds = {name: 0.0 for name in SIGNALS}
    more: list[str] = []
    for title, file in SETS.items():
        rows = [*rows_of(data / "C_labeled" / f"{file}.jsonl.zst")]
        texts, labels = [r["text"] for r in rows], np.array([str(r["label"]) for r in rows])
        for seed in range(seeds):
            noisy, wrong = flipped(labels, seed)
            pool = table(texts, noisy)
            for name, (signal, column, sign) in SIGNALS.items():
                began = time.process_time()
                values = score_in_memory(signal, pool).column(column).to_numpy()
                seconds[name] += time.process_time() - began
                found[name][title].append(roc_auc_score(wrong, sign * values))
            if seed == 0:
                more.append(f"{title}, {len(rows):,} records: {against_cleanlab(pool, wrong)}")
    print("| signal | " + " | ".join(SETS) + " | seconds a set |\n|---|" + "---:|" * (len(SETS) + 1))
    for name, by_set in found.items():
        told = " | ".join(f"{np.mean(by_set[s]):.3f}" for s in SETS)
        print(f"| {name} | {told} | {seconds[name] / len(SETS) / seeds:.1f} |")
    print("\n" + "\n".join(more))


def against_cleanlab(pool: TablePool, wrong: npt.NDArray[np.bool_]) -> str:
    signal = LabelIssues()
    _, labels, names, texts = labelled(pool)
    p = signal.out_of_fold(Rows.of(texts, signal.ngrams, signal.buckets), labels, len(names), Run())
    ours = confident(p, labels, names)
    told = f"{int(ours['off'].sum()):,} off the joint's diagonal, {wrong[ours['off']].mean():.0%} of them wrong"
    try:
        joint_of = importlib.import_module("cleanlab.count").compute_confident_joint
        scores = importlib.import_module("cleanlab.rank").get_label_quality_scores
    except ImportError:
        return told + "; cleanlab is not installed"
    areas: list[tuple[float, float]] = []
    for column, method in (("self_confidence", "self_confidence"), ("margin", "normalized_margin")):
        theirs = scores(labels, p.astype(float), method=method)
        areas.append((roc_auc_score(wrong, -ours[column]), roc_auc_score(wrong, -theirs)))
    joint = joint_of(labels, p.astype(float), calibrate=False)
    off = int(joint.sum() - np.trace(joint))
    pairs = ", ".join(f"{a:.4f} and {b:.4f}" for a, b in areas)
    return f"{told} (cleanlab {off:,}); self-confidence and margin, tilth and cleanlab: {pairs}"


def disagreement(data: Path) -> None:
    rows = [*rows_of(data / "C_labeled" / "hate_offensive_votes.jsonl.zst")]
    votes = np.array([[r[k] for k in VOTES] for r in rows], float)
    share = votes / votes.sum(1, keepdims=True)
    entropy = -np.where(share > 0, share * np.log(np.maximum(share, 1e-12)), 0).sum(1)
    pool = table([r["text"] for r in rows], np.array([str(r["label"]) for r in rows]))
    print(f"\n{len(rows):,} tweets: rank correlation with the annotators' disagreement (entropy of their votes)\n")
    print("| signal | rank correlation | 95 % interval |\n|---|---:|---:|")
    columns = {"random": Run().rng("random").random(len(rows))}
    for name, (signal, column, sign) in SIGNALS.items():
        columns[name] = sign * score_in_memory(signal, pool).column(column).to_numpy()
    for name, values in columns.items():
        r = float(spearmanr(values, entropy).statistic)
        half = 1.96 * np.sqrt((1 + r * r / 2) / (len(rows) - 3))  # Bonett and Wright's variance, on Fisher's scale
        low, high = np.tanh(np.arctanh(r) - half), np.tanh(np.arctanh(r) + half)
        print(f"| {name} | {r:.3f} | [{low:.3f}, {high:.3f}] |")


VOTES = ("votes_hate", "votes_offensive", "votes_neither")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the development data, with C_labeled")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    planted(args.data, args.seeds)
    disagreement(args.data)


if __name__ == "__main__":
    main()
