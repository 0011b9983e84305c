"""InteractionMix: measure what more of each group does to each goal, then move the shares by a linear programme."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy.optimize import linprog

from tilth.core import Goal, Groups, Plan, Policy, Pool, Proof, Room, Run, groups, mixture_losses
from tilth.core.errors import UsageError
from tilth.proofs.ngram import Ngram

__all__ = ["InteractionMix"]

Floats = npt.NDArray[np.float64]


class InteractionMix(Policy):
    """Shares moved towards groups that help all goals together, by a measured matrix of interactions.

    1. `proof` is run on natural shares and on each group's share raised by `dose` of the budget, `seeds` times. The
       fall of each goal's loss per dose is one entry of the matrix, goals by groups.
    2. Where every group has a goal of its own name (the target's column `judged`), each row is divided by its own
       group's entry: how many records of its own category one of another is worth. Otherwise losses count as they are,
       by the goal's weights.
    3. A linear programme takes the shares of greatest weighted gain within `move` of the natural ones and the limits.

    For instruction categories after arXiv 2409.07045, which moves about 3 % of a set; its second half, ordering the
    categories by what depends on what, is `two_phase`. A goal that its own group does not help keeps its losses: ours.

    Cost: groups + 1 trials a seed; they are seconds when the proof counts n-grams. Trap: the matrix is a slope at
    natural shares; far from them it is wrong, so keep `move` small and run it again on what it made. `details` has
    the matrix and its error over seeds; where that exceeds what the groups differ by, the warning says so.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> probe = PlantedMixture()
    >>> world = probe.build(1200, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> plan = InteractionMix(move=0.2).revise(start, world.pool, world.goal.blind(), Run())
    >>> probe.grade(world, plan) > probe.grade(world, start) + 0.15  # nearer to the planted mixture
    True
    """

    paper: ClassVar[str] = "beyond_iid"

    proof: Proof = Field(default_factory=Ngram, description="what is run on each mixture")
    by: str = Field("source", description="the column whose values are mixed")
    judged: str = Field("goal", description="the target's column that tells goals apart; without it there is one")
    dose: float = Field(0.05, gt=0, le=0.5, description="part of the budget that each group is raised by in a trial")
    move: float = Field(0.1, gt=0, le=1, description="most that a share is moved")
    seeds: int = Field(2, ge=2, le=100, description="trials of each mixture")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")
    seek: Literal["best", "worst"] = Field("best", description="worst moves the other way, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return tuple(dict.fromkeys(("id", self.by, *self.proof.needs)))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        room = plan.room(self.cap, by)
        names, of_goal, weights = self._goals(goal)
        slopes = self._slopes(plan, pool, goal, by, room.natural, of_goal, weights, run)
        matrix, error = slopes.mean(0), slopes.std(0, ddof=1) / np.sqrt(self.seeds)
        importance = np.array([weights[of_goal == g].sum() for g in range(len(names))]) / weights.sum()
        scale = _own(matrix, names, by)
        gain = (importance / scale) @ matrix
        doubt = np.sqrt((importance / scale) ** 2 @ error**2)
        alive = room.natural > 0
        chosen = self._programme(gain if self.seek == "best" else -gain, room)
        shares = dict(zip(by.names, chosen.tolist(), strict=True))
        warnings = []
        if alive.sum() > 1 and np.ptp(gain[alive]) < 4 * doubt[alive].max():
            warnings.append("the groups' gains differ by less than their error over seeds; use more seeds or dose")
        details: dict[str, Any] = {
            "interaction": {name: dict(zip(by.names, row, strict=True)) for name, row in _plain(names, matrix)},
            "error": {name: dict(zip(by.names, row, strict=True)) for name, row in _plain(names, error)},
            "equivalence": bool((scale != 1).any()),
            "gain": dict(zip(by.names, gain.tolist(), strict=True)),
            "shares": shares,
            "warnings": warnings,
        }
        top = by.names[int(np.argmax(np.where(alive, gain, -np.inf)))]
        note = (
            f"shares of {self.by} moved by at most {self.move:.0%} towards the {self.seek} gain of {len(names)} goals "
            f"(most by more of {top})"
        )
        keys = run.uniform(plan.ids, "key")
        return plan.mixed(self.describe(), note, shares, by, keys, self.cap, details=details)

    def _goals(self, goal: Goal) -> tuple[tuple[str, ...], npt.NDArray[np.int64], Floats]:
        """Names of the goals, which one each item belongs to, and the items' weights."""
        weights = goal.weights(goal.holdout).to_numpy()
        if self.judged not in goal.holdout.column_names():
            return ("target",), np.zeros(len(weights), np.int64), weights
        column = pc.fill_null(pc.cast(goal.holdout.column(self.judged), pa.string()), "(none)")
        names = tuple(sorted(set(column.to_pylist())))
        place = {name: i for i, name in enumerate(names)}
        return names, np.array([place[v] for v in column.to_pylist()], np.int64), weights

    def _slopes(
        self,
        plan: Plan,
        pool: Pool,
        goal: Goal,
        by: Groups,
        natural: Floats,
        of_goal: npt.NDArray[np.int64],
        weights: Floats,
        run: Run,
    ) -> Floats:
        """(seeds, goals, groups) fall of each goal's loss per part of the budget that a group is raised by."""
        raised = (1 - self.dose) * natural + self.dose * np.eye(len(natural))
        raised[natural == 0] = natural  # there is nothing to raise it with
        tried = np.vstack([natural, raised])
        out = []
        for seed in range(self.seeds):
            here = run.at("seed", seed)
            table = mixture_losses(self.proof, tried, by, plan, pool, goal, here, "interaction_mix: trials")
            parts = [of_goal == g for g in range(int(of_goal.max()) + 1)]
            losses = np.stack([table[:, part] @ weights[part] / weights[part].sum() for part in parts])
            out.append((losses[:, :1] - losses[:, 1:]) / self.dose)
        return np.stack(out)

    def _programme(self, gain: Floats, room: Room) -> Floats:
        """The shares of greatest gain within reach."""
        low = np.maximum(room.low, room.natural - self.move)
        high = np.minimum(room.high, np.where(room.natural > 0, room.natural + self.move, 0.0))
        found = linprog(-gain, A_eq=np.ones((1, gain.size)), b_eq=[1.0], bounds=list(zip(low, high, strict=True)))
        if found.status != 0:
            raise UsageError(
                f"interaction_mix: no shares within {self.move:.0%} of the natural ones keep to the limits and the cap "
                f"of {self.cap:g} epochs. Raise `move` or `cap`, or loosen the limits."
            )
        return np.asarray(found.x, np.float64)


def _own(matrix: Floats, names: Sequence[str], by: Groups) -> Floats:
    """(goals,) what each goal gains by its own group, where every group has a goal and is of use to it; else ones."""
    if set(names) != set(by.names):
        return np.ones(len(names))
    own = np.array([matrix[i, by.names.index(name)] for i, name in enumerate(names)])
    return np.where((own > 0).all(), own, 1.0)


def _plain(names: Sequence[str], matrix: Floats) -> list[tuple[str, list[float]]]:
    return list(zip(names, matrix.tolist(), strict=True))
