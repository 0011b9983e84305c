"""On the Provable Advantage of Unsupervised Pretraining (Ge et al. 2023, arXiv 2303.01566), in simulation.

The paper bounds the excess risk of learning a representation from m unlabelled records and a predictor from n labelled
ones by the order of C_phi/m + C_psi/n, where labels alone pay for both out of n. Here the representation has 4 hidden
factors in 50 numbers, or 4 clusters, so that C_psi counts 4 and labels alone count 50. Each risk is a mean over draws.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tilth.core import Run
from tilth.probes.pretrain_theory import PretrainTheory, excess, mixture, slope, subspace, two_stage

__all__ = ["PAPER", "run"]

PAPER = "on_the_provable_advantage_of_unsupervised"
FEW = (40, 80, 160, 400)
MANY = (400, 800, 1600, 4000)
UNLABELLED = (200, 400, 800, 2000)
EXAM = 4000
BAND = 0.15
FACTOR, BROKEN, CLUSTERS = PretrainTheory(), PretrainTheory(informative=False), PretrainTheory(kind="mixture")


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the theory says, what was measured, whether it holds. Needs no data."""
    del data
    few, many = (_risks(FACTOR, 50_000, sizes, 60) for sizes in (FEW, MANY))
    enough = [_risks(FACTOR, m, [20_000], 10)[0][0] for m in UNLABELLED]
    broken = _risks(BROKEN, 20_000, [400], 5)[0]
    clusters = _risks(CLUSTERS, 10_000, FEW, 6)
    dims, latent, n = FACTOR.dims, FACTOR.latent, MANY[0]
    predicted = dims / (n - dims - 1) / (latent / (n - latent - 1))
    ratio = many[0][1] / many[0][0]
    band = f"-1 +- {BAND}"
    return [
        _row("two stages: slope in n, 40 to 400", band, slope(FEW, [r[0] for r in few]), _near),
        _row("labels alone: slope in n, 400 to 4000", band, slope(MANY, [r[1] for r in many]), _near),
        _row("two stages: slope in m, 200 to 2000", band, slope(UNLABELLED, enough), _near),
        _row("labels alone over two stages, n = 400", f"{predicted:.1f} +- 25 %", ratio, _within(predicted)),
        _row("clusters: slope in n, 40 to 400", band, slope(FEW, [r[0] for r in clusters]), _near),
        _row("clusters: labels alone over two stages, n = 400", "above 2", clusters[-1][1] / clusters[-1][0], _above),
        _row("label beside the factors: two stages over labels alone", "above 2", broken[0] / broken[1], _above),
    ]


def _risks(probe: PretrainTheory, m: int, sizes: Sequence[int], draws: int) -> list[tuple[float, float]]:
    """Mean excess risk of two stages and of labels alone, for each number of labels."""
    found = np.zeros((draws, len(sizes), 2))
    for draw in range(draws):
        here = Run().at("ge2023_two_stage", probe.kind, m, draw)
        law, rng = probe.law(here), here.rng("records")
        if probe.kind == "factor":
            first = subspace(law.sample(m, rng)[0], probe.latent)
        else:
            first = mixture(law.sample(m, rng)[0], probe.latent, rng)
        exam, _, best = law.sample(EXAM, rng)
        for i, n in enumerate(sizes):
            x, y, _ = law.sample(n, rng)
            # Clusters are no straight line in x: labels alone must find them, too, from the same n records.
            kept = (lambda new: new) if probe.kind == "factor" else mixture(x, probe.latent, rng)
            alone = two_stage(kept, x, y)
            found[draw, i] = excess(two_stage(first, x, y), exam, best), excess(alone, exam, best)
    return [(float(a), float(b)) for a, b in found.mean(0)]


def _row(what: str, wanted: str, here: float, holds: Any) -> dict[str, Any]:
    return {"statement": what, "wanted": wanted, "here": round(here, 3), "holds": "yes" if holds(here) else "no"}


def _near(value: float) -> bool:
    return abs(value + 1) <= BAND


def _above(value: float) -> bool:
    return value > 2


def _within(wanted: float) -> Any:
    return lambda value: abs(value / wanted - 1) <= 0.25
