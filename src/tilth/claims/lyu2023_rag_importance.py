"""Importance of retrieved sources (arXiv 2307.03027): it finds bad sources, and pruning by it helps unseen queries.

Questions and answers of MedQuAD. Every answer stands in three of 100 sources, each time with another part of its
sentences missing. In 30 sources every passage is corrupted: title and name of the disease are right, the text is the
answer to the same kind of question about another disease, so it is retrieved as well as the right one. Half of the
diseases' questions are for learning: on one half of these the importance is fitted, on the other the cut is chosen; the
rest are held out. A passage is right if it was made from the answer that is judged relevant and is not corrupted; the
importance never sees that, it compares passages with the answers of the training questions. Needs
D_retrieval/medquad; a few seconds a seed.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import roc_auc_score

from tilth.claims import _lab as lab
from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import UsageError
from tilth.kernels.multilinear import gains
from tilth.models.bm25 import BM25
from tilth.signals.influence.rag_importance import RagImportance

__all__ = ["PAPER", "run"]

PAPER = "improving_retrievalaugmented_large_language_models_via"
FOLDER: Final = Path("D_retrieval") / "medquad"
SEEDS: Final = 5
SHORTEST, LONGEST = 200, 4000

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Scale:
    """How much is drawn from the questions, and how it is dealt to sources."""

    answers: int = 2000
    sources: int = 100
    corrupted: float = 0.3
    copies: int = 3
    kept: float = 0.7
    k: int = 3
    depth: int = 20


@dataclass(frozen=True)
class Asked:
    """Queries and what retrieval finds for them.

    Attributes:
        units: (queries, depth) source of each passage found, -1 after the last.
        right: (queries, depth) whether the passage is the judged answer and not corrupted.
    """

    units: Ints
    right: Flags

    def share(self, keep: Flags, k: int) -> float:
        """The mean share of right passages among the first k from sources that are kept."""
        return float(gains(self.units, self.right, keep, k)[1].mean())


def run(data: Path | None, scale: Scale | None = None) -> list[dict[str, Any]]:
    """One row per statement: what is wanted, mean and 95 % interval over the seeds, whether it holds.

    Raises:
        UsageError: when the questions are missing.
    """
    files = [data / FOLDER / f"{name}.parquet" for name in ("queries", "corpus", "qrels")] if data else []
    if not files or not all(file.exists() for file in files):
        raise UsageError(
            f"This claim needs real questions and answers: give --data FOLDER (or set TILTH_DATA) with {FOLDER}/ in it "
            "that has queries.parquet (qid, text, qtype, focus), corpus.parquet (docid, text) and qrels.parquet."
        )
    rows = _read(files)
    return statements([measured(rows, scale or Scale(), Run(seed=seed)) for seed in range(SEEDS)])


def statements(found: Sequence[dict[str, float]]) -> list[dict[str, Any]]:
    """The rows, judged on what `measured` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}
    gain, random = of["pruned"] - of["all"], of["random"] - of["all"]
    first, before = of["first_pruned"] / of["first_oracle"], of["first_all"] / of["first_oracle"]
    ahead, rival = of["pruned"] - of["random"], of["pruned"] - of["rival"]
    restored = gain / (of["oracle"] - of["all"])
    return [
        lab.row("bad sources found: AUROC", "at least 0.95", of["auroc"], of["auroc"].mean() >= 0.95),
        lab.row("held out, right in the first 3: pruned less unpruned", "above 0", gain, lab.mean(gain)[1] > 0),
        lab.row("... pruned less as many sources pruned at random", "above 0", ahead, lab.mean(ahead)[1] > 0),
        lab.row("... control: pruned at random less unpruned", "at most 0", random, lab.mean(random)[1] <= 0),
        lab.row(
            "held out, the first is right: pruned / pruned by the truth", "at least 0.9", first, first.mean() >= 0.9
        ),
        lab.row("... unpruned / pruned by the truth", "", before, None),
        lab.row("right in the first 3: all sources", "", of["all"], None),
        lab.row("... pruned", "", of["pruned"], None),
        lab.row("... pruned by the truth", "", of["oracle"], None),
        lab.row("... share of what pruning by the truth gains", "", restored, None),
        lab.row("the first is right: all sources", "", of["first_all"], None),
        lab.row("... pruned", "", of["first_pruned"], None),
        lab.row("... pruned by the truth", "", of["first_oracle"], None),
        lab.row("sources pruned, of 100 with 30 bad", "", of["cut"], None),
        lab.row("AUROC from 50 training questions", "", of["auroc_few"], None),
        lab.row("rival, one source left out at a time: AUROC", "", of["auroc_one_out"], None),
        lab.row("rival, mean utility of a source's passages: AUROC", "", of["auroc_mean"], None),
        lab.row("... right in the first 3: pruned less pruned by that mean", "", rival, None),
    ]


