"""Many policies under one budget, with the same baselines and the same proof: one table that says which to use."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadRecipe, EmptyPlan, MethodError, PoolError
from tilth.core.goal import Goal
from tilth.core.plan import Plan
from tilth.core.pool import Pool
from tilth.core.proof import Curve, Proof
from tilth.core.run import Run
from tilth.engine.evidence.certificate import Certificate, certify
from tilth.engine.evidence.gathered import Evidence, gather, goal_masks
from tilth.engine.evidence.halving import Halving, rungs, successive_halving
from tilth.engine.evidence.profiles import Profiles, performance_profiles, time_to_target
from tilth.engine.local import Workers, write_atomic
from tilth.engine.prove import Outcome, Trials, curves_of, losses_of, power, reason
from tilth.engine.statistics import Comparison, benjamini_hochberg, compare, spearman

__all__ = ["Entry", "Tournament", "cost", "deepest", "tournament"]

Floats = npt.NDArray[np.float64]
DEEPEST, PIECE = 6, 8  # halvings of the scale at most; records of a seed's piece at least


@dataclass(frozen=True)
class Entry:
    """One candidate.

    Attributes:
        key: a fingerprint of everything its plan depends on; the plan is remembered under it.
        make: makes the plan; what it raises is reported under the candidate's name.
        policies: what it is, as plain data.
        ready: called before `make`; its time is not the candidate's.
    """

    key: str
    make: Callable[[], Plan]
    policies: Sequence[Mapping[str, Any]] = ()
    ready: Callable[[], object] = lambda: None


@dataclass(frozen=True)
class Planned:
    """What a candidate's plan came to: `amount` in the budget's unit as realised, `seconds` to make it."""

    records: int
    amount: int
    seconds: float
    mixture: Mapping[str, float]


@dataclass(frozen=True)
class Tournament:
    """What the trials say about all candidates.

    Attributes:
        losses: name -> losses of shape (seeds, items), of baselines and of candidates tried at full scale.
        weights: weight of each holdout item; they sum to 1.
        baselines: the uninformed plans.
        reference: the baseline with the lowest loss. Being chosen among several it looks a little better than it is,
            so the comparisons with it err against the candidates.
        comparisons: candidate -> comparison with the reference; positive effects favour the candidate.
        adjusted: candidate -> p-value adjusted for all candidates that entered (Benjamini-Hochberg); one that
            successive halving took out counts as a comparison that found nothing.
        tied: candidates that the trials do not tell apart from the first one.
        planned: name -> what its plan came to.
        detectable: smallest effect found in 4 of 5 repetitions, known before any candidate's trial.
        stability: rank correlation of everyone between the proof and the same at half its scale.
        missing: name -> why it is not in the table.
        halving: the rounds, when there were any.
        evidence: signal to noise, agreement of scales, and tokens to reach the reference where the proof has curves.
        profiles: scores of all plans' times to the reference's final loss, over the goals; only with curves.
        certificate: a bound on the share of new items on which the first candidate does not beat the reference.
    """

    proof: Mapping[str, Any]
    unit: str
    budget: str
    losses: Mapping[str, Floats]
    weights: Floats
    baselines: tuple[str, ...]
    reference: str
    comparisons: Mapping[str, Comparison]
    adjusted: Mapping[str, float]
    tied: tuple[str, ...]
    planned: Mapping[str, Planned]
    detectable: float
    stability: float
    missing: Mapping[str, str]
    halving: Halving | None = None
    policies: Mapping[str, Sequence[Mapping[str, Any]]] = field(default_factory=dict)
    evidence: Evidence = field(default_factory=Evidence)
    profiles: Profiles | None = None
    certificate: Certificate | None = None

    def loss(self, name: str) -> float:
        """A plan's loss, averaged over seeds and, by weight, over items."""
        return float((self.losses[name] @ self.weights).mean())

    def call(self, name: str) -> str:
        """``better``, ``worse`` or ``no difference``: a candidate against the reference, adjusted for their number."""
        return self.comparisons[name].call(self.adjusted[name])

    @property
    def ranking(self) -> list[str]:
        """Candidates tried at full scale, best first."""
        return sorted(self.comparisons, key=self.loss)

    @property
    def headline(self) -> str:
        """One sentence: the first candidate against the best uninformed baseline."""
        if not self.comparisons:
            return f"NO RESULT: none of the candidates could be tried ({len(self.missing)} failed)"
        first = self.ranking[0]
        c, call = self.comparisons[first], self.call(first)
        span = f"95 % interval [{c.low:+.4f}, {c.high:+.4f}]"
        better = sum(self.call(name) == "better" for name in self.comparisons)
        tried = "candidates" if self.halving is None else "candidates tried at full scale"
        rest = f"{better} of {len(self.comparisons)} {tried} are better than it"
        alike = f"; not told apart from the first: {', '.join(self.tied)}" if self.tied else ""
        said = "NO DIFFERENCE from" if call == "no difference" else f"{call.upper()} than"
        return (
            f"{first} comes first and is {said} the best uninformed baseline ({self.reference}): {c.effect:+.4f} "
            f"{self.unit}, {span}; {rest}{alike}"
        )

    def trust(self) -> list[str]:
        """What a reader must know before believing the table."""
        seeds, items = next(iter(self.losses.values())).shape
        stable = "unknown (too few plans)" if math.isnan(self.stability) else f"{self.stability:.2f}"
        scale = self.proof.get("tokens")
        lines = [
            f"proxy: {self.proof['use']}" + (f", at most {scale:,} tokens a trial" if scale else ""),
            f"{seeds} seeds, each on its own piece of every plan, x {items} holdout items; budget {self.budget}",
            f"smallest effect it finds in 4 of 5 cases: {self.detectable:.4f} {self.unit} (known beforehand)",
            f"p-values are adjusted for {len(self.adjusted)} candidates; {self.reference} was chosen as the best of "
            f"{len(self.baselines)} baselines, which errs against the candidates",
            f"rank agreement with the same proof at half the scale: {stable}",
            *self.evidence.lines(),
        ]
        if len(self.adjusted) > 1:
            lines.append(
                f"the first of {len(self.adjusted)} is flattered by having been chosen: its gain shrinks when it is "
                f"proved alone with another seed"
            )
        if self.certificate is not None and self.certificate.bound < 1:
            c = self.certificate
            lines.append(
                f"{self.ranking[0]} beats {self.reference} on {1 - c.risk:.0%} of the items; with 95 % confidence, and "
                f"for having been chosen among {len(self.adjusted)}, on at least {1 - c.bound:.0%} of new ones"
            )
        if self.halving is not None:
            told = ", ".join(f"{len(r.scores)} at 1/{2**r.halvings}" for r in self.halving.rungs)
            lines.append(
                f"successive halving: {told} of the scale; {float(self.halving.spent):g} full trials per seed, "
                f"{self.halving.saved:.0%} less than trying everyone at full scale"
            )
        return lines

    def table(self) -> list[dict[str, Any]]:
        """One row per plan tried at full scale, best first, then those that halving took out; no clock in it."""
        rows = []
        for name in sorted(self.losses, key=self.loss):
            row: dict[str, Any] = {
                "name": name,
                "baseline": name in self.baselines,
                "loss": self.loss(name),
                "seeds": (self.losses[name] @ self.weights).tolist(),
                "records": self.planned[name].records,
                "amount": self.planned[name].amount,
            }
            if self.profiles is not None:
                row["profile"] = self.profiles.scores[name]
            if name in self.comparisons:
                c = self.comparisons[name]
                row |= {"effect": c.effect, "low": c.low, "high": c.high, "p": c.p}
                row |= {"p_adjusted": self.adjusted[name], "it_is": self.call(name)}
                if name in self.evidence.reach:
                    row["tokens_to_reach"] = str(self.evidence.reach[name])
                row["tied_with_first"] = name in self.tied or name == self.ranking[0]
            rows.append(row)
        out = self.halving.out if self.halving else {}
        for name, (number, score) in sorted(out.items(), key=lambda kv: (-kv[1][0], kv[1][1])):
            scale = 2 ** self.halving.rungs[number].halvings if self.halving else 1
            rows.append(
                {
                    "name": name,
                    "baseline": False,
                    "out_in_round": number + 1,
                    "loss_there": score,
                    "scale_there": f"1/{scale}",
                    "records": self.planned[name].records,
                    "amount": self.planned[name].amount,
                }
            )
        return rows

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``tournament.json``: equal inputs give equal bytes, so it holds no measured time."""
        return {
            "headline": self.headline,
            "unit": self.unit,
            "budget": self.budget,
            "proof": dict(self.proof),
            "reference": self.reference,
            "table": self.table(),
            "detectable": self.detectable,
            "stability": None if math.isnan(self.stability) else self.stability,
            "trust": self.trust(),
            "missing": dict(self.missing),
            **self.evidence.as_dict(),
            "certificate": vars(self.certificate) if self.certificate else None,
            "policies": {name: [dict(p) for p in each] for name, each in self.policies.items()},
            "mixtures": {name: dict(p.mixture) for name, p in self.planned.items()},
        }

    def seconds(self) -> dict[str, float]:
        """Name -> seconds its plan took to make, on the machine that made it."""
        return {name: p.seconds for name, p in self.planned.items()}


def tournament(
    proof: Proof,
    entries: Mapping[str, Entry],
    baselines: Mapping[str, Entry],
    pool: Pool,
    goal: Goal,
    folder: Path,
    *,
    seeds: int = 5,
    run: Run | None = None,
    workers: Workers | None = None,
    missing: Mapping[str, str] | None = None,
    halving: bool = False,
) -> Tournament:
    """Plan every candidate, try all of them and the baselines, and compare each with the best baseline.

    A candidate that raises, whose plan is empty, over another pool or over the budget, or whose trial fails is named
    with its reason and stops nobody else. Plans and trials are remembered by content: killed and started again, it
    goes on where it was and ends with the same numbers.

    Args:
        entries: name -> candidate.
        baselines: name -> plan that knows nothing of the goal; at least one must succeed.
        folder: where finished plans and trials are remembered.
        missing: names that do not take part for a reason known before.
        halving: run `successive_halving` over the candidates, so that only the best few are tried at full scale.

    Raises:
        BadRecipe: with fewer than 2 seeds, 2 holdout items or no baseline that works, or a name on both sides.
    """
    items = goal.holdout.count
    if seeds < 2 or items < 2:
        raise BadRecipe(f"A tournament needs at least 2 seeds and 2 holdout items; got {seeds} and {items}.")
    if both := sorted({*entries} & {*baselines}):
        raise BadRecipe(f"{', '.join(both)}: baselines take part anyway; give a candidate of that name another label.")
    run = run or Run()
    workers = workers or Workers(1, run.progress)
    absent = dict(missing or {})
    plans, planned = _plan_all({**baselines, **entries}, pool, goal, folder / "entries", run, absent)
    trials = Trials(proof, pool, goal, folder, seeds, run, workers)
    weights = goal.weights(goal.holdout).to_numpy()
    w = weights / weights.sum()

    outcomes = trials.outcomes({n: plans[n] for n in baselines if n in plans}, failed=absent)
    rivals = losses_of(outcomes)
    if not rivals:
        told = "; ".join(f"{n}: {absent.get(n, '')}" for n in baselines)
        raise BadRecipe(f"A tournament needs a baseline to compare with, and none works ({told or 'none given'}).")
    before = power(rivals, weights)
    rest = [n for n in entries if n in plans]
    rounds = None
    if halving and rest:

        def evaluate(names: Sequence[str], halvings: int) -> dict[str, float]:
            made = trials.outcomes({n: plans[n] for n in names}, halvings, absent)
            if not halvings:
                outcomes.update(made)
            return {n: float((t @ w).mean()) for n, t in losses_of(made).items()}

        fewest = min(int(plans[n].kept.sum()) for n in rest)
        rounds = successive_halving(evaluate, rest, deepest(proof, fewest, seeds))
    else:
        outcomes |= trials.outcomes({n: plans[n] for n in rest}, failed=absent)
    return _conclude(proof, trials, plans, planned, outcomes, [*rivals], rounds, w, before, absent, entries)


def _conclude(
    proof: Proof,
    trials: Trials,
    plans: Mapping[str, Plan],
    planned: Mapping[str, Planned],
    outcomes: Mapping[str, list[Outcome]],
    rivals: list[str],
    rounds: Halving | None,
    w: Floats,
    before: float,
    absent: dict[str, str],
    entries: Mapping[str, Entry],
) -> Tournament:
    losses = losses_of(outcomes)
    mean = {n: float((t @ w).mean()) for n, t in losses.items()}
    reference = min(rivals, key=lambda n: mean[n])
    candidates = [n for n in losses if n not in rivals]
    comparisons = {n: compare(losses[n], losses[reference], w) for n in candidates}
    out = [*rounds.out] if rounds else []
    p = benjamini_hochberg([*(c.p for c in comparisons.values()), *(1.0 for _ in out)])
    small_failed: dict[str, str] = {}
    small = losses_of(trials.outcomes({n: plans[n] for n in losses}, 1, small_failed))
    absent |= {f"{n} at half the scale": why for n, why in small_failed.items()}
    shared = [n for n in losses if n in small]
    return Tournament(
        proof=proof.describe(),
        unit=proof.unit,
        budget=str(trials.goal.budget),
        losses=losses,
        weights=w,
        baselines=tuple(rivals),
        reference=reference,
        comparisons=comparisons,
        adjusted=dict(zip([*comparisons, *out], p, strict=True)),
        tied=_tied(losses, candidates, mean, w),
        planned={n: planned[n] for n in [*losses, *out]},
        detectable=before,
        stability=spearman([mean[n] for n in shared], [float((small[n] @ w).mean()) for n in shared]),
        missing=absent,
        halving=rounds,
        policies={n: e.policies for n, e in entries.items()},
        evidence=gather(
            losses, small, curves_of(outcomes), w, trials.goal.holdout, {n: (n, reference) for n in candidates}
        ),
        profiles=_profiles(curves_of(outcomes), reference, w, goal_masks(trials.goal.holdout)),
        certificate=_certificate(losses, candidates, mean, reference, w, (len(candidates) + len(out)) * len(rivals)),
    )


def _profiles(
    curves: Mapping[str, Sequence[Curve]], reference: str, w: Floats, goals: Mapping[str, npt.NDArray[np.bool_]]
) -> Profiles | None:
    """Each plan's tokens, in the median seed, to the reference's final loss on each goal."""
    if reference not in curves:
        return None
    times: dict[str, dict[str, float]] = {name: {} for name in curves}
    for goal, mask in goals.items():
        share = np.where(mask, w, 0.0) / w[mask].sum()
        target = float(np.mean([c.losses[-1] @ share for c in curves[reference]]))
        for name, each in curves.items():
            times[name][goal] = float(np.median([time_to_target(c.tokens, c.losses @ share, target) for c in each]))
    return performance_profiles(times) if any(np.isfinite(t) for row in times.values() for t in row.values()) else None


def _certificate(
    losses: Mapping[str, Floats],
    candidates: Sequence[str],
    mean: Mapping[str, float],
    reference: str,
    w: Floats,
    choices: int,
) -> Certificate | None:
    """For the first candidate against the reference, each a choice; only where all items weigh the same."""
    if not candidates or np.ptp(w) > 1e-12:
        return None
    first = min(candidates, key=lambda n: mean[n])
    return certify(losses[first].mean(0) >= losses[reference].mean(0), math.log(choices))


def _tied(
    losses: Mapping[str, Floats], candidates: Sequence[str], mean: Mapping[str, float], w: Floats
) -> tuple[str, ...]:
    """Candidates that a paired comparison does not tell apart from the first, adjusted for their number."""
    order = sorted(candidates, key=lambda n: mean[n])
    against = {n: compare(losses[order[0]], losses[n], w) for n in order[1:]}
    adjusted = benjamini_hochberg([c.p for c in against.values()])
    return tuple(n for (n, c), p in zip(against.items(), adjusted, strict=True) if c.call(p) == "no difference")


def deepest(proof: Proof, records: float, seeds: int) -> int:
    """How often the scale can be halved: while the proof still gets smaller and a seed's piece has enough records."""
    for halvings in range(DEEPEST):
        smaller = proof.smaller()
        if smaller.fingerprint() == proof.fingerprint() or records < PIECE * seeds * 2 ** (halvings + 1):
            return halvings
        proof = smaller
    return DEEPEST


