"""KCenter: no record far from a chosen one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.kernels.greedy import farthest
from tilth.models.blocks import blocks, merged
from tilth.policies import _vectors

__all__ = ["KCenter"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class KCenter(Policy):
    """Fills the budget farthest first: the next record is always the one farthest from all that are chosen.

    The largest distance that is left, the radius, is at most twice the least that any choice of as many records can
    have. Distances are between vectors of length one, so they order as cosines do; the first record is the one nearest
    to the mean. Sparse regions and outliers come first: the opposite taste of `facility_location`.

    Exact while all distances fit into `exact`, records times picks, or the pool into one block. Beyond that the pool
    is cut into blocks of near records (ours: halved along the direction of most spread), farthest first runs inside
    each, and picks are taken from all blocks by how far each was from those before it; so all blocks end at about one
    radius, and a cut can make neighbours of two picks. Measured by `benchmarks/selection_scale.py` on one core: 2.4 s
    for 50,000 records of 384 numbers and 10 s for 200,000 (5 % kept), in proportion to records, so a minute for a
    million; 0.7 GB for the 200,000.

    Trap: outliers are what it likes best, garbage included; filter first. Source: Gonzalez 1985; for choosing what to
    train on, Sener and Savarese 2018 (arXiv 1708.00489).

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> crowd = [[1.0, 0.2], [1.0, 0.0], [1.0, -0.2], [0.0, 1.0], [0.2, 1.0], [-1.0, -1.0]]
    >>> pool = TablePool(pa.table({"text": list("abcdef"), "embedding": crowd}))
    >>> goal = Goal(pool, pool, Budget(3, "records"))
    >>> plan = KCenter().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.kept.tolist()
    [True, False, False, True, False, True]
    >>> plan.decisions[0].note
    '3 records, none of 6 farther than 0.39 from one of them'
    """

    vectors: str = Field("auto", description=_vectors.VECTORS)
    block: int = Field(4096, ge=2, le=32_768, description="most records compared with each other; 8 x block^2 bytes")
    exact: float = Field(1e8, ge=0, description="most distances computed without cutting the pool into blocks")
    seek: Literal["best", "worst"] = Field("best", description="worst takes the middle, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        return _vectors.needed(self.vectors)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        found = _vectors.read(self.vectors, plan, pool, run, "k_center")
        if self.seek == "worst":
            keep = _vectors.fill(plan, found.rows[_vectors.nearest(found.values, _middle(found.values))])
            note = f"the {int(keep.sum()):,} records nearest to the one in the middle{found.lost}"
            return plan.revised(self.describe(), note, keep=keep)
        count = _vectors.most(plan, found.rows)
        pairwise = found.rows.size <= self.block or found.rows.size * count > self.exact
        if pairwise:
            pieces = blocks(found.values, self.block, run.rng("blocks"))
            tracked = run.track(pieces, "k_center: blocks")
            places, far = merged(tracked, partial(_spread, found.values, count))
        else:
            pieces = [np.arange(found.rows.size)]
            places, far = _traversed(found.values, count, run)
        order = found.rows[places]
        keep = _vectors.fill(plan, order)
        distance = np.full(len(plan), np.nan)
        distance[order] = far
        taken = int(keep[order].sum())
        radius = float(far[taken]) if taken < far.size else 0.0
        warnings = []
        if taken < len(pieces):
            warnings.append(f"{taken} picks from {len(pieces)} blocks: some go without one; raise `exact`")
        return plan.revised(
            self.describe(),
            f"{taken:,} records, none of {found.rows.size:,} farther than {radius:.2f} from one of them{found.lost}",
            keep=keep,
            threshold={"distance": float(np.min(distance[keep]))},
            values={"distance": distance},
            reason="nearer to those taken than they to each other",
            details={
                "radius": radius,
                "blocks": len(pieces),
                "vectors": found.told,
                "unknown": found.missing,
                "warnings": warnings,
            },
        )


def _middle(values: Reals) -> int:
    return int(np.argmax(values @ values.mean(0)))


def _spread(values: Reals, count: int, rows: Ints) -> tuple[Ints, Floats]:
    """Farthest first inside a block; one pick more than asked for, whose distance is the radius that is left."""
    mine = values[rows]
    squares = np.maximum(2 - 2 * (mine @ mine.T), np.float32(0))
    order, far = farthest(squares, _middle(mine), min(count + 1, rows.size))
    return order, np.sqrt(far.astype(np.float64))


def _traversed(values: Reals, count: int, run: Run) -> tuple[Ints, Floats]:
    """Farthest first over all records, a row of distances at a time; one pick more, as above."""
    near = np.full(len(values), np.inf, np.float32)
    picks = min(count + 1, len(values))
    order, far = np.empty(picks, np.int64), np.empty(picks)
    i = _middle(values)
    for pick in run.track(range(picks), "k_center: picks"):
        order[pick], far[pick] = i, near[i]
        near = np.minimum(near, np.maximum(2 - 2 * (values @ values[i]), np.float32(0)))
        near[order[: pick + 1]] = -1
        i = int(np.argmax(near))
    return order, np.sqrt(far)
