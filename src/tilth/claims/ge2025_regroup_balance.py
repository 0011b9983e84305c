"""R&B (Ge et al. 2025, arXiv 2505.00358): groups made by meaning, balanced online, where sources' names say nothing.

Real text of eight domains under sources' names that were drawn at random, and a goal made of three of the domains (.6,
.3 and .1 of its items). Small transformers read the pool in equal shares of the named sources; by `rb` on clusters of
embeddings, whose number the silhouette chooses; and by `rb` on the named sources, as a control. The measure is held-out
loss on the way. The learning rate falls to 0 at the end, so a loss reached earlier was reached at a higher rate.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from tilth.claims._lab import row
from tilth.core import Budget, Curve, Goal, Plan, Run, TablePool, World
from tilth.models.influence import Known
from tilth.policies.mix.rb import Rb, State
from tilth.policies.mix.steered import Steered
from tilth.probes.domains import Domains
from tilth.proofs.tiny_lm import TinyLm

__all__ = ["PAPER", "Setting", "run"]

PAPER = "rb"
PROOF = TinyLm(depth=2, tokens=300_000, vocab=1024, context=128, batch=8, points=20)
PROBE = Domains(items=20)
NAMES = 8

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What is trained on what.

    Attributes:
        clusters: numbers of clusters that are tried.
        every: steps between two decisions.
    """

    seeds: int = 3
    clusters: tuple[int, ...] = (4, 8, 12, 16)
    every: int = 25
    proof: TinyLm = PROOF
    probe: Domains = PROBE


@dataclass(frozen=True)
class Found:
    """What one seed gave.

    Attributes:
        curves: of `rb` on clusters, of equal shares and of `rb` on the named sources.
        groups, pure: clusters, and the part of the tokens that are of their cluster's main domain.
        regrouped: processor seconds of making the clusters.
        online, replayed: processor seconds of the trial by `rb` on clusters, and of the same batches by its log.
    """

    curves: Mapping[str, Curve]
    groups: int
    pure: float
    regrouped: float
    online: float
    replayed: float


def run(data: Path | None, setting: Setting | None = None) -> list[dict[str, Any]]:
    """One row per statement; intervals are of the seeds. Needs no data but the examples'."""
    del data
    setting = setting or Setting()
    return _rows([_found(setting, seed) for seed in range(setting.seeds)], formula())


def _found(setting: Setting, seed: int) -> Found:
    made, domains = world(setting, Run(seed=seed))
    assert made.goal is not None
    goal, run = made.goal, Run(seed=seed)
    start = Plan.everything(made.pool, goal.budget)
    began = time.process_time()
    steered = Steered(policy={"use": "rb"}, clusters=setting.clusters, every=setting.every)
    plan = steered.revise(start, made.pool, goal.blind(), run)
    regrouped = time.process_time() - began
    named = Steered(policy={"use": "rb"}, every=setting.every).revise(start, made.pool, goal.blind(), run)
    assert plan.steering is not None

    def timed(each: Plan) -> tuple[Curve, float]:
        began = time.process_time()
        return setting.proof.curve(each, made.pool, goal, run), time.process_time() - began

    equal, _ = timed(named.replaying([(0, named.moving)]))
    ours, online = timed(plan)
    again, replayed = timed(plan.replaying(ours.shares))
    if not np.array_equal(again.training, ours.training):
        raise AssertionError("the log does not give the same training, so times cannot be compared")
    curves = {"rb": ours, "equal": equal, "named": timed(named)[0]}
    by = plan.steering.groups
    each = np.array(
        [start.sizes[(by.index == g) & (domains == d)].sum() for g in range(len(by.names)) for d in {*domains}]
    )
    pure = float(each.reshape(len(by.names), -1).max(1).sum() / start.sizes.sum())
    return Found(curves, len(plan.moving), pure, regrouped, online, replayed)


def world(setting: Setting, run: Run) -> tuple[World, npt.NDArray[np.str_]]:
    """The domains' records under names that say nothing, a goal that names nothing, and each record's domain."""
    made = setting.probe.build(10**6, run)
    assert made.goal is not None
    assert isinstance(made.pool, TablePool)
    table = made.pool.table(["id", "text", "source", "tokens"])
    domains = np.array(table["source"].to_pylist())
    names = pa.array([f"s{i}" for i in run.rng("names").integers(0, NAMES, len(table))])
    pool = TablePool(table.set_column(table.schema.get_field_index("source"), "source", names))
    target, holdout = (
        TablePool(pa.table({"text": part.column("text")})) for part in (made.goal.target, made.goal.holdout)
    )
    return World(pool, Goal(target, holdout, Budget(made.goal.budget.amount))), domains


def formula(cases: int = 200) -> float:
    """The greatest difference between shares and ``softmax(lambda G p / |G p|)``, on random gradients and goals."""
    rng, greatest = Run().rng("formula"), 0.0
    for _ in range(cases):
        count, sharpness = int(rng.integers(2, 12)), float(rng.uniform(0.5, 6))
        gradients, p = rng.standard_normal((count, 30)), rng.dirichlet(np.ones(count))
        names = tuple(f"g{i:02d}" for i in range(count))
        asked = Known.of(dict(zip(names, gradients, strict=True)), {"goal": rng.standard_normal(30)})
        policy = Rb(sharpness=sharpness, memory=0, floor=0)
        shares, _ = policy.step(State(names, tuple(p.tolist()), {}), {"step": 1, "influence": asked}, Run())
        pull = gradients @ (gradients.T @ p)
        raised = np.exp(sharpness * pull / np.sqrt((pull**2).sum()))
        greatest = max(greatest, float(np.abs(np.array([*shares.values()]) - raised / raised.sum()).max()))
    return greatest


def part(ours: Curve, theirs: Curve) -> float:
    """The part of the tokens after which `ours` is at or below where `theirs` ends; 2 where it never is."""
    below = np.flatnonzero(ours.losses.mean(1) <= theirs.losses[-1].mean())
    return float(ours.tokens[below[0]] / ours.tokens[-1]) if below.size else 2.0


def _rows(found: list[Found], differ: float) -> list[dict[str, Any]]:
    parts = np.array([part(f.curves["rb"], f.curves["equal"]) for f in found])
    ends = {name: np.array([f.curves[name].losses[-1].mean() for f in found]) for name in found[0].curves}
    over = np.array([f.online / f.replayed - 1 for f in found])
    return [
        row("part of the steps to where equal shares end", "at most 0.7", parts, bool(parts.mean() <= 0.7)),
        row("final loss, rb on clusters over equal shares", "below 1", ends["rb"] / ends["equal"],
            bool((ends["rb"] < ends["equal"]).all())),
        row("the same, rb on the named sources", "within 0.01 of 1", ends["named"] / ends["equal"],
            bool(abs((ends["named"] / ends["equal"]).mean() - 1) < 0.01)),
        row("shares less the softmax formula, greatest of 200 cases", "at most 1e-9", [differ], differ <= 1e-9),
        row("processor time that asking adds to a trial", "below 0.05", over, bool(over.mean() < 0.05)),
        row("clusters", "-", [f.groups for f in found], None),
        row("tokens of their cluster's main domain", "-", [f.pure for f in found], None),
        row("processor seconds of regrouping", "-", [f.regrouped for f in found], None),
        row("processor seconds of a trial by the log", "-", [f.replayed for f in found], None),
        *(row(f"bits per byte, {told}", "-", ends[name], None) for name, told in
          (("rb", "rb on clusters"), ("equal", "equal shares"), ("named", "rb on the named sources"))),
    ]  # fmt: skip