def measured(rows: Sequence[dict[str, str]], scale: Scale, run: Run) -> dict[str, float]:
    """Everything of one seed."""
    passages, made_from, source, bad = _world(rows, scale, run)
    chosen = sorted(set(made_from.tolist()))
    diseases = run.rng("split").permutation(sorted({rows[i]["focus"] for i in chosen}))
    part = {focus: 3 if d < len(diseases) // 2 else d % 2 for d, focus in enumerate(diseases)}
    fit, tune, held = ([i for i in chosen if part[rows[i]["focus"]] == p] for p in (0, 1, 3))
    table = {"query": [""] * len(passages), "positive": passages, "source": [f"{s:03d}" for s in source]}
    pool = TablePool(pa.table({**table, "negatives": [[]] * len(passages)}), "retrieval")
    index, signal = BM25.of(passages), RagImportance(k=scale.k, depth=scale.depth)

    def asked(which: Sequence[int]) -> Asked:
        found, _ = index.search([rows[i]["query"] for i in which], scale.depth)
        right = (made_from[found] == np.array(which)[:, None]) & ~bad[source[found]] & (found >= 0)
        return Asked(np.where(found >= 0, source[found], -1), right)

    def target(which: Sequence[int]) -> TablePool:
        known = {"query": [rows[i]["query"] for i in which], "positive": [rows[i]["answer"] for i in which]}
        return TablePool(pa.table({**known, "negatives": [[]] * len(which)}), "retrieval")

    def importance(which: Sequence[int]) -> Floats:
        learnt = signal.fit(pool, Goal(target(which), target(which), Budget(1, "pairs")), run)
        return np.array([learnt.get(f"{s:03d}", (0.5, 0))[0] for s in range(scale.sources)])

    def ranked(which: Sequence[int]) -> tuple[Ints, Floats]:
        names, units, utility = signal.ranked(pool, target(which))
        return np.where(units >= 0, np.array(names, np.int64)[units], -1), utility

    def found_bad(values: Floats) -> float:
        return float(roc_auc_score(bad, -values))

    values, unseen = importance(fit), asked(held)
    mean, one_out = _rivals(*ranked(fit), scale)
    keep = _cut(values, *ranked(tune), scale.k)
    by_mean = mean >= np.sort(mean)[(~keep).sum()]
    chance = np.zeros(scale.sources, bool)
    chance[run.rng("chance").permutation(scale.sources)[: keep.sum()]] = True
    everyone = np.ones(scale.sources, bool)
    return {
        "auroc": found_bad(values),
        "auroc_few": found_bad(importance(fit[:50])),
        "auroc_mean": found_bad(mean),
        "auroc_one_out": found_bad(one_out),
        "all": unseen.share(everyone, scale.k),
        "pruned": unseen.share(keep, scale.k),
        "oracle": unseen.share(~bad, scale.k),
        "random": unseen.share(chance, scale.k),
        "rival": unseen.share(by_mean, scale.k),
        "first_all": unseen.share(everyone, 1),
        "first_pruned": unseen.share(keep, 1),
        "first_oracle": unseen.share(~bad, 1),
        "cut": float((~keep).sum()),
    }


def _rivals(units: Ints, utility: Floats, scale: Scale) -> tuple[Floats, Floats]:
    """Per source, the mean utility of its passages, and what leaving it out of all sources loses."""
    there = units >= 0
    count = np.bincount(units[there], minlength=scale.sources)
    mean = np.bincount(units[there], utility[there], scale.sources) / np.maximum(count, 1)
    everyone = np.ones(scale.sources)
    full = gains(units, utility, everyone, scale.k)[1].mean()
    without = [gains(units, utility, np.arange(scale.sources) != s, scale.k)[1].mean() for s in range(scale.sources)]
    return mean, full - np.array(without)


def _cut(values: Floats, units: Ints, utility: Floats, k: int) -> Flags:
    """Which sources to keep: the cut in importance that is best on these queries, the mildest of equals."""
    cuts = [values >= cut for cut in np.unique(values)]
    return max(cuts, key=lambda keep: (round(float(gains(units, utility, keep, k)[1].mean()), 9), int(keep.sum())))


def _read(files: Sequence[Path]) -> list[dict[str, str]]:
    """Query, its kind, the disease it is about, and its judged answer."""
    queries, corpus, judged = (pq.read_table(file).to_pylist() for file in files)
    text = {row["docid"]: row["text"] for row in corpus}
    answer = {row["qid"]: text[row["docid"]] for row in judged}
    return [
        {"query": q["text"], "kind": q["qtype"], "focus": q["focus"], "answer": answer[q["qid"]]}
        for q in queries
        if q["focus"] and SHORTEST <= len(answer[q["qid"]]) <= LONGEST
    ]


def _world(rows: Sequence[dict[str, str]], scale: Scale, run: Run) -> tuple[list[str], Ints, Ints, Flags]:
    """Passages, the row and the source of each, and which sources are bad."""
    rng = run.rng("world")
    bad = np.zeros(scale.sources, bool)
    bad[rng.choice(scale.sources, round(scale.sources * scale.corrupted), replace=False)] = True
    same = defaultdict(list)
    for i, row in enumerate(rows):
        same[row["kind"]].append(i)
    passages, made_from, source = [], [], []
    for i in rng.choice(len(rows), scale.answers, replace=False).tolist():
        row = rows[i]
        for s in rng.choice(scale.sources, scale.copies, replace=False).tolist():
            text = row["answer"]
            if bad[s]:
                other = rows[_other(i, rows, same[row["kind"]], rng)]
                name = row["focus"].replace("\\", r"\\")
                text = re.sub(re.escape(other["focus"]), name, other["answer"], flags=re.IGNORECASE)
            sentences = re.split(r"(?<=[.!?])\s+", text)
            kept = [x for x in sentences if rng.random() < scale.kept] or sentences[:1]
            passages.append(f"{row['focus']}. {' '.join(kept)}")
            made_from.append(i)
            source.append(s)
    return passages, np.array(made_from), np.array(source), bad


def _other(i: int, rows: Sequence[dict[str, str]], same: Sequence[int], rng: np.random.Generator) -> int:
    """A row of the same kind about another disease."""
    others = [j for j in rng.choice(same, 20).tolist() if rows[j]["focus"] != rows[i]["focus"]]
    return others[0] if others else i
