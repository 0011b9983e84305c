"""Mixtures whose trials ran elsewhere: fit losses to ratios, predict them, propose a mixture.

Two tables, joined by run: ``ratios.csv`` has a column per domain, ``metrics.csv`` one per metric. A fit is a folder
with both tables and ``fit.json``; surfaces are fitted anew from the tables, so the folder holds nothing but text.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt

from tilth.core import Limits, Run
from tilth.core.errors import BadInput, UsageError
from tilth.core.files import write_atomic
from tilth.io.mixtures import Table, read_table, write_table
from tilth.models import mixture_law, surface
from tilth.policies.mix._draw import draw

__all__ = ["KINDS", "Fit", "Proposal", "fit"]

Floats = npt.NDArray[np.float64]
LAWS = tuple(kind for kind in get_args(mixture_law.Kind) if kind != "auto")
KINDS: tuple[str, ...] = (*get_args(surface.Kind), *LAWS)
FEWEST = 8  # runs that a surface can be fitted to
DRAWS, BEST = 100_000, 128  # mixtures predicted, and those averaged: RegMix's


@dataclass(frozen=True)
class Proposal:
    """A mixture, and what is expected of it.

    Attributes:
        shares: domain -> share.
        predicted: what the surfaces expect of it, the goals' weighted mean.
        best_run: the same of the best run that was tried, as measured.
        natural: the same of the prior, as predicted.
    """

    shares: Mapping[str, float]
    predicted: float
    best_run: float
    natural: float


@dataclass(frozen=True)
class Fit:
    """Surfaces of metrics over ratios.

    Attributes:
        ratios: (runs, domains), rows sum to 1.
        metrics: (runs, metrics), of the same runs.
        kind: one of `KINDS`: of surface (`tilth.models.surface`), or of law (`tilth.models.mixture_law`).
    """

    ratios: Table
    metrics: Table
    kind: str = "auto"

    @classmethod
    def load(cls, folder: Path) -> Fit:
        """Read a fit that `save` wrote.

        Raises:
            BadInput: when the folder holds no whole fit.
        """
        try:
            kind = json.loads((folder / "fit.json").read_text())["kind"]
        except (OSError, ValueError, KeyError) as error:
            raise BadInput(f"{folder} holds no fit ({error}). `tilth mixture fit` makes one.") from None
        return cls(read_table(folder / "ratios.csv"), read_table(folder / "metrics.csv"), kind)

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the tables and, last, ``fit.json`` with how well each surface ranks; returns what it says."""
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "ratios.csv", self.ratios)
        write_table(folder / "metrics.csv", self.metrics)
        told = {
            "kind": self.kind,
            "runs": len(self.ratios.runs),
            "domains": self.ratios.columns,
            "metrics": self.told(),
        }
        write_atomic(folder / "fit.json", json.dumps(told, indent=1).encode())
        return told

    def told(self) -> dict[str, dict[str, float]]:
        """Per metric: rank correlation and mean error of runs that the surface had not seen, and the metric's range."""
        from scipy.stats import spearmanr

        out = {}
        for name, measured in zip(self.metrics.columns, self.metrics.values.T, strict=True):
            held = _held_out(self.ratios.values, measured, self.kind)
            flat = np.ptp(held) == 0 or np.ptp(measured) == 0
            out[name] = {
                "rank_agreement": 0.0 if flat else float(spearmanr(held, measured).statistic),
                "mean_error": float(np.abs(held - measured).mean()),
                "min": float(measured.min()),
                "max": float(measured.max()),
            }
        return out

    def predict(self, ratios: Table) -> Table:
        """The metrics of other mixtures of the same domains, in whatever order the table has them.

        Raises:
            UsageError: when a domain is unknown; those missing have a share of 0.
        """
        unknown = [name for name in ratios.columns if name not in self.ratios.columns]
        if unknown:
            raise UsageError(
                f"The fit knows no domain {unknown[0]!r}; it has {', '.join(self.ratios.columns)}. "
                f"Fit again with runs that had it."
            )
        place = {name: i for i, name in enumerate(ratios.columns)}
        none = np.zeros(len(ratios.runs))
        columns = [ratios.values[:, place[name]] if name in place else none for name in self.ratios.columns]
        mixtures = shared(Table(ratios.runs, self.ratios.columns, np.stack(columns, 1)), "the ratios").values
        found = [_fitted(self.ratios.values, column, self.kind)(mixtures) for column in self.metrics.values.T]
        return Table(ratios.runs, self.metrics.columns, np.stack(found, 1))

    def propose(
        self,
        goals: Mapping[str, float],
        limits: Limits | None = None,
        natural: Mapping[str, float] | None = None,
        budget: float | None = None,
        run: Run | None = None,
        highest: bool = False,
    ) -> Proposal:
        """The mean of the best predicted mixtures, moved into the limits.

        Args:
            goals: metric -> weight.
            natural: domain -> tokens there are; mean ratios of the runs when absent.
            budget: tokens that are to be read: with `natural` and a limit on repeats, what a domain may give at most.
            highest: larger metrics are better.

        Raises:
            UsageError: when a goal is no metric of the fit, or the limits allow nothing.
        """
        for name in goals:
            if name not in self.metrics.columns:
                raise UsageError(f"There is no metric {name!r}; the fit has {', '.join(self.metrics.columns)}.")
        weights = np.array([goals.get(name, 0.0) for name in self.metrics.columns])
        weights /= weights.sum()
        names = self.ratios.columns
        there = self.ratios.values.mean(0)
        if natural is not None:
            missing = [name for name in names if name not in natural]
            if missing:
                raise UsageError(f"How many tokens there are of {missing[0]!r} is not stated. State all domains.")
            there = np.array([float(natural[name]) for name in names])
        limits = limits or Limits()
        most = np.ones(len(names))
        if limits.repeats and (budget is None or natural is None):
            raise UsageError("A limit on repeats needs the tokens there are of each domain, and a budget.")
        if limits.repeats and budget is not None:
            most = np.minimum(1.0, limits.repeats * there / budget)
        room = limits.room(names, there / there.sum(), most)
        run = run or Run()
        sign = -1.0 if highest else 1.0
        used = [i for i in range(weights.size) if weights[i] > 0]
        fitted = [_fitted(self.ratios.values, self.metrics.values[:, i], self.kind) for i in used]

        def expected(mixtures: Floats) -> Floats:
            return np.asarray(sum(weights[i] * predict(mixtures) for i, predict in zip(used, fitted, strict=True)))

        fresh = draw(room, DRAWS, run.rng("draws"))
        chosen = room.nearest(fresh[np.argsort(sign * expected(fresh), kind="stable")[:BEST]].mean(0))
        measured = self.metrics.values @ weights
        return Proposal(
            dict(zip(names, chosen.tolist(), strict=True)),
            float(expected(chosen[None])[0]),
            float((sign * measured).min() * sign),
            float(expected(room.natural[None])[0]),
        )


