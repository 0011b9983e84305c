"""Dynamic gradient alignment (Fan et al. 2024, arXiv 2410.02498): an online mixture where each domain has few tokens.

Eight domains of real text, a few ten thousand bytes each, one of them the target's: small transformers read them
twice over in all by `dga`, in equal shares, or by importance sampling, which reads what the target's items are like and
so the target's own domain alone, again and again. Two targets: English questions on health, which English text helps,
too, and German law, which no other domain does. The measure is the loss of held-out text of the target's domain.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims._lab import row
from tilth.core import Budget, Curve, Goal, Plan, Run, TablePool, World
from tilth.policies.mix.steered import Steered
from tilth.probes.domains import Domains
from tilth.proofs.tiny_lm import TinyLm

__all__ = ["PAPER", "Setting", "run"]

PAPER = "dynamic_gradient_alignment_for_online_data"
NO_CAP = 1000.0
PROOF = TinyLm(depth=2, tokens=200_000, vocab=1024, context=128, batch=8, points=6)
PROBE = Domains(items=16)

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Setting:
    """What is trained on what.

    Attributes:
        targets: domains that take turns at being the target.
        size: bytes of a domain.
        every: steps between two decisions.
        probe: where the domains come from; its `shares` are set.
    """

    targets: tuple[str, ...] = ("health", "law")
    seeds: int = 3
    size: int = 40_000
    every: int = 4
    proof: TinyLm = PROOF
    probe: Domains = PROBE


def run(data: Path | None, setting: Setting | None = None) -> list[dict[str, Any]]:
    """One row per statement and target; intervals are of the seeds. Needs no data but the examples'."""
    del data
    setting = setting or Setting()
    rows: list[dict[str, Any]] = []
    for target in setting.targets:
        found = [_curves(setting, target, seed) for seed in range(setting.seeds)]
        rows += _rows(target, found)
    return rows


def _curves(setting: Setting, target: str, seed: int) -> dict[str, Curve]:
    made = world(setting, target, Run(seed=seed))
    assert made.goal is not None
    start, goal, run = Plan.everything(made.pool, made.goal.budget), made.goal.blind(), Run(seed=seed)

    def steered(cap: float, **fields: Any) -> Plan:
        policy = Steered(policy={"use": "dga", **fields}, every=setting.every, cap=cap)
        return policy.revise(start, made.pool, goal, Run())

    plan = steered(NO_CAP)
    plans = {
        "dga": plan,
        "not averaged": steered(NO_CAP, beta=1.0),
        "capped": steered(4.0),
        "equal": plan.replaying([(0, plan.moving)]),
        "importance": plan.replaying([(0, goal.target.shares("source"))]),
    }
    return {name: setting.proof.curve(each, made.pool, made.goal, run) for name, each in plans.items()}


def world(setting: Setting, target: str, run: Run) -> World:
    """`size` bytes of each domain, and the target's items, which lie in no record of the pool.

    The budget is twice the pool, so a trial takes as much of the pool as makes half of what it reads.
    """
    probe = setting.probe.model_copy(update={"shares": ((target, 1.0),)})
    made = probe.build(10**6, run)
    assert made.goal is not None
    assert isinstance(made.pool, TablePool)
    table = made.pool.table(["id", "text", "source", "tokens"])
    domains = np.array(table["source"].to_pylist())
    sizes = np.array([len(text.encode()) for text in table["text"].to_pylist()])
    kept = []
    for name in np.unique(domains):
        places = run.rng("some", name).permutation(np.flatnonzero(domains == name))
        kept += places[: max(1, int((np.cumsum(sizes[places]) <= setting.size).sum()))].tolist()
    some = table.take(sorted(kept))
    budget = Budget(2 * sum(each["count"] for each in some["tokens"].to_pylist()))
    return World(TablePool(some), Goal(made.goal.target, made.goal.holdout, budget))


def _rows(target: str, found: list[dict[str, Curve]]) -> list[dict[str, Any]]:
    ends = {name: np.array([curves[name].losses[-1].mean() for curves in found]) for name in found[0]}
    helpful = np.array([[s[target] for _, s in curves["dga"].shares] for curves in found])
    equal = 1 / len(found[0]["dga"].shares[0][1])
    swings = {name: np.array([_variance(c[name]) for c in found]) for name in ("dga", "not averaged")}
    of_equal, of_alone = ends["dga"] / ends["equal"], ends["dga"] / ends["importance"]
    quieter = swings["dga"] / swings["not averaged"]
    return [
        row(f"{target}: loss, dga over equal shares", "at most 0.95", of_equal, bool(of_equal.mean() <= 0.95)),
        row(f"{target}: loss, dga over importance sampling", "below 1", of_alone, bool(of_alone.mean() < 1)),
        row(f"{target}: mean share of its own domain over equal", "above 1", helpful.mean(1) / equal,
            bool((helpful.mean(1) > equal).all())),
        row(f"{target}: variance of the shares, averaged over not", "at most 0.5", quieter,
            bool(quieter.mean() <= 0.5)),
        row(f"{target}: loss, at most 4 epochs of a domain, over equal", "-", ends["capped"] / ends["equal"], None),
        row(f"{target}: loss, not averaged over equal", "-", ends["not averaged"] / ends["equal"], None),
        *(row(f"{target}: bits per byte, {name}", "-", ends[name], None) for name in ("dga", "equal", "importance")),
        row(f"{target}: lowest on the way, importance sampling", "-",
            [curves["importance"].losses.mean(1).min() for curves in found], None),
        row(f"{target}: lowest on the way, dga", "-", [curves["dga"].losses.mean(1).min() for curves in found], None),
        row(f"{target}: greatest share of its own domain", "-", helpful.max(1), None),
    ]  # fmt: skip


def _variance(curve: Curve) -> float:
    """Of the shares over the decisions of the second half, summed over the groups."""
    shares = np.array([[*held.values()] for _, held in curve.shares])
    return float(shares[len(shares) // 2 :].var(0).sum())
