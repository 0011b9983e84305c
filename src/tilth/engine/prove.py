"""Put a plan to the test: the same trials for it and for its baselines, compared in pairs."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadRecipe, EmptyPlan, PoolError, TilthError
from tilth.core.goal import Goal
from tilth.core.method import digest
from tilth.core.plan import Groups, Plan
from tilth.core.pool import Pool, column_digest
from tilth.core.proof import Curve, CurveProof, Losses, PhaseProof, Phases, Proof
from tilth.core.records import FIELDS
from tilth.core.run import Run
from tilth.engine.evidence.gathered import Evidence, gather
from tilth.engine.evidence.tasks import TaskTable
from tilth.engine.local import Workers, write_atomic
from tilth.engine.statistics import Comparison, benjamini_hochberg, compare, detectable, spearman

__all__ = [
    "Outcome",
    "Trials",
    "Verdict",
    "curves_of",
    "further_columns",
    "length_matched",
    "losses_of",
    "power",
    "prove",
    "reason",
]

PLAN = "plan"
UNFINISHED = "unfinished"
"""The folder in which trials save themselves on their way."""


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
        evidence: signal to noise, agreement of scales, and tokens to reach each baseline where the proof has curves.
        signed: whether a loss can be negative, so that no share of it is told.
        tasks: candidate -> marks on every task after each phase; only from a `PhaseProof`.
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
    evidence: Evidence = field(default_factory=Evidence)
    signed: bool = False
    tasks: Mapping[str, TaskTable] = field(default_factory=dict)

    def loss(self, name: str) -> float:
        """A candidate's loss, averaged over seeds and, by weight, over items."""
        return float((self.losses[name] @ self.weights).mean())

    def call(self, baseline: str) -> str:
        """``better``, ``worse`` or ``no difference`` against one baseline, adjusted for their number."""
        return self.comparisons[baseline].call(self.adjusted[baseline])

    @property
    def best(self) -> str:
        """The baseline with the lowest loss, negative controls aside."""
        return min([name for name in self.comparisons if name != "worst"] or self.comparisons, key=self.loss)

    @property
    def headline(self) -> str:
        """One sentence: the plan against the baseline that did best, negative controls aside."""
        best = self.best
        c, call, base = self.comparisons[best], self.call(best), self.loss(best)
        share = "" if self.signed or base <= 0 else f" ({abs(c.effect) / base:.1%})"
        span = f"[{c.low:+.4f}, {c.high:+.4f}]"
        if call == "no difference":
            return (
                f"NO DIFFERENCE between the plan and the best baseline ({best}): {c.effect:+.4f} {self.unit} {span}; "
                f"effects below {self.detectable:.4f} could not have been seen"
            )
        return (
            f"{call.upper()} than the best baseline ({best}) by {abs(c.effect):.4f} {self.unit}{share}, "
            f"95 % interval {span}, {c.seeds} seeds x {c.items} items"
        )

    def trust(self) -> list[str]:
        """What a reader must know before believing the verdict."""
        c = next(iter(self.comparisons.values()))
        scale = self.proof.get("tokens")
        stable = "unknown (too few candidates)" if math.isnan(self.stability) else f"{self.stability:.2f}"
        return [
            f"proxy: {self.proof['use']}" + (f", at most {scale:,} tokens a trial" if scale else ""),
            f"{c.seeds} seeds, each on its own piece of the plan, x {c.items} holdout items",
            f"smallest effect it finds in 4 of 5 cases: {self.detectable:.4f} {self.unit} (known beforehand)",
            f"rank agreement with the same proof at half the scale: {stable}",
            *self.evidence.lines(),
            *(f"to reach the final loss of {name}: {told}" for name, told in self.evidence.reach.items()),
            *(f"tasks, {name}: {table}" for name, table in self.tasks.items()),
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
            **self.evidence.as_dict(),
            **({"tasks": {name: table.as_dict() for name, table in self.tasks.items()}} if self.tasks else {}),
            "items": {name: losses.mean(0).tolist() for name, losses in self.losses.items()},
        }


