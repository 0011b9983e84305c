"""L1AMtrl: read a source as much as the target is made of it, and few sources rather than many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Groups, Plan, Policy, Pool, Run, groups
from tilth.core.errors import DataError, UsageError
from tilth.models.relevance import fit_heads, lasso, shared_basis
from tilth.policies import _vectors

__all__ = ["L1Amtrl"]

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
EXPLORED = 0.25
"""Share of a later round's records that goes to all sources alike."""
MOST_CLASSES = 100


class L1Amtrl(Policy):
    """Shares of the sources by a sparse combination of them that gives the target (L1-A-MTRL, arXiv 2306.02556).

    With labels (a pool and a target of kind ``labeled``): fit one representation of `rank` directions to all sources
    and a head for each on top of it, then the target's head; the lasso writes it as a combination v of the sources'
    heads, and a source gets |v|. Labels that are numbers are regressed, others are classes told apart. Without labels,
    for any kind of pool, a source's head is the mean of its texts' embeddings and no v is negative: the target's
    topics from the sources' topics. v is the mean over target examples drawn with replacement.

    In `rounds`, as the paper does: the first reads `first` records of each source, each further one twice as many in
    all, mostly of the sources that seemed relevant so far; directions and heads are fitted to all records read until
    then. That spares reading and embedding; where all is labelled already, one round with a large `first` is as good.

    Cost: embedding the records read, then seconds. Trap: what a target is made of can be written in several ways when
    there are more sources than directions; the lasso takes a short one, which trains well but may name other sources
    than you would. In a simulator of 20 sources on 5 directions it named a third of the target's three, hardly fewer
    than on the true heads; the target's risk was two thirds of that under equal shares with 40 examples of the target
    and four tenths with 400 (`tilth claim wang2023_l1_relevance`). Heads are scaled to length one first, or loud labels
    would count for more. Means of texts, classes, the bootstrap, and rounds that judge by earlier rounds' records, too,
    are ours.

    >>> from tilth.core import Plan, Run
    >>> from tilth.probes.planted_mixture import PlantedMixture
    >>> probe = PlantedMixture()
    >>> world = probe.build(1200, Run())
    >>> start = Plan.everything(world.pool, world.goal.budget)
    >>> plan = L1Amtrl(cap=8).revise(start, world.pool, world.goal.blind(), Run())
    >>> probe.grade(world, plan) > probe.grade(world, start)  # nearer to the planted mixture than natural shares
    True
    """

    paper: ClassVar[str] = "improved_active_multitask_representation_learning_via"

    by: str = Field("source", description="the column whose values are the sources")
    heads: Literal["auto", "labels", "texts"] = Field(
        "auto", description="auto: labels where pool and target have them"
    )
    vectors: str = Field("auto", description=_vectors.VECTORS)
    rank: int = Field(5, ge=1, le=1000, description="directions of the shared representation of labels")
    penalty: float = Field(0.05, ge=0, lt=1, description="of the lasso, as a share of the one that leaves nothing")
    first: int = Field(500, ge=10, description="records of each source in the first round")
    rounds: int = Field(2, ge=1, le=20, description="each reads twice as many records as the one before")
    resamples: int = Field(20, ge=1, le=10_000, description="draws of the target's examples that v is averaged over")
    threshold: float = Field(0.05, ge=0, lt=1, description="a source below this share of the largest gets nothing")
    cap: float = Field(4.0, ge=1, description="most epochs of a source")
    seek: Literal["best", "worst"] = Field("best", description="worst reads the least relevant, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        labels = ("label",) if self.heads == "labels" else ()
        return (*_vectors.needed(self.vectors), self.by, *labels)

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        by = groups(pool, self.by)
        present = by.sums(plan.sizes * plan.kept) > 0
        labelled = self._labelled(pool, goal)
        read = _Reader.of(self, plan, pool, goal, labelled, run)
        relevance = np.where(present, 1.0, 0.0)
        history = []
        x, rows = np.zeros((0, read.target.shape[1])), np.zeros(0, np.int64)
        seen = np.zeros(len(plan), np.bool_)
        for i in range(self.rounds):
            total = self.first * int(present.sum()) * 2**i
            explored = 1.0 if i == 0 else EXPLORED
            wanted = explored * present / present.sum() + (1 - explored) * relevance / max(relevance.sum(), 1e-300)
            fresh = _sampled(plan, by, wanted * total, seen, run.at("round", i))
            if fresh.size == 0:  # all is read
                break
            seen[fresh] = True
            more, fresh = read.vectors(fresh)
            x, rows = np.vstack([x, more]), np.concatenate([rows, fresh])
            relevance = self._relevance(read, x, rows, by, run.at("round", i))
            history.append(_named(by, relevance))
        strong = np.where(relevance >= self.threshold * relevance.max(initial=0.0), relevance, 0.0)
        warnings = []
        shares = strong
        if strong.sum() <= 0:
            warnings.append("no source has anything of the target: natural shares are kept")
            shares = by.sums(plan.sizes * plan.kept)
        elif self.seek == "worst":
            shares = np.where(present, relevance.max() - relevance, 0.0)
            shares = shares if shares.sum() > 0 else present.astype(float)
        shares = shares / shares.sum()
        kind = "labels" if labelled else "texts"
        note = f"shares of {self.by} by their part in the target's {kind}: {int((shares > 0).sum())} of {present.sum()}"
        details: dict[str, Any] = {
            "relevance": history[-1],
            "rounds": history,
            "heads": kind,
            "shares": _named(by, shares),
            "warnings": warnings,
        }
        named = _named(by, shares)
        return plan.mixed(self.describe(), note, named, by, run.uniform(plan.ids, "key"), self.cap, details=details)

    def _labelled(self, pool: Pool, goal: Goal) -> bool:
        """Whether heads are fitted to labels."""
        both = all("label" in p.schema.names for p in (pool, goal.target))
        if self.heads == "labels" and not both:
            raise UsageError("l1_amtrl: heads: labels needs a column `label` in pool and target. Use heads: texts.")
        return both and self.heads != "texts"

    def _relevance(self, read: _Reader, x: Floats, rows: Ints, by: Groups, run: Run) -> Floats:
        """(sources,) mean |v|, v in units of heads of length one, from all vectors read so far."""
        source = by.index[rows].astype(np.int64)
        target = read.target
        if read.answers is None:
            sums = np.zeros((len(by.names), x.shape[1]))
            np.add.at(sums, source, x)
            heads = (sums / np.maximum(np.bincount(source, minlength=len(by.names)), 1)[:, None]).T
        else:
            y = read.answers.of(read.labels(rows))
            basis = shared_basis(x, y, source, len(by.names), self.rank)
            fitted = fit_heads(x @ basis, y, source, len(by.names))
            heads = fitted.reshape(len(by.names), -1).T
            target = target @ basis
        length = np.linalg.norm(heads, axis=0)
        heads = heads / np.where(length > 0, length, 1.0)
        rng = run.rng("target")
        found = np.zeros(len(by.names))
        alone = np.zeros(len(target), np.int64)
        for _ in range(self.resamples):
            drawn = rng.choice(len(target), size=len(target), p=read.weights)
            if read.answers is None:
                goal = target[drawn].mean(0)
            else:
                goal = fit_heads(target[drawn], read.wanted[drawn], alone, 1).ravel()
            found += np.abs(lasso(heads, goal, self.penalty, positive=read.answers is None))
        return found / self.resamples


@dataclass(frozen=True)
class _Answers:
    """Labels as numbers: themselves, or one column of 1 and -1 for each class."""

    classes: tuple[str, ...]
    shift: float
    scale: float

    @classmethod
    def from_labels(cls, pool: pa.ChunkedArray, target: pa.ChunkedArray) -> _Answers:
        values = sorted({str(v) for column in (pool, target) for v in pc.unique(column).to_pylist() if v is not None})
        try:
            numbers = np.array([float(v) for v in pc.drop_null(pool).to_pylist()])
            _ = [float(v) for v in values]
            return cls((), float(numbers.mean()), float(numbers.std()) or 1.0)
        except ValueError:
            if len(values) > MOST_CLASSES:
                raise DataError(
                    f"l1_amtrl: {len(values):,} different labels are neither numbers nor at most {MOST_CLASSES} "
                    f"classes. Use heads: texts."
                ) from None
            return cls(tuple(values), 0.0, 1.0)

    def of(self, labels: Sequence[Any]) -> Floats:
        """(n, outputs); a record without a label says nothing, in the middle."""
        if not self.classes:
            return (
                np.array([self.shift if v is None else float(v) for v in labels])[:, None] - self.shift
            ) / self.scale
        place = {name: i for i, name in enumerate(self.classes)}
        out = np.full((len(labels), len(self.classes)), -1.0)
        for row, label in zip(out, labels, strict=True):
            if label is None:
                row[:] = 0
            else:
                row[place[str(label)]] = 1
        return out


@dataclass(frozen=True)
class _Reader:
    """Vectors and labels of records on demand, and those of the target."""

    plan: Plan
    pool: Pool
    run: Run
    source: _vectors.Source
    target: Floats
    weights: Floats
    answers: _Answers | None
    wanted: Floats

    @classmethod
    def of(cls, method: L1Amtrl, plan: Plan, pool: Pool, goal: Goal, labelled: bool, run: Run) -> _Reader:
        source = _vectors.source(method.vectors, plan, pool, run)
        found = _vectors.of_target(source, goal.target, plan, pool, run, "l1_amtrl", unit=False)
        weights = goal.weights(goal.target).to_numpy()[found.rows]
        answers = _Answers.from_labels(pool.column("label"), goal.target.column("label")) if labelled else None
        labels = goal.target.column("label").take(pa.array(found.rows)).to_pylist() if labelled else []
        wanted = np.zeros((0, 0)) if answers is None else answers.of(labels)
        target = found.values.astype(np.float64)
        return cls(plan, pool, run, source, target, weights / weights.sum(), answers, wanted)

    def vectors(self, rows: Ints) -> tuple[Floats, Ints]:
        """(n, width), and which of the rows have a vector."""
        found = _vectors.read(self.source, self.plan, self.pool, self.run, "l1_amtrl", unit=False, rows=rows)
        return found.values.astype(np.float64), found.rows

    def labels(self, rows: Ints) -> list[Any]:
        """The labels, null where there is none."""
        found: list[Any] = self.pool.take(rows, ["label"]).column(0).to_pylist()
        return found


def _sampled(plan: Plan, by: Groups, wanted: Floats, seen: npt.NDArray[np.bool_], run: Run) -> Ints:
    """Rows: so many random kept records of each source that were not seen, all where there are fewer."""
    u = run.uniform(plan.ids, "sample")
    order = np.lexsort((u, by.index))
    order = order[(plan.kept & ~seen)[order]]
    bounds = np.searchsorted(by.index[order], np.arange(len(by.names) + 1))
    parts = [order[bounds[g] : bounds[g + 1]][: round(wanted[g])] for g in range(len(by.names))]
    return np.sort(np.concatenate(parts))


def _named(by: Groups, values: Floats) -> dict[str, float]:
    return dict(zip(by.names, values.tolist(), strict=True))
