"""Pretrain theory: numbers whose few hidden causes can be learned without labels, and labels that depend on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Pool, Probe, Run, TablePool, World
from tilth.core.errors import DataError
from tilth.core.records import Kind

__all__ = ["Law", "PretrainTheory", "excess", "mixture", "numbers", "slope", "subspace", "supervised", "two_stage"]

Floats = npt.NDArray[np.float64]
Features = Callable[[Floats], Floats]
SIGNAL: Final = 2.0
"""Standard deviation of x along a hidden factor, before noise of standard deviation 1."""
RESTARTS, ROUNDS, SETTLED = 4, 200, 1e-7


@dataclass(frozen=True)
class Law:
    """How x and y come about. `centres` are the columns of the factors, or the rows of the mixture's means.

    Attributes:
        weights: what each factor, or each component, adds to y.
        beside: a direction of x without any hidden cause; when given, y depends on it alone.
    """

    kind: Literal["factor", "mixture"]
    centres: Floats
    weights: Floats
    noise: float
    beside: Floats | None

    def sample(self, count: int, rng: np.random.Generator) -> tuple[Floats, Floats, Floats]:
        """x, y, and the best guess of y that x allows."""
        dims, hidden = self.centres.shape if self.kind == "factor" else self.centres.shape[::-1]
        if self.kind == "factor":
            cause = rng.normal(0, 1, (count, hidden))
            x = cause @ self.centres.T + rng.normal(0, 1, (count, dims))
            # The covariance of x is centres centres' + 1, and the centres are orthogonal, of length SIGNAL.
            guessed = x @ self.centres / (SIGNAL**2 + 1)
        else:
            cause = np.eye(hidden)[rng.integers(0, hidden, count)]
            x = cause @ self.centres + rng.normal(0, 1, (count, dims))
            guessed = _posterior(x, self.centres, 1.0, np.full(hidden, 1 / hidden))
        if self.beside is None:
            clean, best = cause @ self.weights, guessed @ self.weights
        else:
            clean = best = x @ self.beside
        return x, clean + rng.normal(0, self.noise, count), best


class PretrainTheory(Probe):
    """Does it help to learn the hidden causes from unlabelled records first? A world where the answer is known.

    A record is `dims` numbers. In a *factor* world they come from a few independent factors, each spread over all
    numbers, plus noise; in a *mixture* world from one of a few clusters. The pool (kind ``text``) is unlabelled;
    ``more["labeled"]`` has few records with a label, a number that depends on the hidden causes alone, plus noise. With
    m unlabelled and n labelled records, learning the causes first costs of the order of 1/m + latent/n in excess risk;
    learning from labels alone costs dims/n. With ``informative=False`` the label depends on a direction that no cause
    touches: then the first stage throws away what is needed. The truth is ``truth.best``, the best guess of the label.

    `grade` takes one number for each record of ``more["test"]`` and returns 1 - the excess risk relative to always
    guessing the mean, not below 0: **chance is 0**. `two_stage` and `supervised` are the two learners; `excess` and
    `slope` measure them. Trap: with n below dims, or all n far above it, the gap is hidden; compare around it. Mixtures
    are found up to the order of their clusters only, and sometimes not at all: EM starts several times.
    Cost: 10,000 records a second; nearly all of it is writing numbers down. Source: arXiv 2303.01566.

    >>> from tilth.core import Run
    >>> probe = PretrainTheory(labelled=60)
    >>> world = probe.build(2000, Run())
    >>> x, y = numbers(world.more["labeled"])
    >>> test, _ = numbers(world.more["test"])
    >>> first = subspace(numbers(world.pool)[0], probe.latent)
    >>> [round(probe.grade(world, predict(test)), 2) for predict in (two_stage(first, x, y), supervised(x, y))]
    [0.99, 0.0]
    """

    paper: ClassVar[str] = "on_the_provable_advantage_of_unsupervised"

    kind: Literal["factor", "mixture"] = Field("factor", description="hidden factors, or hidden clusters")
    dims: int = Field(50, ge=4, le=1000, description="numbers of a record")
    latent: int = Field(4, ge=2, le=100, description="hidden factors or clusters; fewer than dims")
    noise: float = Field(0.5, ge=0, le=10, description="standard deviation of the labels' noise; labels vary by 1")
    apart: float = Field(4.0, gt=0, le=100, description="distance of two clusters, in standard deviations")
    labelled: int = Field(200, ge=1, le=10_000_000, description="records with a label")
    tests: int = Field(500, ge=2, le=1_000_000, description="records of the test")
    informative: bool = Field(True, description="labels depend on the hidden causes, not beside them")

    def build(self, size: int, run: Run) -> World:
        law = self.law(run)
        sides: tuple[tuple[str, int, Kind], ...] = (
            ("pool", size, "text"),
            ("labeled", self.labelled, "labeled"),
            ("test", self.tests, "labeled"),
        )
        made = {name: _pool(name, kind, *law.sample(n, run.rng("pretrain_theory", name))) for name, n, kind in sides}
        return World(made["pool"], more={"labeled": made["labeled"], "test": made["test"]})

    def grade(self, world: World, answer: Any) -> float:
        best = np.array([t["best"] for t in world.more["test"].column("truth").to_pylist()])
        given = np.asarray([*answer], float)
        if given.shape != best.shape or not np.isfinite(given).all():
            raise DataError(
                f"pretrain_theory grades {best.size} finite numbers, one per test record. Got {given.size}."
            )
        return float(max(0.0, 1 - ((given - best) ** 2).mean() / best.var()))

    def law(self, run: Run) -> Law:
        """How this run's records come about: the same for every size."""
        if self.latent >= self.dims:
            raise DataError(f"pretrain_theory needs fewer hidden causes than numbers: {self.latent} of {self.dims}.")
        rng = run.rng("pretrain_theory", "law")
        axes = np.linalg.qr(rng.normal(0, 1, (self.dims, self.latent + 1)))[0]
        beside = None if self.informative else axes[:, -1]
        weights = rng.normal(0, 1, self.latent)
        if self.kind == "factor":
            return Law(self.kind, SIGNAL * axes[:, :-1], weights / np.linalg.norm(weights), self.noise, beside)
        weights = (weights - weights.mean()) / weights.std()
        return Law(self.kind, self.apart / np.sqrt(2) * axes[:, :-1].T, weights, self.noise, beside)


