"""Can this measure tell the candidates apart? Signal to noise of a loss, over all items or over one goal's.

Candidates by seeds is a two-way table of mean losses. What a seed does to all candidates alike cancels in a paired
comparison, so the noise is what is left when candidate and seed effects are taken out:

    noise^2 = MS(rest),    ratio = (largest - smallest candidate mean) / noise,
    reliability = 1 - MS(rest) / MS(candidates), the share of the variance between candidates' means that is real.

Reliability is an intraclass correlation, Shrout and Fleiss 1979 (their 3,k); spread over noise as a test of benchmarks
is Heineman et al. 2025 (arXiv 2508.13144), who take the noise between late checkpoints of one run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["SignalToNoise", "by_goal", "signal_to_noise"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class SignalToNoise:
    """How well a measure tells candidates apart.

    Attributes:
        spread: largest minus smallest candidate mean.
        noise: standard deviation of a candidate's mean loss between seeds, seed effects shared by all taken out.
        reliability: share in [0, 1] of the variance between candidates' means that is not noise.
    """

    spread: float
    noise: float
    reliability: float

    @property
    def ratio(self) -> float:
        """Spread over noise; infinite without noise, 0 without either."""
        return self.spread / self.noise if self.noise > 0 else (np.inf if self.spread > 0 else 0.0)


def signal_to_noise(losses: Mapping[str, Floats], weights: npt.ArrayLike | None = None) -> SignalToNoise:
    """Of candidates' tables of losses, each (seeds, items).

    Raises:
        ValueError: with fewer than 2 candidates or 2 seeds.
    """
    tables = np.stack([np.asarray(table, float) for table in losses.values()])
    w = np.ones(tables.shape[2]) if weights is None else np.asarray(weights, float)
    means = tables @ (w / w.sum())
    candidates, seeds = means.shape
    if candidates < 2 or seeds < 2:
        raise ValueError(f"Signal to noise needs at least 2 candidates and 2 seeds; got {candidates} and {seeds}.")
    rest = means - means.mean(1, keepdims=True) - means.mean(0, keepdims=True) + means.mean()
    noise_square = float((rest**2).sum()) / ((candidates - 1) * (seeds - 1))
    of_candidates = means.mean(1)
    square = seeds * float(np.var(of_candidates, ddof=1))
    reliability = max(0.0, 1 - noise_square / square) if square > 0 else 0.0
    return SignalToNoise(float(np.ptp(of_candidates)), float(np.sqrt(noise_square)), reliability)


def by_goal(
    losses: Mapping[str, Floats], weights: npt.ArrayLike, goals: Mapping[str, npt.NDArray[np.bool_]]
) -> dict[str, SignalToNoise]:
    """Signal to noise over all items, under ``all``, and, where there are several goals, over each one's items."""
    w = np.asarray(weights, float)
    found = {"all": signal_to_noise(losses, w)}
    if len(goals) > 1:
        for name, mask in goals.items():
            if w[mask].sum() > 0:
                found[name] = signal_to_noise({n: t[:, mask] for n, t in losses.items()}, w[mask])
    return found
