"""Data filtering networks (Fang et al. 2023, arXiv 2309.17425): the better model is not the better filter.

Questions and answers of MedQuAD. In a pool of 5,000 pairs half the answers are swapped for another answer about the
same disease: on topic, and wrong. Filters are bi-encoders (`models/alignment.py`, as in `data_filter_network`) on word
vectors learned from the pool's texts; they differ in the pairs they are trained on: 500 or 100 trusted ones, 5,000 of
which half are swapped like the pool's, both together, or 500 with a growing share swapped. Each keeps the 2,000 pairs
it aligns best, and on these an induced model, a fresh bi-encoder, is trained. Filters and induced models are asked 800
questions about other diseases: own and induced accuracy are the share whose right answer comes first among the 800. The
noisy task is the same with half of the answers swapped. Diseases are split between test, trusted pairs and the rest.
Needs D_retrieval/medquad; half a minute a seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from tilth.claims import _lab as lab
from tilth.core import Run
from tilth.core.errors import UsageError
from tilth.models.alignment import Alignment
from tilth.models.encoder import StaticEncoder

__all__ = ["PAPER", "run"]

PAPER = "data_filtering_networks"
FOLDER: Final = Path("D_retrieval") / "medquad"
SEEDS: Final = 5
Pair: TypeAlias = tuple[str, str, str]
"""Question, answer, disease."""


@dataclass(frozen=True)
class Scale:
    """How many pairs there are of each kind, what a filter keeps, and the training of all bi-encoders."""

    test: int = 800
    trusted: int = 500
    few: int = 100
    pool: int = 5000
    noisy: int = 5000
    kept: int = 2000
    swapped: float = 0.5
    shares: tuple[float, ...] = (0.25, 0.5, 0.75)
    longest: int = 600
    steps: int = 400


def run(data: Path | None, scale: Scale | None = None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval over the seeds, whether it holds.

    Raises:
        UsageError: when the questions are missing.
    """
    files = [data / FOLDER / f"{name}.parquet" for name in ("queries", "corpus", "qrels")] if data else []
    if not files or not all(file.exists() for file in files):
        raise UsageError(
            f"This claim needs real questions and answers: give --data FOLDER (or set TILTH_DATA) with {FOLDER}/ in it "
            "that has queries.parquet (qid, text, focus), corpus.parquet (docid, text) and qrels.parquet."
        )
    here = scale or Scale()
    pairs = _read(files, here.longest)
    return statements([measured(pairs, here, Run(seed=seed)) for seed in range(SEEDS)], here.shares)


def statements(found: Sequence[dict[str, float]], shares: Sequence[float] = Scale().shares) -> list[dict[str, Any]]:
    """The rows, judged on what `measured` gives of each seed."""
    of = {name: np.array([one[name] for one in found]) for name in found[0]}

    def less(a: str, b: str, what: str = "induced") -> npt.NDArray[np.float64]:
        return np.asarray(of[f"{a}: {what}"] - of[f"{b}: {what}"])

    def above(statement: str, values: npt.ArrayLike) -> dict[str, Any]:
        return lab.row(statement, "above 0", values, lab.mean(values)[1] > 0)

    sweep = ["trusted", *(f"{share:.0%} swapped" for share in shares)]
    slope = [float(np.polyfit([0, *shares], [one[f"{s}: induced"] for s in sweep], 1)[0]) for one in found]
    filters = [name.removesuffix(": own") for name in of if name.endswith(": own")]
    ranks = [
        float(spearmanr([o[f"{f}: own"] for f in filters], [o[f"{f}: induced"] for f in filters]).statistic)
        for o in found
    ]
    rows = [
        above("few trusted less many noisy: induced accuracy", less("few trusted", "noisy")),
        above("many noisy less few trusted: own accuracy", -less("few trusted", "noisy", "own")),
        above("trusted less many noisy: induced accuracy", less("trusted", "noisy")),
        above("many noisy less trusted: own accuracy on the noisy task", -less("trusted", "noisy", "noisy task")),
        above("trusted less trusted with noisy: induced accuracy", less("trusted", "both")),
        lab.row("induced accuracy per share of training pairs swapped", "below 0", slope, lab.mean(slope)[2] < 0),
        lab.row("own and induced accuracy of the filters: Spearman", "", ranks, None),
    ]
    for name in filters:
        rows += [
            lab.row(f"{name}: {what}", "", of[f"{name}: {what}"], None)
            for what in ("own", "noisy task", "right among kept", "AUROC", "induced")
        ]
    return [*rows, *(lab.row(f"{n}: induced", "", of[f"{n}: induced"], None) for n in ("random", "truth"))]