def _pool(name: str, kind: Kind, x: Floats, y: Floats, best: Floats) -> TablePool:
    table = {
        "id": pa.array([f"{name}{i}" for i in range(len(x))], pa.string()),
        "text": pa.array([" ".join(f"{v:.4f}" for v in row) for row in x.tolist()], pa.string()),
        "truth": pa.array([{"best": b} for b in best.tolist()], pa.struct([("best", pa.float64())])),
    }
    if kind == "labeled":
        table["label"] = pa.array([f"{v:.6f}" for v in y.tolist()], pa.string())
    return TablePool(pa.table(table), kind)


def numbers(pool: Pool) -> tuple[Floats, Floats]:
    """The numbers of a pool's records, and their labels; none for a pool without."""
    x = np.array([[*map(float, text.split())] for text in pool.column("text").to_pylist()])
    labels = pool.column("label").to_pylist() if pool.kind == "labeled" else []
    return x, np.array([float(label) for label in labels])


def subspace(x: Floats, latent: int) -> Features:
    """First stage for factors: probabilistic PCA by maximum likelihood, the top directions of the covariance."""
    axes = np.linalg.eigh(x.T @ x / len(x))[1][:, -latent:]
    return lambda new: new @ axes


def mixture(x: Floats, latent: int, rng: np.random.Generator) -> Features:
    """First stage for clusters: EM for equally round clusters, the likeliest of several starts; their posteriors."""
    found = max((_em(x, latent, rng) for _ in range(RESTARTS)), key=lambda fit: fit[0])
    return lambda new: _posterior(new, *found[1])


def _em(x: Floats, latent: int, rng: np.random.Generator) -> tuple[float, tuple[Floats, float, Floats]]:
    """Log-likelihood per record, and centres, variance and shares."""
    centres = x[rng.integers(len(x))][None]
    while len(centres) < latent:  # spread-out starts, as k-means++ takes them
        far = _squares(x, centres).min(1)
        centres = np.vstack([centres, x[rng.choice(len(x), p=far / far.sum())]])
    variance, shares, before = (
        float(_squares(x, centres).min(1).mean() / x.shape[1]),
        np.full(latent, 1 / latent),
        -np.inf,
    )
    for _ in range(ROUNDS):
        logs = np.log(shares) - _squares(x, centres) / (2 * variance) - x.shape[1] / 2 * np.log(2 * np.pi * variance)
        top = logs.max(1, keepdims=True)
        odds = np.exp(logs - top)
        likelihood = float((np.log(odds.sum(1)) + top[:, 0]).mean())
        posterior = odds / odds.sum(1, keepdims=True)
        mass = posterior.sum(0) + 1e-12
        centres, shares = posterior.T @ x / mass[:, None], mass / mass.sum()
        variance = float((posterior * _squares(x, centres)).sum() / x.size) + 1e-12
        if likelihood - before < SETTLED:
            break
        before = likelihood
    return likelihood, (centres, variance, shares)


def _squares(x: Floats, centres: Floats) -> Floats:
    squares: Floats = (x**2).sum(1)[:, None] - 2 * x @ centres.T + (centres**2).sum(1)
    return np.maximum(squares, 0.0)


def _posterior(x: Floats, centres: Floats, variance: float, shares: Floats) -> Floats:
    logs = np.log(shares) - _squares(x, centres) / (2 * variance)
    odds = np.exp(logs - logs.max(1, keepdims=True))
    posterior: Floats = odds / odds.sum(1, keepdims=True)
    return posterior


def two_stage(features: Features, x: Floats, y: Floats) -> Features:
    """Second stage: least squares of the labels on what the first stage found."""
    weights = np.linalg.lstsq(features(x), y, rcond=None)[0]
    return lambda new: features(new) @ weights


def supervised(x: Floats, y: Floats) -> Features:
    """Labels alone: least squares on the numbers themselves, the shortest solution where there are many."""
    return two_stage(lambda new: new, x, y)


def excess(predict: Features, x: Floats, best: Floats) -> float:
    """Mean squared distance to the best guess: the risk beyond what no learner can avoid."""
    return float(((predict(x) - best) ** 2).mean())


def slope(sizes: Sequence[float], risks: Sequence[float]) -> float:
    """The exponent of a power law through the points, by least squares of logarithms.

    >>> round(slope([10, 100, 1000], [5, 0.5, 0.05]), 6)
    -1.0
    """
    return float(np.polyfit(np.log(sizes), np.log(risks), 1)[0])