@dataclass(frozen=True)
class Outcome:
    """What one trial gave: its losses and, from a proof that measures on the way, its curve or its phases' marks."""

    losses: Losses
    curve: Curve | None = None
    phases: Phases | None = None


@dataclass(frozen=True)
class _Trial:
    """One trial: a plan (a folder under ``plans``), who asks, a seed, how often the scale was halved.

    `key` is what its result is remembered under.
    """

    key: str
    name: str
    plan: str
    seed: int
    halvings: int


@dataclass(frozen=True)
class Trials:
    """Trials of plans under one proof, each remembered in `folder` by all that it depends on."""

    proof: Proof
    pool: Pool
    goal: Goal
    folder: Path
    seeds: int
    run: Run
    workers: Workers

    def outcomes(
        self, plans: Mapping[str, Plan], halvings: int = 0, failed: dict[str, str] | None = None
    ) -> dict[str, list[Outcome]]:
        """Name -> one outcome per seed.

        Args:
            halvings: how often the proof's scale is halved; each halving also halves the piece of the plan.
            failed: where the reasons of trials that raise are put, by name; without it they are raised.
        """
        method = self.proof
        for _ in range(halvings):
            method = method.smaller()
        for plan in plans.values():
            folder = self.folder / "plans" / plan.fingerprint
            if not (folder / "plan.json").exists():
                plan.save(folder)
        known = [halvings, self.goal.fingerprint, self.run.seed, self.seeds, self.run.device]
        made = digest(["outcome", method.fingerprint(), *known, *further_columns(self.proof, self.pool, self.goal)])
        trials = {
            (name, seed): _Trial(digest([made, plan.fingerprint, seed]), name, plan.fingerprint, seed, halvings)
            for name, plan in plans.items()
            for seed in range(self.seeds)
        }
        work = [*{trial.key: trial for trial in trials.values()}.values()]  # equal plans are tried once
        apart = Run(seed=self.run.seed, device=self.run.device, scratch=self.folder / UNFINISHED)
        one = _trial if failed is None else _trial_or_reason
        task = partial(one, method, self.folder, self.pool, self.goal, apart, self.seeds)
        scale = f"1/{2**halvings}-scale " if halvings else ""
        label = f"{method.name()}: {scale}trials of {', '.join(plans)}"
        memory = self.folder / "trials"
        made_of = self.workers.map(task, work, label, memory, keep=_is_outcome)  # a failure is tried again
        found = dict(zip((t.key for t in work), made_of, strict=True))
        for (name, _), trial in trials.items():
            if isinstance(reason := found[trial.key], str) and failed is not None:
                failed.setdefault(name, reason)
        for trial in work:
            self._note(trial, found[trial.key])
        names = [name for name in plans if not failed or name not in failed]
        return {name: [found[trials[name, seed].key] for seed in range(self.seeds)] for name in names}

    def _note(self, trial: _Trial, found: object) -> None:
        """Write down how an online policy moved the shares in a trial, beside the others' logs."""
        file = self.folder / "shares" / f"{trial.key}.json"
        if isinstance(found, Outcome) and found.curve is not None and found.curve.shares and not file.exists():
            told = {
                "plan": trial.name,
                "seed": trial.seed,
                "scale": 1 / 2**trial.halvings,
                "shares": found.curve.shares,
            }
            file.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(file, json.dumps({**told, "shares": found.curve.shares}).encode())

    def tidy(self) -> None:
        """Remove what killed trials of plans that are asked for no more have left behind."""
        shutil.rmtree(self.folder / UNFINISHED, ignore_errors=True)


def further_columns(proof: Proof, pool: Pool, goal: Goal) -> list[str]:
    """Digests of what a proof reads beside the records' own fields, which the pools' fingerprints hold."""
    own = {"id", "text", "source", *FIELDS[pool.kind], *FIELDS[goal.holdout.kind]}
    further = [name for name in proof.needs if name not in own]
    return [column_digest(p.column(n)) for n in further for p in (pool, goal.holdout) if n in p.column_names()]


