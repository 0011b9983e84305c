"""Cmr: as much of the new domain as general ability can bear."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from tilth.core import Goal, Groups, Plan, Policy, Pool, Proof, Room, Run, TablePool, groups, mixture_losses
from tilth.core.errors import UsageError
from tilth.core.records import FIELDS
from tilth.models.critical_ratio import critical, interval, laws, missed
from tilth.proofs.ngram import Ngram

__all__ = ["Cmr"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
PART, FEW = 5, 20
"""At most a fifth of the general records is held out; fewer than twenty tell little."""
FEWEST = 4
"""Ratios tried, at least: a law has three parameters."""


class Cmr(Policy):
    """The critical mixture ratio: the largest share of a domain at which general loss rises by `tolerance` at most.

    For pre-training that goes on with a domain (Gu et al. 2024, arXiv 2407.17467). Trials at a few `ratios` measure two
    losses: on the goal's target, which stands for the domain, and on general text. A power law of the share is fitted
    to each; the general one says where the tolerance ends, the domain one what the share is worth. General sources keep
    their natural proportions.

    General text is `items` records held out of the other sources during the trials; or, with `general`, the target's
    items whose ``goal`` column has that name. What general loss may not exceed is that of training on general data
    alone for the same budget (the trial at ratio 0), or `base`, where you measured it: the paper's is the loss of the
    model that training goes on from.

    Cost: (ratios + 1) x seeds trials. Trap: trials start from nothing unless the proof starts from your model, so they
    see what is crowded out rather than what is forgotten; and the paper's ratio grows with tokens and size, so one from
    small trials is a cautious one. The interval is of seeds alone: where the law fits badly it is too narrow (`tilth
    claim gu2024_critical_ratio`). Near copies of held-out general text flatter every ratio: remove duplicates first.
    Held-out text and the reference at ratio 0 are ours.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture().build(800, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> strict, loose = (
    ...     Cmr(domain="a", tolerance=t, seeds=1, cap=8).revise(start, world.pool, world.goal.blind(), Run())
    ...     for t in (0.05, 0.2)
    ... )
    >>> 0 < strict.mixture()["a"] < loose.mixture()["a"] < 1
    True
    """

    paper: ClassVar[str] = "cmr_scaling_law"

    domain: str = Field(description="the value of `by` that is the new domain", examples=["a"])
    by: str = Field("source", description="the column that tells the domain from general data")
    tolerance: float = Field(0.05, gt=0, description="how much general loss may rise, in the proof's unit")
    ratios: tuple[float, ...] = Field(
        (0.1, 0.25, 0.5, 0.75, 0.9), description="shares of the domain that are tried, scaled down for a small domain"
    )
    seeds: int = Field(3, ge=1, le=1000, description="trials of each ratio; the interval needs two")
    proof: Proof = Field(default_factory=Ngram, description="what is run at each ratio")
    general: str = Field("", description="name in the target's `goal` column; empty: general records are held out")
    items: int = Field(
        100, ge=4, description="general records held out where `general` is empty; a fifth of them at most"
    )
    base: float | None = Field(None, description="general loss of the base model; empty: of general data alone")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")
    seek: Literal["best", "worst"] = Field("best", description="worst takes the share farthest from the critical one")

    @field_validator("ratios")
    @classmethod
    def _usable(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if len(set(value)) < FEWEST or not all(0 < ratio <= 1 for ratio in value):
            raise ValueError(f"ratios are at least {FEWEST} different shares above 0 and up to 1")
        return tuple(sorted(set(value)))

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(("id", self.by, *self.proof.needs)))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        if self.domain not in by.names:
            raise UsageError(f"cmr: no record has {self.by} {self.domain!r}; there are {', '.join(by.names)}.")
        new = by.names.index(self.domain)
        asked, rest, is_general = self._goal(plan, pool, goal, by.index == new, run)
        room = rest.room(self.cap, by)
        x = self._possible(room, new)
        shares = np.stack([_shares(room, new, ratio) for ratio in x])
        general, domain = self._measured(shares, by, rest, pool, asked, is_general, run)
        limits = (
            general[:, 0] + self.tolerance if self.base is None else np.full(self.seeds, self.base + self.tolerance)
        )
        law, worth = laws(x, general.mean(0), domain.mean(0))
        found = critical(law, float(limits.mean()))
        ratio = float(np.clip(min(found, x[-1]), room.low[new], room.high[new]))  # nothing beyond what was tried
        if self.seek == "worst":
            ratio = float(room.high[new]) if ratio < 0.5 else float(room.low[new])
        between = list(interval(x, general, limits, run.rng("resample"))) if self.seeds > 1 else None
        details: dict[str, Any] = {
            "critical": found,
            "interval": between,
            "ratio": ratio,
            "general": {"a": law.a, "s": law.s, "b": law.b, "limit": float(limits.mean())},
            "domain": {"a": worth.a, "s": worth.s, "b": worth.b, "at_ratio": float(worth(ratio))},
            "measured": [
                {"ratio": float(r), "general": float(g), "domain": float(d)}
                for r, g, d in zip(x, general.mean(0), domain.mean(0), strict=True)
            ],
            "left_out_error": {
                "general": missed(x, general.mean(0), rising=True),
                "domain": missed(x[1:], domain.mean(0)[1:], rising=False),
            },
        }
        details["warnings"] = self._warnings(details, x, general.mean(0), domain.mean(0))
        if is_general.sum() < FEW:
            details["warnings"].append(f"general loss is measured on {is_general.sum()} items only")
        told = "" if between is None else f" ({between[0]:.2f} to {between[1]:.2f} over seeds)"
        note = f"{ratio:.1%} {self.domain}: general loss rises by {self.tolerance:g} at the critical {found:.2f}{told}"
        mixed = _shares(plan.room(self.cap, by), new, ratio)
        named = dict(zip(by.names, mixed.tolist(), strict=True))
        return plan.mixed(self.describe(), note, named, by, run.uniform(plan.ids, "key"), self.cap, details=details)

    def _goal(self, plan: Plan, pool: Pool, goal: Goal, domain: Bools, run: Run) -> tuple[Goal, Plan, Bools]:
        """The goal of the trials, the plan without what is held out, and which of the goal's items are general."""
        items = goal.holdout
        if self.general:
            names = items.column("goal").to_pylist() if "goal" in items.schema.names else []
            is_general = np.array([name == self.general for name in names], bool)
            if not is_general.any() or is_general.all():
                raise UsageError(
                    f"cmr: the target needs a column `goal` that is {self.general!r} for general items and something "
                    f"else for the domain's. Give it one, or leave `general` empty."
                )
            return goal, plan, is_general
        rows = np.flatnonzero(plan.kept & ~domain)
        number = min(self.items, rows.size // PART)
        if number < 1:
            raise UsageError(
                f"cmr: {rows.size:,} records are not {self.domain!r}, too few to hold some out. Give general items in "
                f"the target and their name as `general`."
            )
        held = np.sort(rows[np.argsort(run.uniform(plan.ids, "held out")[rows], kind="stable")[:number]])
        columns = [*FIELDS[items.kind]] if pool.kind == items.kind else ["text"]
        if pool.kind != items.kind and items.kind != "text":
            raise UsageError(f"cmr: the pool is of kind {pool.kind}, the target {items.kind}; give `general` items.")
        own, more = items.table(columns), pool.take(held, columns).cast(items.table(columns).schema)
        weights = np.concatenate([goal.weights(items).to_numpy(), np.ones(held.size)])
        table = pa.concat_tables([own, more]).append_column("weight", pa.array(weights))
        both = TablePool(table, items.kind)
        repeats = plan.repeats.copy()
        repeats[held] = 0
        is_general = np.arange(both.count) >= items.count
        return replace(goal, target=both, holdout=both), replace(plan, repeats=repeats), is_general

    def _possible(self, room: Room, new: int) -> Floats:
        """The shares tried, the reference first: `ratios` and 0, drawn together to what can fill the budget."""
        least, most = max(0.0, 1 - float(np.delete(room.high, new).sum())), float(room.high[new])
        if most - least < 0.01:
            raise UsageError(
                f"cmr: within {self.cap:g} epochs nothing but {least:.0%} of {self.domain!r} can fill the budget. "
                f"Raise `cap` or lower the budget."
            )
        span = min(most - least, self.ratios[-1])
        return least + np.array([0.0, *self.ratios]) * span / self.ratios[-1]

    def _measured(
        self, shares: Floats, by: Groups, plan: Plan, pool: Pool, goal: Goal, is_general: Bools, run: Run
    ) -> tuple[Floats, Floats]:
        """General and domain loss, (seeds, ratios) each."""
        weights = goal.weights(goal.holdout).to_numpy()
        parts = [np.where(mine, weights, 0.0) for mine in (is_general, ~is_general)]
        losses = [
            mixture_losses(self.proof, shares, by, plan, pool, goal, run.at("seed", s), f"cmr: trials, seed {s + 1}")
            for s in range(self.seeds)
        ]
        general, domain = (np.stack([table @ (part / part.sum()) for table in losses]) for part in parts)
        return general, domain

    def _warnings(self, told: dict[str, Any], x: Floats, general: Floats, domain: Floats) -> list[str]:
        """Why the ratio should not be trusted."""
        warnings = []
        if told["critical"] <= x[0] and told["general"]["a"]:
            warnings.append(
                "general loss exceeds the tolerance at any share tried; raise `tolerance`, or leave the domain out"
            )
        elif told["critical"] > x[-1]:
            warnings.append(f"the tolerance ends beyond {x[-1]:.2f}, the largest ratio that could be tried")
        if x[0] > 0 and self.base is None:
            warnings.append(f"general data cannot fill the budget; the reference has {x[0]:.0%} of the domain")
        if general[-1] <= general[0]:
            warnings.append("general loss does not rise with the domain's share: this is not a trade-off")
        if domain[-1] >= domain[0]:
            warnings.append("the target's loss does not fall with the domain's share: the domain does not serve it")
        for name, error in told["left_out_error"].items():
            if error > 0.02:
                warnings.append(f"the law of {name} loss misses ratios left out by {error:.1%}; more than 2 % is bad")
        return warnings


def _shares(room: Room, new: int, ratio: float) -> Floats:
    """The domain's share, the others in natural proportions as far as they go."""
    wanted = np.where(np.arange(len(room.names)) == new, 0.0, room.natural)
    total = wanted.sum()
    wanted = wanted / total * (1 - ratio) if total > 0 else wanted
    wanted[new] = ratio
    return room.nearest(wanted) if ratio > 0 else wanted