def measured(pairs: Sequence[Pair], scale: Scale, run: Run) -> dict[str, float]:
    """Everything of one seed: per filter its own accuracy, what it keeps, and the induced model's accuracy."""
    rng = run.rng("pairs")
    test, trusted, pool, noisy = _split(pairs, scale, rng)
    answers: dict[str, list[str]] = {}
    for _, answer, disease in pairs:
        answers.setdefault(disease, []).append(answer)
    mixed, wrong = swapped(pool, answers, scale.swapped, rng)
    asked, said = _columns(mixed)
    encoder = StaticEncoder.train([*asked, *said], run)

    def encoded(some: Sequence[Pair]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        left, right = _columns(some)
        return encoder.encode(left), encoder.encode(right)

    def trained(x: npt.ArrayLike, y: npt.ArrayLike, name: str) -> Alignment:
        return Alignment.train(x, y, run.rng("train", name), steps=scale.steps)

    x, y = encoded(mixed)
    exam, noisy_exam = encoded(test), encoded(swapped(test, answers, scale.swapped, rng)[0])
    bad = swapped(noisy, answers, scale.swapped, rng)[0]
    schools = {"few trusted": trusted[: scale.few], "trusted": trusted, "noisy": bad, "both": [*trusted, *bad]}
    schools |= {f"{share:.0%} swapped": swapped(trusted, answers, share, rng)[0] for share in scale.shares}
    filters = {name: trained(*encoded(some), name) for name, some in schools.items()}
    filters["untrained"] = Alignment.identity(x.shape[1])
    found: dict[str, float] = {}
    for name, model in filters.items():
        score, _ = model.score(x, y)
        kept = np.argsort(-score)[: scale.kept]
        found[f"{name}: own"] = model.recall(*exam, 1)
        found[f"{name}: noisy task"] = model.recall(*noisy_exam, 1)
        found[f"{name}: right among kept"] = float(1 - wrong[kept].mean())
        found[f"{name}: AUROC"] = float(roc_auc_score(~wrong, score))
        found[f"{name}: induced"] = trained(x[kept], y[kept], "induced").recall(*exam, 1)
    chance = {"random": rng.permutation(len(mixed)), "truth": np.flatnonzero(~wrong)}
    for name, rows in chance.items():
        kept = rows[: scale.kept]
        found[f"{name}: induced"] = trained(x[kept], y[kept], "induced").recall(*exam, 1)
    return found


def swapped(
    pairs: Sequence[Pair], answers: dict[str, list[str]], share: float, rng: np.random.Generator
) -> tuple[list[Pair], npt.NDArray[np.bool_]]:
    """The pairs, a share of them with another answer about the same disease, and which; some disease has only one."""
    out, wrong = list(pairs), np.zeros(len(pairs), bool)
    for i in rng.permutation(len(pairs)):
        question, answer, disease = pairs[i]
        others = [other for other in answers[disease] if other != answer]
        if others and wrong.sum() < round(share * len(pairs)):
            out[i] = (question, others[int(rng.integers(len(others)))], disease)
            wrong[i] = True
    return out, wrong


def _split(pairs: Sequence[Pair], scale: Scale, rng: np.random.Generator) -> tuple[list[Pair], ...]:
    """Test, trusted, pool and noisy pairs; test and trusted are of diseases of their own."""
    place = {disease: rng.random() for disease in sorted({pair[2] for pair in pairs})}
    shuffled = [pairs[i] for i in rng.permutation(len(pairs))]
    test = [pair for pair in shuffled if place[pair[2]] < 0.1][: scale.test]
    trusted = [pair for pair in shuffled if 0.1 <= place[pair[2]] < 0.2][: scale.trusted]
    rest = [pair for pair in shuffled if place[pair[2]] >= 0.2]
    return test, trusted, rest[: scale.pool], rest[scale.pool : scale.pool + scale.noisy]


def _columns(pairs: Sequence[Pair]) -> tuple[list[str], list[str]]:
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _read(files: Sequence[Path], longest: int) -> list[Pair]:
    """All judged pairs, answers cut; of equal answers the first only."""
    queries, corpus, judged = (pq.read_table(file).to_pylist() for file in files)
    asked = {row["qid"]: row for row in queries}
    said = {row["docid"]: row["text"][:longest] for row in corpus}
    pairs: dict[str, Pair] = {}
    for row in judged:
        question, answer = asked[row["qid"]], said[row["docid"]]
        pairs.setdefault(answer, (question["text"], answer, question["focus"]))
    return [*pairs.values()]
