"""Gio: the records that bring the selection nearest to the target's distribution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.core.errors import DataError
from tilth.models.kmeans import KMeans, fit
from tilth.models.knn_divergence import Divergence
from tilth.policies import _vectors

__all__ = ["Gio"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]


class Gio(Policy):
    """Fills the budget with records that lower KL(target || selection), found by gradient ascent on a free point
    (gradient information optimisation; Everaert and Potts 2023, arXiv 2306.11670).

    Embeddings of target and pool are reduced to `width` principal directions. Again and again a point starts at a
    target example, the best of a few drawn at random, climbs to where one more point would lower the estimate most, and
    the candidate nearest to it is taken. The estimate is by nearest neighbours (`models/knn_divergence.py`). A pool of
    more than `clusters` records is cut into clusters: their centres are the candidates, and a chosen one brings all its
    members, nearest to the target first, until the budget is full. The estimate starts from `start` points drawn over
    the pool's range, which are no records and are not in the result.

    What is ours: the authors' program takes all orders of neighbours at once, whereby a candidate's worth no longer
    depends on what is chosen; over the first `k`, a part of the target that has k picks pulls less, so the picks spread
    over a target of several parts as it does. Gains are smoothed by the target's own distances, and a point starts at
    the best of `jumps` examples instead of the mean or one at random. Steps have a fixed length, `rate` times the
    target's spread. The budget is filled by default; ``stop: rise`` ends where the estimate has risen `patience` times
    running, as theirs can.

    Cost: picks x steps x target points x width, after clustering. Measured by `benchmarks/selection_scale.py` on one
    core: 2.8 s of processor for 50,000 records of 384 numbers and 5.3 s for 200,000 (5 % kept), less than in
    proportion; 0.7 GB for the 200,000.
    Trap: distances say little in many dimensions, hence `width`. Each part of the target takes k picks before others
    are worth more, hence k is 2 and not the paper's 5; where fewer clusters lie in a part, picks go elsewhere, so raise
    `clusters` for a target that is a small part of the pool. And a budget larger than what is like the target goes on
    with what is not: `divergence` in the details has its lowest value before the end then, and a warning says so.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> rng = Run().rng("example")
    >>> near, far = rng.normal(0, 1, (80, 2)), rng.normal(6, 1, (320, 2))
    >>> pool = TablePool(pa.table({"text": ["x"] * 400, "embedding": [*near.tolist(), *far.tolist()]}))
    >>> target = TablePool(pa.table({"text": ["t"] * 60, "embedding": rng.normal(0, 1, (60, 2)).tolist()}))
    >>> goal = Goal(target, target, Budget(40, "records"))
    >>> plan = Gio().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> int(plan.kept[:80].sum())  # of 40; a random draw has 8
    40
    """

    paper: ClassVar[str] = "gio"

    vectors: str = Field("auto", description=_vectors.VECTORS)
    width: int = Field(50, ge=1, le=1000, description="principal directions kept")
    clusters: int = Field(1500, ge=20, le=10_000, description="clusters of a larger pool, and of a larger target")
    k: int = Field(2, ge=1, le=50, description="orders of neighbours that the estimate averages over")
    steps: int = Field(50, ge=1, le=10_000, description="steps uphill for each pick")
    rate: float = Field(0.01, gt=0, le=1, description="length of a step, as a part of the target's spread")
    jumps: int = Field(10, ge=1, description="random target examples of which the best is where the point starts")
    start: int = Field(20, ge=1, description="points the estimate starts from; at least k are used")
    stop: Literal["budget", "rise"] = Field("budget", description="rise also stops when the estimate goes on rising")
    patience: int = Field(3, ge=1, description="with stop: rise, picks running that raise the estimate before the end")
    seek: Literal["best", "worst"] = Field("best", description="worst takes what is farthest from the target")

    @property
    def needs(self) -> Sequence[str]:
        return _vectors.needed(self.vectors)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        source = _vectors.source(self.vectors, plan, pool, run)
        found = _vectors.read(source, plan, pool, run, "gio", unit=False)
        aim = _vectors.of_target(source, goal.target, plan, pool, run, "gio", unit=False).values
        if len(aim) <= self.k:
            raise DataError(
                f"gio needs more than {self.k} target examples with an embedding, and got {len(aim)}. Lower `k`, or "
                f"give more."
            )
        values, aim = _reduced(found.values, aim, self.width, run)
        if len(aim) > self.clusters:
            aim = fit(aim, self.clusters, run.rng("target clusters")).centres
        if len(values) > self.clusters:
            model = fit(values, self.clusters, run.rng("clusters"))
            label = model.assign(values)[0]
            candidates = model.centres
        else:
            candidates, label = values, np.arange(len(values), dtype=np.int32)
        distance = np.sqrt(KMeans(aim).assign(values)[1])  # to the nearest target point
        inside = np.lexsort((distance, label))  # clusters one after the other, nearest to the target first
        bounds = np.searchsorted(label[inside], np.arange(len(candidates) + 1))
        sizes = (plan.sizes * plan.repeats)[found.rows]
        amount = np.bincount(label, sizes, len(candidates)).astype(np.float64)
        if self.seek == "worst":
            chosen, trace = np.argsort(-KMeans(aim).assign(candidates)[1], kind="stable"), [0.0]
        else:
            chosen, trace = self._picked(candidates.astype(np.float64), aim.astype(np.float64), amount, plan, run)
        order = np.concatenate([inside[bounds[c] : bounds[c + 1]] for c in chosen])
        keep = _vectors.fill(plan, found.rows[order])
        pick = np.full(len(plan), np.nan)
        pick[found.rows[order]] = np.repeat(np.arange(len(chosen)), np.diff(bounds)[chosen])
        lowest = int(np.argmin(trace))
        warnings = []
        if trace[-1] - trace[lowest] > 0.05 * max(trace[0] - trace[lowest], 1e-9):
            warnings.append(
                f"the divergence was lowest after {lowest} of {len(chosen)} picks and rose since: less of the pool is "
                f"like the target than the budget takes; `stop: rise` ends before"
            )
        taken = len(np.unique(label[keep[found.rows]]))
        what = "records" if len(candidates) == len(values) else f"records in {taken:,} clusters"
        told = f"KL of the target from the selection {trace[0]:.2f} to {trace[-1]:.2f}"
        return plan.revised(
            self.describe(),
            f"{int(keep.sum()):,} {what}, {told if self.seek == 'best' else 'farthest from the target'}{found.lost}",
            keep=keep,
            values={"pick": pick},
            reason="not taken while the selection was brought nearer to the target",
            details={
                "divergence": [round(trace[i], 6) for i in np.unique(np.linspace(0, len(trace) - 1, 100).astype(int))],
                "lowest_after": lowest,
                "picks": len(chosen),
                "vectors": found.told,
                "unknown": found.missing,
                "warnings": warnings,
            },
        )

    def _picked(
        self, candidates: Floats, aim: Floats, amount: Floats, plan: Plan, run: Run
    ) -> tuple[Ints, list[float]]:
        """Candidates in the order of picking until their records fill the budget, and the estimate after each."""
        low, high = (f(np.concatenate([candidates, aim]), axis=0) for f in (np.min, np.max))
        drawn = run.rng("start").uniform(low, high, (max(self.start, self.k), aim.shape[1]))
        now = Divergence.of(aim, drawn, self.k)
        length = self.rate * float(np.sqrt(((aim - aim.mean(0)) ** 2).sum(1).mean()))
        norms, left = (candidates**2).sum(1), np.ones(len(candidates), bool)
        left[amount == 0] = False
        rng = run.rng("picks")
        order: list[int] = []
        trace, read, rises = [now.value], 0.0, 0
        for _ in run.track(range(int(left.sum())), "gio: picks"):
            jumps = aim[rng.integers(len(aim), size=self.jumps)]
            first = int(np.argmax([now.gain(jump)[0] for jump in jumps]))
            point = now.best(jumps[first], self.steps, length)
            pick = int(np.argmin(np.where(left, norms - 2 * (candidates @ point), np.inf)))
            now.add(candidates[pick])
            left[pick] = False
            rises = rises + 1 if now.value > trace[-1] else 0
            order.append(pick)
            trace.append(now.value)
            read += amount[pick]
            if self.stop == "rise" and rises >= self.patience:
                del order[-rises:], trace[-rises:]
                break
            if read >= plan.budget.amount:
                break
        if not order:
            raise DataError(
                "gio: no candidate lowers the divergence from the target. Fill the budget with `stop: budget`."
            )
        return np.array(order), trace


def _reduced(values: Reals, aim: Reals, width: int, run: Run) -> tuple[Reals, Reals]:
    """Both centred on the target and turned to the directions of most spread of target and pool alike."""
    if values.shape[1] != aim.shape[1]:
        raise DataError(f"gio: embeddings have {values.shape[1]} numbers in the pool and {aim.shape[1]} in the target.")
    middle = aim.mean(0, dtype=np.float64).astype(np.float32)
    if values.shape[1] <= width:
        return values - middle, aim - middle
    some = values[np.sort(run.rng("directions").permutation(len(values))[: 20 * values.shape[1]])]
    spread = sum((part - middle).T.astype(np.float64) @ (part - middle) / len(part) for part in (some, aim))
    turn = np.linalg.eigh(spread)[1][:, ::-1][:, :width].astype(np.float32)
    parts = [(values[i : i + (1 << 14)] - middle) @ turn for i in range(0, len(values), 1 << 14)]
    return np.concatenate(parts), (aim - middle) @ turn
