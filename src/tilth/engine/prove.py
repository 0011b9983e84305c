"""Put a plan to the test: the same trials for it and for its baselines, compared in pairs."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadRecipe
from tilth.core.goal import Goal
from tilth.core.method import digest
from tilth.core.plan import Groups, Plan
from tilth.core.pool import Pool
from tilth.core.proof import Proof
from tilth.core.run import Run
from tilth.engine.local import Workers, write_atomic
from tilth.engine.statistics import Comparison, benjamini_hochberg, compare, detectable, spearman

__all__ = ["Verdict", "length_matched", "prove"]

PLAN = "plan"


@dataclass(frozen=True)
class Verdict:
    """What the trials say.

    Attributes:
        unit: what a loss is, bits per byte unless the proof says otherwise.
        losses: name -> losses of shape (seeds, items); ``plan`` is the plan under test.
        weights: weight of each holdout item; they sum to 1.
        comparisons: baseline -> comparison with the plan; positive effects favour the plan.
        adjusted: baseline -> p-value adjusted for the number of baselines (Benjamini-Hochberg).
        detectable: smallest effect found in 4 of 5 repetitions, known before the plan's own trials.
        stability: rank correlation of all candidates between the proof and the same at half its scale.
        noise: standard deviation of the plan's mean loss between seeds.
        missing: baselines that could not be run, with the reason.
    """

    proof: Mapping[str, Any]
    unit: str
    losses: Mapping[str, npt.NDArray[np.float64]]
    weights: npt.NDArray[np.float64]
    comparisons: Mapping[str, Comparison]
    adjusted: Mapping[str, float]
    detectable: float
    stability: float
    noise: float
    missing: Mapping[str, str]

    def loss(self, name: str) -> float:
        """A candidate's loss, averaged over seeds and, by weight, over items."""
        return float((self.losses[name] @ self.weights).mean())

    def call(self, baseline: str) -> str:
        """``better``, ``worse`` or ``no difference`` against one baseline, adjusted for their number."""
        return self.comparisons[baseline].call(self.adjusted[baseline])

    @property
    def headline(self) -> str:
        """One sentence: the plan against the baseline that did best, negative controls aside."""
        rivals = [name for name in self.comparisons if name != "worst"] or [*self.comparisons]
        best = min(rivals, key=self.loss)
        c, call = self.comparisons[best], self.call(best)
        base = self.loss(best)
        span = f"[{c.low:+.4f}, {c.high:+.4f}]"
        if call == "no difference":
            return (
                f"NO DIFFERENCE between the plan and the best baseline ({best}): {c.effect:+.4f} {self.unit} {span}; "
                f"effects below {self.detectable:.4f} could not have been seen"
            )
        return (
            f"{call.upper()} than the best baseline ({best}) by {abs(c.effect):.4f} {self.unit} "
            f"({abs(c.effect) / base:.1%}), 95 % interval {span}, {c.seeds} seeds x {c.items} items"
        )

    def trust(self) -> list[str]:
        """What a reader must know before believing the verdict."""
        c = next(iter(self.comparisons.values()))
        means = [self.loss(name) for name in self.losses]
        ratio = (max(means) - min(means)) / self.noise if self.noise > 0 else math.inf
        scale = self.proof.get("tokens")
        stable = "unknown (too few candidates)" if math.isnan(self.stability) else f"{self.stability:.2f}"
        return [
            f"proxy: {self.proof['use']}" + (f", at most {scale:,} tokens a trial" if scale else ""),
            f"{c.seeds} seeds, each on its own piece of the plan, x {c.items} holdout items",
            f"smallest effect it finds in 4 of 5 cases: {self.detectable:.4f} {self.unit} (known beforehand)",
            f"signal to noise: candidates spread over {ratio:.1f} x the standard deviation between seeds",
            f"rank agreement with the same proof at half the scale: {stable}",
            *(f"not run: {name} ({why})" for name, why in self.missing.items()),
        ]

    def table(self) -> list[dict[str, Any]]:
        """One row per candidate, best first."""
        rows = []
        for name in sorted(self.losses, key=self.loss):
            seeds = (self.losses[name] @ self.weights).tolist()
            row: dict[str, Any] = {"name": name, "loss": self.loss(name), "seeds": seeds}
            if name in self.comparisons:
                c = self.comparisons[name]
                row |= {
                    "effect": c.effect,
                    "low": c.low,
                    "high": c.high,
                    "p": c.p,
                    "p_adjusted": self.adjusted[name],
                    "plan_is": self.call(name),
                }
            rows.append(row)
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``verdict.json`` and ``--json``."""
        return {
            "headline": self.headline,
            "unit": self.unit,
            "proof": dict(self.proof),
            "table": self.table(),
            "detectable": self.detectable,
            "stability": None if math.isnan(self.stability) else self.stability,
            "noise": self.noise,
            "trust": self.trust(),
            "missing": dict(self.missing),
            "items": {name: losses.mean(0).tolist() for name, losses in self.losses.items()},
        }


@dataclass(frozen=True)
class _Trial:
    """One trial: a candidate, a seed, a scale. `key` is what its result is remembered under."""

    key: str
    name: str
    seed: int
    half: bool


def prove(
    proof: Proof,
    plan: Plan,
    baselines: Mapping[str, Plan],
    pool: Pool,
    goal: Goal,
    folder: Path,
    *,
    seeds: int = 5,
    run: Run | None = None,
    workers: Workers | None = None,
    missing: Mapping[str, str] | None = None,
) -> Verdict:
    """Run the trials and compare.

    Every seed trains on its own piece of each plan, 1/seeds of it, split by record id. So seeds differ in data
    as well as in initialisation, and two plans that differ only by the seed they were drawn with look alike.

    Args:
        baselines: name -> rival plan over the same pool and budget.
        folder: where finished trials are remembered; a killed proof resumes there.

    Raises:
        BadRecipe: with fewer than 2 seeds, 2 holdout items or 1 baseline.
    """
    items = goal.holdout.count
    if seeds < 2 or items < 2 or not baselines:
        raise BadRecipe(
            f"A proof needs at least 2 seeds, 2 holdout items and 1 baseline; got {seeds}, {items} and "
            f"{len(baselines)}."
        )
    run = run or Run()
    workers = workers or Workers(1, run.progress)
    everyone = {**baselines, PLAN: plan}
    for name, candidate in everyone.items():
        candidate.save(folder / "plans" / name)
    halves = proof.smaller()

    def trials(names: Sequence[str], half: bool) -> dict[str, npt.NDArray[np.float64]]:
        method = halves if half else proof
        made = digest([method.fingerprint(), goal.fingerprint, run.seed, seeds])
        work = [
            _Trial(digest([made, everyone[n].fingerprint, s]), n, s, half) for n in names for s in range(seeds)
        ]  # fmt: skip
        apart = Run(seed=run.seed, device=run.device, scratch=folder / "unfinished")
        task = partial(_trial, method, folder, pool, goal, apart, seeds)
        label = f"{proof.name()}: {'half-scale ' if half else ''}trials of {', '.join(names)}"
        losses = workers.map(task, work, label, folder / "trials")
        return {n: np.stack(losses[k * seeds : (k + 1) * seeds]) for k, n in enumerate(names)}

    weights = goal.weights(goal.holdout).to_numpy()
    first = trials([*baselines], half=False)
    before = _power(first, weights)
    write_atomic(folder / "before.json", json.dumps({"detectable": before}).encode())
    losses = first | trials([PLAN], half=False)
    small = trials([*everyone], half=True)
    comparisons = {n: compare(losses[PLAN], losses[n], weights) for n in baselines}
    adjusted = benjamini_hochberg([c.p for c in comparisons.values()])
    w = weights / weights.sum()
    mean = [float((losses[n] @ w).mean()) for n in everyone]
    mean_small = [float((small[n] @ w).mean()) for n in everyone]
    return Verdict(
        proof=proof.describe(),
        unit=proof.unit,
        losses=losses,
        weights=w,
        comparisons=comparisons,
        adjusted=dict(zip(comparisons, adjusted, strict=True)),
        detectable=before,
        stability=spearman(mean, mean_small),
        noise=float(np.std(losses[PLAN] @ w, ddof=1)),
        missing=dict(missing or {}),
    )


def _power(losses: Mapping[str, npt.NDArray[np.float64]], weights: npt.NDArray[np.float64]) -> float:
    """The detectable effect, from the baselines' own trials: the median over pairs of them.

    With a single baseline its odd and even halves of items stand in for a pair's difference, which overstates it.
    """
    names = [n for n in losses if n != "worst"] or [*losses]
    if len(names) == 1:
        table = losses[names[0]]
        return detectable(compare(table, np.full_like(table, table.mean()), weights))
    pairs = [(a, b) for i, a in enumerate(names) for b in names[i + 1 :]]
    return float(np.median([detectable(compare(losses[a], losses[b], weights)) for a, b in pairs]))


@lru_cache(maxsize=2)
def _loaded(folder: Path, fingerprint: float) -> Plan:
    return Plan.load(folder)


def _trial(
    proof: Proof, folder: Path, pool: Pool, goal: Goal, run: Run, seeds: int, trial: _Trial
) -> npt.NDArray[np.float64]:
    path = folder / "plans" / trial.name
    plan = _loaded(path, (path / "plan.json").stat().st_mtime_ns)
    pieces = 2 * seeds if trial.half else seeds  # half the scale is also half the data
    piece = plan.part(trial.seed, pieces, run.at("seeds"))
    losses = proof.trial(piece, pool, goal, run.at("trial", trial.seed))
    if losses.shape != (goal.holdout.count,) or not np.isfinite(losses).all():
        raise ValueError(
            f"{proof.name()} returned losses of shape {losses.shape} with "
            f"{int((~np.isfinite(losses)).sum())} not finite for {goal.holdout.count} items ({trial.name})."
        )
    return losses


def length_matched(plan: Plan, start: Plan, run: Run, bins: int = 20) -> Plan:
    """A baseline with the plan's distribution of record sizes and otherwise random records."""
    kept = plan.sizes[plan.kept]
    edges = np.unique(np.quantile(kept, np.linspace(0, 1, bins + 1)))
    edges[-1] += 1  # the longest belongs to the last bin; what is shorter or longer than all lies outside
    index = np.searchsorted(edges, start.sizes, side="right").astype(np.int32)
    lengths = Groups("length", tuple(f"{i:02d}" for i in range(edges.size + 1)), index)
    keys = run.uniform(start.ids, "length_matched")
    policy = {"use": "length_matched"}
    return start.mixed(policy, "random records of the plan's lengths", plan.mixture(lengths), lengths, keys)
