"""ModularMerge: which sources belong together? One small model each, and averages of their weights for every union."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, combinations
from math import comb
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Proof, Room, Run, groups, mixture_losses
from tilth.core.errors import UsageError
from tilth.proofs.merged import Merged

__all__ = ["ModularMerge"]

Floats = npt.NDArray[np.float64]
Union = tuple[int, ...]


class ModularMerge(Policy):
    """Chooses the union of sources whose merged model likes the target best (Na et al. 2024, arXiv 2410.15661).

    Every source has a small model of its own, all from one common start (`proofs/merged`). A union of sources is the
    average of their models: it is scored, not trained. All unions of at most `most` sources are scored when there are
    no more than `exhaustive` of them; else the search is greedy: from the best source on, add the one that helps most,
    as long as one does. With `confirm`, a proof such as `tiny_lm`, the `top` best by merging are put to it, and it
    decides. In a union the sources get equal shares, as far as `cap` and limits allow; a
    union that could not fill the budget within `cap` is scored on the way but never chosen.

    Cost: a training per source, a third of a second per union, a trial per union confirmed. Trap: it chooses who is
    in, not how much of each: for shares use ``{use: regmix, proof: merged}``, and where a little of everything is best
    no union is. An average is a worse model the more it averages, so large unions are scored too low; that is what
    `confirm` is for. Not `Merged.joint`, which lets large unions read more. Greedy search is ours.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> world = PlantedMixture(words=50).build(400, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> proof = Merged(depth=1, seed_tokens=4000, part_tokens=3000, vocab=300, context=64)
    >>> plan = ModularMerge(proof=proof, most=2, cap=8).revise(start, world.pool, world.goal.blind(), Run())
    >>> plan.mixture()["a"] > start.mixture()["a"]  # most of the target is of a
    True
    """

    paper: ClassVar[str] = "scalable_data_ablation_approximations_for_language"

    proof: Merged = Field(default_factory=Merged, description="trains a model per source and averages them")
    by: str = Field("source", description="the column whose values are the units")
    cap: float = Field(4.0, ge=1, description="most epochs of a source in the plan")
    most: int = Field(4, ge=1, description="most sources in a union")
    exhaustive: int = Field(300, ge=1, description="unions up to which all are scored; the search is greedy beyond")
    confirm: Proof | None = Field(None, description="proof that decides among the best unions; empty trusts the merge")
    top: int = Field(3, ge=2, le=1000, description="best unions that are confirmed")
    seek: Literal["best", "worst"] = Field("best", description="worst turns the choice round, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        more = self.confirm.needs if self.confirm is not None else ()
        return tuple(dict.fromkeys(("id", self.by, *self.proof.needs, *more)))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        room = plan.room(self.cap, by)
        units = np.flatnonzero(by.sums(plan.sizes * plan.kept) > 0).tolist()
        weights = goal.weights(goal.holdout).to_numpy()
        weights = weights / weights.sum()
        sign = 1.0 if self.seek == "best" else -1.0

        def merged(shares: Floats) -> Floats:
            return np.asarray(sign * (self.proof.mixtures(shares, by, plan, pool, goal, run.at("merge")) @ weights))

        table = _Table(room, merged)
        number = sum(comb(len(units), size) for size in range(1, min(self.most, len(units)) + 1))
        if number <= self.exhaustive:
            sizes = range(1, min(self.most, len(units)) + 1)
            table.add(chain.from_iterable(combinations(units, size) for size in sizes))
        else:
            table.climb(units, self.most)
        ranked = table.ranked()
        if not ranked:
            raise UsageError(
                f"modular_merge: no union of {self.most} values of {self.by} can fill the budget within {self.cap:g} "
                f"epochs. Raise `most` or `cap`, or lower the budget."
            )
        best, found = ranked[0], None
        if self.confirm is not None and len(ranked) > 1:
            some = np.stack([table.shares[u] for u in ranked[: self.top]])
            label = "modular_merge: best unions"
            found = mixture_losses(self.confirm, some, by, plan, pool, goal, run.at("confirm"), label) @ weights
            best = ranked[int((sign * found).argmin())]
        shares = dict(zip(by.names, table.shares[best].tolist(), strict=True))
        names = " + ".join(by.names[u] for u in best)
        told = "merging" if found is None else "merging, the best confirmed"
        note = f"{self.seek} of {len(table.loss)} unions of {self.by} by {told}: {names}"
        details: dict[str, Any] = {
            "union": [by.names[u] for u in best],
            "search": "all" if number <= self.exhaustive else "greedy",
            "unions": len(table.loss),
            "merged": {" + ".join(by.names[u] for u in union): sign * table.loss[union] for union in ranked[:20]},
            "alone": {by.names[u]: sign * table.loss[(u,)] for u in units if (u,) in table.loss},
            "shares": shares,
            "warnings": [],
        }
        if found is not None:
            tried = (" + ".join(by.names[u] for u in union) for union in ranked[: self.top])
            details["confirmed"] = dict(zip(tried, found.tolist(), strict=True))
        return plan.mixed(self.describe(), note, shares, by, run.uniform(plan.ids, "key"), self.cap, details=details)


@dataclass
class _Table:
    """Losses of unions by merging; smaller is better.

    Attributes:
        shares: of each union that can fill the budget.
        loss: of each union scored.
    """

    room: Room
    score: Callable[[Floats], Floats]
    shares: dict[Union, Floats] = field(default_factory=dict)
    loss: dict[Union, float] = field(default_factory=dict)

    def add(self, unions: Iterable[Union]) -> None:
        """Score the unions that are not yet."""
        new = [u for u in dict.fromkeys(unions) if u not in self.loss]
        if not new:
            return
        rows = []
        for union in new:
            row = np.zeros(len(self.room.names))
            row[list(union)] = 1 / len(union)
            allowed = self._allowed(row)
            if allowed is not None:
                self.shares[union] = allowed
            rows.append(row if allowed is None else allowed)
        self.loss.update(zip(new, self.score(np.stack(rows)).tolist(), strict=True))

    def climb(self, units: Sequence[int], most: int) -> None:
        """From the best unit on, add the one that helps most; go on without help until the budget can be filled."""
        singles: list[Union] = [(u,) for u in units]
        self.add(singles)
        union = min(singles, key=self.loss.__getitem__)
        while len(union) < min(most, len(units)):
            wider = [tuple(sorted((*union, u))) for u in units if u not in union]
            self.add(wider)
            best = min(wider, key=self.loss.__getitem__)
            if union in self.shares and self.loss[best] >= self.loss[union]:
                break
            union = best

    def ranked(self) -> list[Union]:
        """The unions that can fill the budget, the best first."""
        return sorted(self.shares, key=lambda union: (self.loss[union], union))

    def _allowed(self, row: Floats) -> Floats | None:
        """The nearest mixture of these units and those with a floor; None if they cannot fill the budget."""
        high = np.where((row > 0) | (self.room.low > 0), self.room.high, 0.0)
        if high.sum() < 1 - 1e-6:
            return None
        shares = replace(self.room, high=high, kl=np.inf).nearest(row)
        return self.room.nearest(shares)
