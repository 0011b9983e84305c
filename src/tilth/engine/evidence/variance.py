"""Where the noise of a proof comes from: initial weights, order of the data, which data, which holdout items.

Trials in all combinations of the factors' levels give a balanced table of losses with one axis per factor and one for
the items. Every factor is a random effect, so for each set S of factors the model has a component of variance
``v(S)``: of one factor its own effect, of several their interaction, of all of them the residual. With ``n_f`` levels
of factor f the mean square of S has the expectation

    E MS(S) = sum over T containing S of v(T) * product of n_f over f not in T,

which inclusion and exclusion solves without bias:

    v(S) = sum over T containing S of (-1)^(|T| - |S|) MS(T) / product of n_f over f not in S.

Its standard error follows from Var MS = 2 MS^2 / df. Searle, Casella and McCulloch, *Variance Components*, 1992;
the design of initial weights by data order is that of Dodge et al. 2020 (arXiv 2002.06305).
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadRecipe
from tilth.core.goal import Goal
from tilth.core.method import digest
from tilth.core.plan import Plan
from tilth.core.pool import Pool
from tilth.core.proof import Losses, Proof
from tilth.core.run import Run
from tilth.engine.local import Workers
from tilth.engine.prove import further_columns

__all__ = ["Component", "Variance", "components", "variance"]

Floats = npt.NDArray[np.float64]
ITEM = "item"


@dataclass(frozen=True)
class Component:
    """One component of variance: the unbiased estimate, which noise can make negative, and its standard error."""

    value: float
    error: float


@dataclass(frozen=True)
class Variance:
    """The components of a table of losses.

    Attributes:
        levels: factor -> its number of levels; ``item`` is the holdout's items.
        components: factors (one: its effect, several: their interaction) -> component.
    """

    levels: Mapping[str, int]
    components: Mapping[tuple[str, ...], Component]

    def of_mean(self) -> dict[str, float]:
        """What each source adds to the variance of one trial's mean loss; negative estimates count as 0.

        A factor's own part holds its effect and, divided by the number of items, its interaction with the items;
        ``item`` is what another draw of as many items would change; ``together`` are interactions of two or more
        factors with the residual.
        """
        out = dict.fromkeys([*(f for f in self.levels if f != ITEM), ITEM, "together"], 0.0)
        for factors, component in self.components.items():
            own = [f for f in factors if f != ITEM]
            share = 1 / self.levels[ITEM] if ITEM in factors else 1.0
            name = own[0] if len(own) == 1 else "together" if own else ITEM
            if len(own) == len(self.levels) - 1 and ITEM in factors:
                name = "together"  # the highest interaction cannot be told from the residual
            out[name] += share * max(0.0, component.value)
        return out

    def table(self) -> list[dict[str, float | str]]:
        """One row per source: its part of the variance of a trial's mean loss, and the share of all of it."""
        parts = self.of_mean()
        total = sum(parts.values())
        return [
            {"source": n, "sd": math.sqrt(v), "share": v / total if total > 0 else 0.0}
            for n, v in sorted(parts.items(), key=lambda kv: -kv[1])
        ]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``: the split of a mean loss, and every component with its standard error."""
        return {
            "levels": dict(self.levels),
            "table": self.table(),
            "components": [
                {"of": list(factors), "value": c.value, "error": c.error} for factors, c in self.components.items()
            ],
        }


def components(losses: Floats, names: Sequence[str]) -> dict[tuple[str, ...], Component]:
    """All components of a balanced table with one axis per name.

    Raises:
        ValueError: when an axis has fewer than 2 levels or its name is missing.
    """
    table = np.asarray(losses, float)
    if table.ndim != len(names) or min(table.shape, default=0) < 2:
        raise ValueError(f"{table.ndim} axes of {table.shape} levels for {len(names)} names; each needs 2 levels.")
    axes = range(table.ndim)
    means = {s: table.mean(tuple(a for a in axes if a not in s), keepdims=True) for s in _subsets(axes, empty=True)}
    squares: dict[tuple[int, ...], tuple[float, int]] = {}
    for s in _subsets(axes):
        effect = sum((-1.0) ** (len(s) - len(t)) * means[t] for t in _subsets(s, empty=True))
        freedom = math.prod(table.shape[a] - 1 for a in s)
        around = math.prod(table.shape[a] for a in axes if a not in s)
        squares[s] = (around * float((np.asarray(effect) ** 2).sum()) / freedom, freedom)
    found = {}
    for s in squares:
        around = math.prod(table.shape[a] for a in axes if a not in s)
        above = [t for t in squares if set(s) <= set(t)]
        value = sum((-1.0) ** (len(t) - len(s)) * squares[t][0] for t in above) / around
        spread = sum(2 * squares[t][0] ** 2 / squares[t][1] for t in above)
        found[tuple(names[a] for a in s)] = Component(value, math.sqrt(spread) / around)
    return found


def _subsets(items: Sequence[int], empty: bool = False) -> Iterator[tuple[int, ...]]:
    for size in range(0 if empty else 1, len(items) + 1):
        yield from combinations(items, size)


@dataclass(frozen=True)
class _Cell:
    key: str
    draws: tuple[tuple[str, int], ...]
    subset: int


def variance(
    proof: Proof,
    plan: Plan,
    pool: Pool,
    goal: Goal,
    folder: Path,
    *,
    init: int = 3,
    order: int = 3,
    subset: int = 3,
    run: Run | None = None,
    workers: Workers | None = None,
) -> Variance:
    """Try one plan under all combinations of initial weights, orders and pieces of the data, and split the variance.

    Proofs draw initial weights at ``run.rng("init")`` and the order at ``run.rng("order")``; here each is varied
    while the other is held. A subset is one of `subset` disjoint pieces of the plan. A factor with 1 level is held.

    Args:
        folder: where finished trials are remembered; a killed design resumes there.

    Raises:
        BadRecipe: when no factor has 2 levels or the holdout has fewer than 2 items.
    """
    asked = {"init": init, "order": order, "subset": subset}
    levels = {name: n for name, n in asked.items() if n > 1}
    if not levels or min(asked.values()) < 1 or goal.holdout.count < 2:
        raise BadRecipe(
            f"Splitting the variance needs a factor with at least 2 levels and 2 holdout items; got {asked} and "
            f"{goal.holdout.count}."
        )
    run = run or Run()
    workers = workers or Workers(1, run.progress)
    made = ["variance", proof.fingerprint(), plan.fingerprint, goal.fingerprint, run.seed, subset]
    made += further_columns(proof, pool, goal)
    cells = []
    for place in product(*(range(n) for n in levels.values())):
        at = dict(zip(levels, place, strict=True))
        piece = at.pop("subset", 0)
        cells.append(_Cell(digest([*made, sorted(at.items()), piece]), tuple(sorted(at.items())), piece))
    memory = folder / "variance"
    apart = Run(seed=run.seed, device=run.device, scratch=memory / "unfinished")
    task = partial(_cell, proof, plan, pool, goal, apart, subset)
    losses = np.stack(workers.map(task, cells, f"{proof.name()}: where noise comes from", memory))
    shutil.rmtree(memory / "unfinished", ignore_errors=True)  # what killed trials of another plan left
    table = losses.reshape(*levels.values(), goal.holdout.count)
    w = goal.weights(goal.holdout).to_numpy()
    return Variance({**levels, ITEM: goal.holdout.count}, components(table * (w / w.mean()), [*levels, ITEM]))


def _cell(proof: Proof, plan: Plan, pool: Pool, goal: Goal, run: Run, pieces: int, cell: _Cell) -> Losses:
    piece = plan.part(cell.subset, pieces, run.at("subset")) if pieces > 1 else plan
    return proof.trial(piece, pool, goal, run.at("variance").vary(**dict(cell.draws)))
