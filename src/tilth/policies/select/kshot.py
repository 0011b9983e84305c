"""KShot: what is most like a few examples, without near-copies."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.policies import _vectors

__all__ = ["KShot"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
CHUNK = 1024  # candidates compared at once
SAME = 0.999  # cosine from which a record is a copy of an example


class KShot(Policy):
    """Fills the budget with records like a few examples of the target, of near-copies only the most alike
    (Yang et al. 2024, arXiv 2408.15915).

    A record's score is its largest cosine to an example: the largest, not the mean, which favours text that is a
    little like everything. The best `surplus` times the budget are candidates; going down by score, one whose cosine to
    a record already taken is above `tau` is left out, until the budget is full. Candidates come first and copies go
    second: the other way round copies would cost nothing, and less like records would move up. The paper's second
    half, choosing among trained adapters, is not here; its numbers are 50 examples, 1,000 candidates and a tau of 0.9.

    Cost: records times examples, then pairs of the candidates that are taken; more than `most` candidates are refused.
    Measured by `benchmarks/selection_scale.py` on one core: 1.9 s of processor for 200,000 records of 384 numbers and
    18 s for a million (5 % kept), 2 GB.
    Trap: a record that is a copy of an example is the first to be taken. It may be a leak of the test; `copies` in the
    details counts them and a warning says so. When copies leave the budget unfilled, a warning says that too.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> like = [[1.0, 0.1], [1.0, 0.11], [1.0, 0.7], [0.0, 1.0], [-1.0, 0.0]]
    >>> pool = TablePool(pa.table({"text": list("abcde"), "embedding": like}))
    >>> target = TablePool(pa.table({"text": ["t"], "embedding": [[1.0, 0.0]]}))
    >>> goal = Goal(target, target, Budget(2, "records"))
    >>> plan = KShot().revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.kept.tolist()  # the second is nearly the first
    [True, False, True, False, False]
    >>> plan.decisions[0].note
    '2 records most like 1 example, cosine 0.82 or more; 1 near-copy left out'
    """

    paper: ClassVar[str] = "leveraging_open_knowledge_for_advancing_task"

    vectors: str = Field("auto", description=_vectors.VECTORS)
    examples: int = Field(50, ge=1, description="most examples of the target used; of more, some drawn at random")
    surplus: float = Field(2.0, ge=1, description="candidates, as a multiple of the budget, before copies are left out")
    tau: float = Field(0.9, gt=0, le=1, description="cosine above which the less alike of two records is left out")
    most: int = Field(200_000, ge=1, description="candidates beyond which the policy refuses")
    seek: Literal["best", "worst"] = Field("best", description="worst takes what is least alike, as a control")

    @property
    def needs(self) -> Sequence[str]:
        return _vectors.needed(self.vectors)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        source = _vectors.source(self.vectors, plan, pool, run)
        found = _vectors.read(source, plan, pool, run, "kshot")
        shots = _vectors.of_target(source, goal.target, plan, pool, run, "kshot").values
        shots = shots[np.sort(run.rng("examples").permutation(len(shots))[: self.examples])]
        score = _alike(found.values, shots)
        order = np.argsort(-score if self.seek == "best" else score, kind="stable")
        sizes = (plan.sizes * plan.repeats)[found.rows]
        enough = int(np.searchsorted(np.cumsum(sizes[order]), plan.budget.amount * self.surplus)) + 1
        candidates = order[:enough]
        if candidates.size > self.most:
            raise _vectors.too_many("kshot", candidates.size, self.most, "most", "surplus")
        taken, copies = _distinct(found.values, candidates, sizes, plan.budget.amount, self.tau, run)
        keep = _vectors.fill(plan, found.rows[taken])
        values = np.full(len(plan), np.nan)
        values[found.rows] = score
        known = int((score > SAME).sum())
        warnings = []
        if known:
            warnings.append(f"{known:,} records are copies of an example: if the examples are a test, they leak it")
        if candidates.size < order.size and sizes[taken].sum() < 0.95 * plan.budget.amount:
            warnings.append(f"{copies:,} near-copies leave the budget unfilled: raise `surplus` or `tau`")
        cut = float(score[taken].min() if self.seek == "best" else score[taken].max())
        return plan.revised(
            self.describe(),
            f"{int(keep.sum()):,} records {'most' if self.seek == 'best' else 'least'} like {len(shots)} "
            f"example{'s' * (len(shots) > 1)}, cosine {cut:.2f} or {'more' if self.seek == 'best' else 'less'}; "
            f"{copies:,} near-cop{'ies' if copies != 1 else 'y'} left out{found.lost}",
            keep=keep,
            threshold={"cosine": cut, "tau": self.tau},
            values={"cosine": values},
            reason="less like the examples than those taken, or nearly a copy of one",
            details={
                "examples": len(shots),
                "candidates": int(candidates.size),
                "near_copies": copies,
                "copies": known,
                "vectors": found.told,
                "unknown": found.missing,
                "warnings": warnings,
            },
        )


def _alike(values: Reals, shots: Reals) -> Reals:
    """Each row's largest cosine to an example."""
    parts = [(values[i : i + (1 << 14)] @ shots.T).max(1) for i in range(0, len(values), 1 << 14)]
    return np.concatenate(parts)


def _distinct(values: Reals, candidates: Ints, sizes: Ints, budget: int, tau: float, run: Run) -> tuple[Ints, int]:
    """Candidates in their order less those too like one before, until the budget is full; and how many were so."""
    chosen = np.empty((candidates.size, values.shape[1]), np.float32)
    taken: list[int] = []
    read = copies = 0
    for start in run.track(range(0, candidates.size, CHUNK), "kshot: near-copies"):
        rows = candidates[start : start + CHUNK]
        mine = values[rows]
        near = np.zeros(rows.size, bool)
        for done in range(0, len(taken), 1 << 14):
            near |= ((mine @ chosen[done : min(done + (1 << 14), len(taken))].T) > tau).any(1)
        among = (mine @ mine.T) > tau
        for i, row in enumerate(rows.tolist()):
            if near[i]:
                copies += 1
                continue
            near[i + 1 :] |= among[i, i + 1 :]
            chosen[len(taken)] = mine[i]
            taken.append(row)
            read += int(sizes[row])
            if read >= budget:
                return np.array(taken), copies
    return np.array(taken), copies