def cost(proof: Proof, candidates: int, baselines: int, halving: bool) -> float:
    """What the trials of one seed cost at most, in trials of full scale; plans are taken to be large."""
    if not halving or not candidates:
        return 1.5 * (candidates + baselines)  # everyone at full scale and at half of it
    plan = rungs(candidates, deepest(proof, math.inf, 1))
    return 1.5 * baselines + float(sum(Fraction(n, 2**h) for n, h in plan)) + 0.5 * plan[-1][0]


def _plan_all(
    entries: Mapping[str, Entry], pool: Pool, goal: Goal, folder: Path, run: Run, absent: dict[str, str]
) -> tuple[dict[str, Plan], dict[str, Planned]]:
    plans: dict[str, Plan] = {}
    planned: dict[str, Planned] = {}
    for name in run.track([*entries], f"plans of {len(entries)} policies"):
        try:
            plan, seconds = _planned(entries[name], folder, pool, goal)
        except PoolError:
            raise
        except Exception as error:
            absent[name] = reason(error)
            continue
        plans[name] = plan
        planned[name] = Planned(int(plan.kept.sum()), plan.amount, seconds, plan.mixture())
    return plans, planned


def _planned(entry: Entry, folder: Path, pool: Pool, goal: Goal) -> tuple[Plan, float]:
    """The candidate's plan and the seconds it took, from disk when it was made before; only sound plans are kept."""
    place = folder / entry.key
    if not (place / "plan.json").exists():
        entry.ready()
        began = time.monotonic()
        plan = entry.make()
        seconds = time.monotonic() - began
        _check(plan, pool, goal)
        write_atomic(place / "seconds", f"{seconds:.3f}".encode())
        plan.save(place)
    return Plan.load(place), float((place / "seconds").read_text())


def _check(plan: Plan, pool: Pool, goal: Goal) -> None:
    if plan.pool != pool.fingerprint or len(plan) != pool.count:
        raise MethodError("its plan is over another pool")
    if not plan.kept.any() or plan.amount == 0:
        raise EmptyPlan("its plan is empty")
    if plan.amount > 1.001 * goal.budget.amount + int(plan.sizes.max()):
        raise MethodError(f"its plan reads {plan.amount:,}, over the budget of {goal.budget}")