def losses_of(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, npt.NDArray[np.float64]]:
    """Name -> losses of shape (seeds, items)."""
    return {name: np.stack([o.losses for o in each]) for name, each in outcomes.items()}


def curves_of(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, list[Curve]]:
    """Name -> one curve per seed, for plans whose every trial has one."""
    found = {name: [o.curve for o in each if o.curve is not None] for name, each in outcomes.items()}
    return {name: curves for name, curves in found.items() if len(curves) == len(outcomes[name])}


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
    trials = Trials(proof, pool, goal, folder, seeds, run, workers)
    weights = goal.weights(goal.holdout).to_numpy()
    pieces = 2 * seeds  # of half the scale; found out before anything is trained
    for name, each in everyone.items():
        for number in range(pieces):
            _filled(name, each, each.part(number, pieces, run.at("seeds")), pieces)
    outcomes = trials.outcomes(baselines)
    before = power(losses_of(outcomes), weights)
    write_atomic(folder / "before.json", json.dumps({"detectable": before}).encode())
    outcomes |= trials.outcomes({PLAN: plan})
    losses = losses_of(outcomes)
    small = losses_of(trials.outcomes(everyone, halvings=1))
    trials.tidy()
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
        evidence=gather(
            losses, small, curves_of(outcomes), w, goal.holdout, {name: (PLAN, name) for name in baselines}
        ),
        signed=proof.signed,
        tasks={n: TaskTable.of(told) for n in everyone if (told := [o.phases for o in outcomes[n] if o.phases])},
    )


def power(losses: Mapping[str, npt.NDArray[np.float64]], weights: npt.NDArray[np.float64]) -> float:
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


def _trial(proof: Proof, folder: Path, pool: Pool, goal: Goal, run: Run, seeds: int, trial: _Trial) -> Outcome:
    path = folder / "plans" / trial.plan
    plan = _loaded(path, (path / "plan.json").stat().st_mtime_ns)
    proof.can_try(plan)
    pieces = seeds * 2**trial.halvings  # half the scale is also half the data
    piece = plan.part(trial.seed, pieces, run.at("seeds"))
    _filled(trial.name, plan, piece, pieces)
    here = run.at("trial", trial.seed)
    curve = proof.curve(piece, pool, goal, here) if isinstance(proof, CurveProof) else None
    phases = proof.phases(piece, pool, goal, here) if isinstance(proof, PhaseProof) else None
    whole = curve or phases
    losses = whole.losses[-1] if whole else proof.trial(piece, pool, goal, here)
    if losses.shape != (goal.holdout.count,) or not np.isfinite(losses).all():
        raise ValueError(
            f"{proof.name()} returned losses of shape {losses.shape} with "
            f"{int((~np.isfinite(losses)).sum())} not finite for {goal.holdout.count} items ({trial.name})."
        )
    return Outcome(losses, curve, phases)


def _filled(name: str, plan: Plan, piece: Plan, pieces: int) -> None:
    if plan.kept.any() and not piece.kept.any():
        raise EmptyPlan(
            f"{name} keeps {int(plan.kept.sum())} records, too few for {pieces} pieces: one of them is empty. "
            f"State fewer proof.seeds or a larger budget."
        )


def _is_outcome(value: object) -> bool:
    return isinstance(value, Outcome)


def _trial_or_reason(
    proof: Proof, folder: Path, pool: Pool, goal: Goal, run: Run, seeds: int, trial: _Trial
) -> Outcome | str:
    """The outcome, or why there is none; what concerns the machine and not the plan is raised."""
    try:
        return _trial(proof, folder, pool, goal, run, seeds, trial)
    except PoolError:
        raise
    except Exception as error:
        return reason(error)


def reason(error: Exception) -> str:
    """Why something failed, in one line; errors that are not tilth's own say what they are."""
    text = " ".join(str(error).split())
    return text if isinstance(error, TilthError) else f"{type(error).__name__}: {text}"


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