def _fitted(mixtures: Floats, losses: Floats, kind: str) -> Callable[[Floats], Floats]:
    if kind in LAWS:
        return mixture_law.fit(mixtures, losses, cast(mixture_law.Kind, kind), resamples=0).predict
    return surface.fit(mixtures, losses, cast(surface.Kind, kind))


def _held_out(mixtures: Floats, losses: Floats, kind: str) -> Floats:
    """Predictions for each run by what has not seen it."""
    if kind in LAWS:
        return mixture_law.cross_validated(mixtures, losses, cast(mixture_law.Kind, kind))
    return surface.cross_validated(mixtures, losses, cast(surface.Kind, kind))


def fit(ratios: Table, metrics: Table, kind: str = "auto") -> tuple[Fit, list[str]]:
    """Join two tables by run.

    Args:
        kind: one of `KINDS`.

    Returns:
        The fit, and the runs that one table has and the other has not.

    Raises:
        UsageError: when fewer than 8 runs are in both, or the kind is none.
    """
    if kind not in KINDS:
        raise UsageError(f"The kind of a fit is one of {', '.join(KINDS)}. Got {kind!r}.")
    both = [run for run in ratios.runs if run in set(metrics.runs)]
    left = sorted({*ratios.runs, *metrics.runs} - {*both})
    if len(both) < FEWEST:
        raise UsageError(
            f"{len(both)} runs are in both tables; {FEWEST} are the least a surface can be fitted to. The ratios' runs "
            f"begin with {', '.join(ratios.runs[:3])}, the metrics' with {', '.join(metrics.runs[:3])}."
        )
    ours, theirs = ({run: i for i, run in enumerate(table.runs)} for table in (ratios, metrics))
    x = Table(tuple(both), ratios.columns, ratios.values[[ours[run] for run in both]])
    y = Table(tuple(both), metrics.columns, metrics.values[[theirs[run] for run in both]])
    return Fit(shared(x, "the ratios"), y, kind), left


def shared(table: Table, what: str) -> Table:
    """The table with rows that sum to 1.

    Raises:
        BadInput: when a ratio is negative or a run has none above 0.
    """
    total = table.values.sum(1)
    if (table.values < 0).any() or (total <= 0).any():
        bad = int(np.flatnonzero((table.values < 0).any(1) | (total <= 0))[0])
        raise BadInput(
            f"{what} of run {table.runs[bad]!r} are not a mixture: none may be negative, one must be above 0."
        )
    return Table(table.runs, table.columns, table.values / total[:, None])


def pairs(given: list[str], what: str) -> dict[str, float]:
    """``name=number`` options as a mapping; a name alone counts 1 where `what` is a goal.

    Raises:
        UsageError: when one cannot be read.
    """
    out = {}
    for text in given:
        name, equals, value = text.rpartition("=")
        if not equals and what == "goal":
            name, value = text, "1"
        try:
            out[name] = float(value)
        except ValueError:
            raise UsageError(f"--{what} reads NAME=NUMBER, such as --{what} web=0.3. Got {text!r}.") from None
        if not name:
            raise UsageError(f"--{what} reads NAME=NUMBER, such as --{what} web=0.3. Got {text!r}.")
    return out
