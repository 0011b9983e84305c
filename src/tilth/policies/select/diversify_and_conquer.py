"""DiversifyAndConquer: some of every cluster, then less of those that teach nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Budget, Goal, Plan, Policy, Pool, Proof, Run, TablePool
from tilth.core.errors import DataError
from tilth.core.plan import take_budget
from tilth.core.records import FIELDS
from tilth.models.kmeans import fit
from tilth.policies import _vectors
from tilth.proofs.ngram import Ngram

__all__ = ["DiversifyAndConquer"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


class DiversifyAndConquer(Policy):
    """Fills the budget from clusters of embeddings: evenly at first, then less from those that teach nothing.

    After Yu et al. 2024, arXiv 2409.11378.

    Records are clustered by k-means, and each cluster gives the same amount (or one in proportion to its size), drawn
    with a chance in proportion to a quality where a column has one. With one `round` that is all (k-means quality
    sampling). With more, the budget is spent in equal parts, and after each part clusters are weighed anew. The paper
    trains a model and lets a reward model compare its answers with the given ones. We have no reward model; ours is
    what a cluster's chosen records teach about its others: `proof` is trained on all that is chosen, and on it without
    half of the clusters, and a cluster's score is how much lower the loss of some records that are not chosen is with
    it than without. Noise scores nothing or less, for nothing can be learnt there, and neither does what other clusters
    teach already; the loss itself would call noise hard. Weights of clusters that score below the mean are multiplied
    by exp(standardised score / `temperature`), at each round again; raising those above it as well made the exam's
    held-out loss worse, for what is learnt best needs no more. What an empty cluster cannot give goes to the others.

    Cost: clustering, and three trials a round less one. Measured with one round by `benchmarks/selection_scale.py` on
    one core: 0.8 s of processor for 50,000 records of 384 numbers and 2.1 s for 200,000 (5 % kept), 0.6 GB for these.
    What it buys: in the exam labels of 15 % of the clusters are noise. Those have less than 0.3 of an even share after
    two rounds, and the held-out loss is less than half of a random draw's; but it is not lower than that of an even
    draw with one round (better in 4 of 8 seeds), so prove the rounds where they are used.
    Trap: a score is a mean over `probes` records; with few of them or too little chosen, weights follow noise. `rounds`
    in the details says how far scores were apart against their error, and a warning when they were not.

    >>> import pyarrow as pa
    >>> from tilth.core import TablePool
    >>> where = [[1.0, 0.0]] * 80 + [[0.0, 1.0]] * 10 + [[-1.0, 0.0]] * 10
    >>> pool = TablePool(pa.table({"text": ["x"] * 100, "embedding": where}))
    >>> goal = Goal(pool, pool, Budget(9, "records"))
    >>> policy = DiversifyAndConquer(clusters=3, rounds=1)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> [int(part.sum()) for part in np.split(plan.kept, [80, 90])]
    [3, 3, 3]
    """

    paper: ClassVar[str] = "diversify_and_conquer"

    clusters: int = Field(200, ge=2, le=20_000, description="clusters, at most a tenth of the records when over 10")
    rounds: int = Field(3, ge=1, le=100, description="parts the budget is spent in; 1 only draws evenly")
    quality: str = Field("", description="column with a quality above 0, to which a record's chance is in proportion")
    exponential: bool = Field(False, description="chances in proportion to exp(quality), which may be any number")
    even: bool = Field(True, description="whether clusters give equal amounts at first; false: in proportion to size")
    proof: Proof = Field(default_factory=Ngram, description="what is trained after each round but the last")
    probes: int = Field(10, ge=1, le=1000, description="records of each cluster, not chosen, whose loss is looked at")
    temperature: float = Field(1.0, gt=0, description="divides standardised scores; larger lowers weights less")
    vectors: str = Field("auto", description=_vectors.VECTORS)
    seek: Literal["best", "worst"] = Field("best", description="worst takes the fewest clusters, as a control")

    @property
    def needs(self) -> Sequence[str]:
        trained = self.proof.needs if self.rounds > 1 else ()
        named = (*_vectors.needed(self.vectors), self.quality, *trained)
        return tuple(dict.fromkeys(column for column in named if column))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require([c for c in self.needs if c != self.vectors], "diversify_and_conquer")
        found = _vectors.read(self.vectors, plan, pool, run, "diversify_and_conquer")
        keys, unknown = self._keys(plan, pool, run)
        rows, values = found.rows, found.values
        most = len(values) // 10 if self.clusters > 10 else len(values)
        model = fit(values, max(1, min(self.clusters, most)), run.rng("clusters"))
        label = model.assign(values)[0].astype(np.int64)
        rows, label = rows[np.isfinite(keys[rows])], label[np.isfinite(keys[rows])]
        clusters = len(model.centres)
        sizes = (plan.sizes * plan.repeats)[rows]
        held = np.bincount(label, sizes, clusters).astype(np.float64)
        if self.seek == "worst":
            order = np.lexsort((keys[rows], label, -held[label]))
            keep = _vectors.fill(plan, rows[order])
            return plan.revised(self.describe(), f"the {int(keep.sum()):,} records of the fewest clusters", keep=keep)
        weights = (held > 0) / max(1, int((held > 0).sum())) if self.even else held / held.sum()
        left = np.lexsort((-keys[rows], label))  # places not chosen yet, a cluster's in the order of drawing
        taken = np.full(rows.size, -1, np.int64)
        rounds: list[dict[str, Any]] = []
        spent = 0
        for number in run.track(range(self.rounds), "diversify_and_conquer: rounds"):
            part = plan.budget.amount * (number + 1) // self.rounds - spent
            times = _times(label[left], sizes[left], weights, run.rng("offsets", number))
            order = left[np.argsort(times, kind="stable")]
            chosen = order[: take_budget(sizes[order], part)]
            taken[chosen] = number
            spent += int(sizes[chosen].sum())
            left = left[taken[left] < 0]
            told: dict[str, Any] = {"records": int(chosen.size), "amount": int(sizes[chosen].sum())}
            rounds.append(told)
            if number + 1 == self.rounds or not left.size or spent >= plan.budget.amount:
                continue
            scores, error = self._scores(rows, label, taken, clusters, plan, pool, goal, run.at("round", number))
            spread = float(np.nanstd(scores))
            if spread > 0:
                below = np.minimum(0, np.nan_to_num((scores - np.nanmean(scores)) / spread))
                weights = weights * np.exp(below / self.temperature)
                weights /= weights.sum()
            told |= {"spread_of_scores": spread, "error_of_scores": error, "weights": np.round(weights, 6).tolist()}
        return self._revised(plan, rows, label, taken, clusters, rounds, unknown, found)

    def _revised(
        self,
        plan: Plan,
        rows: Ints,
        label: Ints,
        taken: Ints,
        clusters: int,
        rounds: list[dict[str, Any]],
        unknown: int,
        found: _vectors.Vectors,
    ) -> Plan:
        keep = np.zeros(len(plan), bool)
        keep[rows[taken >= 0]] = True
        cluster, when = np.full(len(plan), np.nan), np.full(len(plan), np.nan)
        cluster[rows] = label
        when[rows[taken >= 0]] = taken[taken >= 0]
        warnings = [
            f"after round {number + 1} scores were {told['spread_of_scores']:.3g} apart with an error of "
            f"{told['error_of_scores']:.3g}: weights follow noise; raise `probes`"
            for number, told in enumerate(rounds)
            if "spread_of_scores" in told and told["spread_of_scores"] <= 1.2 * told["error_of_scores"]
        ]
        lost = f"; {unknown:,} without {self.quality} dropped" if unknown else ""
        return plan.revised(
            self.describe(),
            f"{int(keep.sum()):,} records of {np.unique(label[taken >= 0]).size:,} of {clusters:,} clusters in "
            f"{len(rounds)} round{'s' * (len(rounds) > 1)}{lost}{found.lost}",
            keep=keep,
            values={"cluster": cluster, "round": when},
            reason="not drawn from its cluster",
            details={
                "clusters": clusters,
                "rounds": rounds,
                "vectors": found.told,
                "unknown": unknown,
                "warnings": warnings,
            },
        )

    def _keys(self, plan: Plan, pool: Pool, run: Run) -> tuple[Floats, int]:
        """Each record's place in a draw without replacement (larger is sooner), and how many have no quality."""
        gumbel = -np.log(-np.log(run.uniform(plan.ids, "draw")))
        if not self.quality:
            return gumbel, 0
        quality = pc.cast(pool.column(self.quality), pa.float64()).to_numpy().astype(np.float64)
        known = np.isfinite(quality)
        if not (known & plan.kept).any():
            raise DataError(f"diversify_and_conquer: no record has a {self.quality}. Score it, or leave it empty.")
        if not self.exponential and (quality[known & plan.kept] < 0).any():
            raise DataError(
                f"diversify_and_conquer: {self.quality} is below 0 for some records, and chances are in proportion to "
                f"it. Choose `exponential: true`."
            )
        chance = quality if self.exponential else np.log(np.maximum(np.nan_to_num(quality), 1e-300))
        return np.where(known, gumbel + chance, np.nan), int((plan.kept & ~known).sum())

    def _scores(
        self,
        rows: Ints,
        label: Ints,
        taken: Ints,
        clusters: int,
        plan: Plan,
        pool: Pool,
        goal: Goal,
        run: Run,
    ) -> tuple[Floats, float]:
        """What a cluster's chosen records taught about its others (NaN where all is chosen), and the standard error."""
        free = np.flatnonzero(taken < 0)
        drawn = free[np.lexsort((run.rng("probes").random(free.size), label[free]))]
        nth = np.arange(drawn.size) - np.searchsorted(label[drawn], label[drawn])
        drawn = drawn[nth < self.probes]
        columns = [c for c in ("id", *FIELDS[pool.kind], "source") if c in pool.column_names()]
        more = [c for c in self.proof.needs if c not in columns and "." not in c and c in pool.schema.names]
        probes = TablePool(pool.take(rows[drawn], [*columns, *more]), pool.kind)
        repeats = plan.repeats.copy()
        repeats[np.setdiff1d(np.arange(len(plan)), rows[taken >= 0])] = 0
        whole = replace(plan, repeats=repeats)
        whole = replace(whole, budget=Budget(max(1, whole.amount), plan.budget.unit))
        side = run.rng("sides").permutation(clusters) % 2  # a model of the other side has seen nothing of the cluster
        without = [np.where(np.isin(np.arange(len(plan)), rows[side[label] == s]), repeats, 0) for s in range(2)]
        if not all(part.any() for part in without):
            return np.full(clusters, np.nan), 0.0
        plans = [replace(whole, repeats=part.astype(np.int32)) for part in without]
        looked = replace(goal, target=probes, holdout=probes)
        full, *apart = (self.proof.trial(p, pool, looked, run.at("trial")) for p in (whole, *plans))
        drop = np.where(side[label[drawn]] == 0, apart[1], apart[0]) - full
        count = np.bincount(label[drawn], minlength=clusters)
        has = np.where(count > 0, count, np.nan)
        mean = np.bincount(label[drawn], drop, clusters) / has
        within = np.sum((drop - mean[label[drawn]]) ** 2) / max(1, drawn.size - int((count > 0).sum()))
        return mean, float(np.sqrt(within * np.nanmean(1 / has)))


def _times(label: Ints, sizes: Ints, weights: Floats, rng: np.random.Generator) -> Floats:
    """When each record is taken, if clusters give at rates in proportion to their weights; labels are grouped.

    Taking records by time spends any amount in these proportions, to a record for each cluster, and goes on with the
    others when one is empty. A random start for each cluster decides who gives where shares are less than a record.
    """
    total = np.cumsum(sizes) - sizes
    first = np.searchsorted(label, np.arange(weights.size))
    before = total - total[np.minimum(first, max(0, label.size - 1))][label]
    start = rng.random(weights.size)
    return np.asarray((before + start[label] * sizes) / np.maximum(weights[label], 1e-300))
