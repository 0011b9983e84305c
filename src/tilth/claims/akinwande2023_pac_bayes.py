"""Akinwande et al. 2023 (arXiv 2310.03957): a bound on the true error of a prompt chosen among very many.

On simulated choices, since truth must be known: the best of 1,000 candidates of known error by its error on 2,000 items
under a prior that was drawn before, as a language model's would be.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, get_args

import numpy as np
from scipy.stats import spearmanr

from tilth.core import Run
from tilth.engine.evidence.certificate import Kind, certify, text_nats

__all__ = ["PAPER", "run"]

PAPER = "understanding_prompt_engineering_may_not_require"
TRIALS, CANDIDATES, ITEMS, DELTA = 200, 1000, 2000, 0.05


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what was wanted, what was reached, whether it holds. Needs no data."""
    kinds: tuple[Kind, ...] = get_args(Kind)
    broken: dict[Kind, int] = dict.fromkeys(kinds, 0)
    gaps: dict[Kind, list[float]] = {kind: [] for kind in kinds}
    for trial in range(TRIALS):
        rng = Run().rng("akinwande2023", trial)
        truth = rng.uniform(0.1, 0.5, CANDIDATES)
        nats = -np.log(rng.dirichlet(np.ones(CANDIDATES)))
        wrong = rng.binomial(ITEMS, truth)
        best = int(np.argmin(wrong))
        losses = np.arange(ITEMS) < wrong[best]
        for kind in kinds:
            bound = certify(losses, float(nats[best]), DELTA, kind).bound
            broken[kind] += truth[best] > bound
            gaps[kind].append(bound - truth[best])
    rows = []
    for kind in kinds:
        held = 1 - broken[kind] / TRIALS
        rows.append(_row(f"{kind}: bound holds for the chosen one", "at least 0.95", held, held >= 0.95))
        gap = float(np.mean(gaps[kind]))
        rows.append(_row(f"{kind}: bound less true error, mean", "at most 0.1", gap, gap <= 0.1))
    rng = Run().rng("akinwande2023", "texts")
    truth = rng.uniform(0.05, 0.6, 60)
    texts = [np.log(rng.uniform(0.05, 1.0, rng.integers(3, 25))) for _ in truth]
    bounds = [
        certify(rng.random(ITEMS) < t, text_nats(text), DELTA).bound for t, text in zip(truth, texts, strict=True)
    ]
    rank = float(spearmanr(bounds, truth).statistic)
    rows.append(_row("bounds of 60 texts rank as their true errors do", "at least 0.7", rank, rank >= 0.7))
    empty = certify(np.zeros(ITEMS), ITEMS * math.log(50_000)).bound
    rows.append(_row("bound for a text with a random token per item", "at least 0.99", empty, empty >= 0.99))
    return rows


def _row(what: str, wanted: str, here: float, holds: bool) -> dict[str, Any]:
    return {"statement": what, "wanted": wanted, "here": round(here, 4), "holds": "yes" if holds else "no"}
