"""InContext: documents that are alike lie side by side, so that a window holds related ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
from pydantic import Field

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.kernels.order import walk
from tilth.models.neighbours import exact, listed
from tilth.policies import _vectors
from tilth.policies.order._ranks import ordered, over, phases

__all__ = ["InContext"]

Ints = npt.NDArray[np.int64]
Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
ENOUGH = 2.0  # times the likeness of random order that is expected inside a window
TOGETHER = 0.01  # share of documents with a near-duplicate in their window that is worth a warning


class InContext(Policy):
    """Orders a plan along a path through alike documents, so that each window of a model holds related ones.

    In-Context Pretraining (arXiv 2310.10638): each document is joined with its `neighbours` nearest ones by cosine, in
    an undirected graph. The path begins at the document with the fewest neighbours, goes on to the most similar one not
    yet visited, and where there is none begins again at the unvisited one with the fewest. Each document is there
    exactly once. The path is then cut into windows of about `window` tokens, whose order is shuffled, as windows that
    follow each other would be alike as well; inside one, documents stay as they are.

    Near-duplicates, with a cosine of `duplicate` or more, are not joined, and one is passed over while the other lies
    within a window before it (ours): a model would learn to copy. Only those among the nearest neighbours are seen, so
    remove duplicates first. `details` has the mean cosine of two documents in a window, and the same in random order;
    a warning says where it is less than twice as much.

    **Documents must see each other**: train with attention across documents (``tiny_lm`` has `apart` for that). Windows
    are whole documents, so a model's windows, cut anywhere, mostly lie over parts of two; make `window` a few contexts
    long if that matters more than that neighbouring windows differ. A proof gives each seed random records of a plan,
    which leaves few of each window: what is trained there is not this order unless it reads the whole plan.

    Cost: up to `exact` documents all pairs are compared; above, those in near clusters only, which loses 1 in 100 of
    the neighbours where documents lie in clumps. Measured by `benchmarks/in_context.py` on one core, 200,000 documents
    of 384 numbers: 155 s with all pairs, 64 s with clusters, and 1.9 GB, of which 0.7 GB are the pool. On 38,000 real
    texts of four sources with static embeddings the mean cosine in windows is 0.60, and 0.00 in random order; in
    windows cut anywhere, as a model cuts them, 0.42.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> topics = [[1.0, 0.1], [0.1, 1.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.2], [0.2, 1.0]]
    >>> columns = {"text": list("abcdef"), "embedding": topics, "tokens": [{"count": 100}] * 6}
    >>> pool = TablePool(pa.table(columns))
    >>> goal = Goal(pool, pool, Budget(600))
    >>> policy = InContext(neighbours=2, window=300, duplicate=1.0)
    >>> plan = policy.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> rows = plan.reading_order(Run())[0].tolist()
    >>> sorted(sorted(rows[i : i + 3]) for i in (0, 3))  # each window has one topic
    [[0, 2, 4], [1, 3, 5]]
    """

    paper: ClassVar[str] = "incontext_pretraining"

    vectors: str = Field("auto", description=_vectors.VECTORS)
    neighbours: int = Field(20, ge=1, le=1000, description="nearest documents that each is joined with")
    window: int = Field(2048, ge=1, description="tokens of a window; about the context of the model")
    duplicate: float = Field(0.95, gt=0, le=1, description="cosine from which two documents are near-duplicates")
    exact: int = Field(100_000, ge=0, description="most documents that are all compared with each other")
    probes: int = Field(16, ge=1, description="nearest clusters of about 1,024 that are searched above that")
    seek: Literal["near", "far"] = Field("near", description="far deals alike documents to different windows")

    @property
    def needs(self) -> Sequence[str]:
        return (*_vectors.needed(self.vectors), "tokens.count")

    def worst(self) -> Self:
        """Documents that are alike in windows as far apart as there are."""
        return self.model_copy(update={"seek": "far" if self.seek == "near" else "near"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(["tokens.count"], "in_context")
        found = _vectors.read(self.vectors, plan, pool, run, "in_context")
        tokens = pc.fill_null(pool.column("tokens.count"), 0).to_numpy().astype(np.int64)
        place = np.full(len(plan), -1, np.int64)
        place[found.rows] = np.arange(found.rows.size)
        rank, starts, jumps, near_pairs = np.full(len(plan), np.nan), [], 0, 0
        like, chance = np.zeros(2), np.zeros(2)
        together = 0
        for number, rows in enumerate(phases(plan)):
            here = run.at("phase", number)
            mine = rows[place[rows] >= 0]
            values = found.values[place[mine]] if mine.size < found.rows.size else found.values
            path, left, pairs = self._path(values, tokens[mine], here)
            jumps += left
            windows = _windows(tokens[mine][path], self.window)
            if self.seek == "far":
                path = _dealt(path, windows)
                windows = _windows(tokens[mine][path], self.window)
            like += _likeness(values[path], windows)
            chance += _likeness(values[here.rng("random").permutation(mine.size)], windows)
            near_pairs += len(pairs)
            together += _together(path, windows, pairs)
            shuffled = np.argsort(
                here.rng("windows").permutation(int(windows.max(initial=-1)) + 1)[windows], kind="stable"
            )
            order = mine[path[shuffled]]
            # Those without an embedding have no neighbours: they follow, and nothing lies between the others.
            order = np.concatenate([order, here.rng("rest").permutation(rows[place[rows] < 0])])
            rank[order] = np.arange(order.size) / max(order.size, 1)
            starts.append(int(windows.max(initial=-1)) + 1)
        inside, by_lot = (float(total / max(count, 1)) for total, count in (like, chance))
        count = int(plan.kept.sum())
        lost = f"; {found.missing:,} without an embedding come last" if found.missing else ""
        made = ordered(
            plan,
            self.describe(),
            f"{count:,} records in {sum(starts):,} windows with a mean cosine of {inside:.2f} inside "
            f"({by_lot:.2f} in random order){lost}",
            rank,
            details={
                "inside": inside, "random": by_lot, "windows": sum(starts), "begun": jumps,
                "near_duplicates": near_pairs, "with_a_near_duplicate": together, "vectors": found.told,
                "unknown": found.missing,
            },
        )  # fmt: skip
        for warning in self._warnings(plan, inside, by_lot, together / max(count, 1)):
            made = made.warned(warning)
        return made

    def _path(self, values: Reals, sizes: Ints, run: Run) -> tuple[Ints, int, Ints]:
        """All documents in the order of the path, how often it begins, and (pairs, 2) near-duplicates."""
        if len(values) <= self.exact:
            places, similar = exact(values, self.neighbours, run.track)
        else:
            places, similar = listed(values, self.neighbours, run.rng("lists"), self.probes, run.track)
        near = similar >= self.duplicate
        indptr, joined = _graph(places, np.where(near, -np.inf, similar))
        likes_at, likes = _graph(places, np.where(near, similar, -np.inf))
        order = np.lexsort((run.rng("starts").random(len(values)), np.diff(indptr)))
        path, jumps = walk(indptr, joined, order, likes_at, likes, sizes, self.window)
        pairs = np.stack([np.repeat(np.arange(len(values)), np.diff(likes_at)), likes], 1)
        return path, jumps, pairs[pairs[:, 0] < pairs[:, 1]]

    def _warnings(self, plan: Plan, inside: float, by_lot: float, together: float) -> list[str]:
        warnings = []
        if over(plan):
            warnings.append(
                "the plan holds more than its budget: only a part of the windows is read. Select before ordering"
            )
        if self.seek == "near" and inside < ENOUGH * by_lot:
            warnings.append(
                f"documents in a window are hardly more alike ({inside:.2f}) than in random order ({by_lot:.2f}): the "
                f"embeddings tell them apart too little, or a window holds more documents than there are alike"
            )
        if self.seek == "near" and together > TOGETHER:
            warnings.append(
                f"{together:.0%} of the documents share a window with a near-duplicate: remove duplicates first"
            )
        return warnings


def _graph(places: Places, similar: Reals) -> tuple[Ints, Ints]:
    """The undirected graph (CSR) of all finite similarities, each node's neighbours by descending similarity."""
    n, k = places.shape
    some = np.isfinite(similar).ravel()
    one = np.repeat(np.arange(n), k)[some]
    other, weight = places.ravel()[some].astype(np.int64), similar.ravel()[some]
    one, other, weight = np.append(one, other), np.append(other, one), np.append(weight, weight)
    _, first = np.unique(one * n + other, return_index=True)
    one, other, weight = one[first], other[first], weight[first]
    order = np.lexsort((other, -weight, one))
    indptr = np.searchsorted(one, np.arange(n + 1))
    return indptr.astype(np.int64), other[order]


def _windows(tokens: Ints, size: int) -> Ints:
    """The number of the window in which each document of a path begins."""
    if not tokens.size:
        return np.zeros(0, np.int64)
    begins = (np.cumsum(tokens) - tokens) // size
    numbers: Ints = np.unique(begins, return_inverse=True)[1].astype(np.int64)
    return numbers


def _dealt(path: Ints, windows: Ints) -> Ints:
    """The path dealt like cards to as many hands as there are windows, one hand after the other."""
    hands = int(windows.max(initial=0)) + 1
    dealt: Ints = path[np.argsort(np.arange(path.size) % hands, kind="stable")]
    return dealt


def _likeness(values: Reals, windows: Ints) -> Floats:
    """The sum of the cosines of all pairs inside windows of rows of length one, and the number of pairs."""
    if not windows.size:
        return np.zeros(2)
    starts = np.flatnonzero(np.diff(windows, prepend=-1))
    sums = np.add.reduceat(values, starts, axis=0, dtype=np.float64)
    counts = np.diff(np.append(starts, windows.size))
    # |sum of v|^2 is the number of rows and twice the sum over pairs.
    return np.array([((sums**2).sum() - windows.size) / 2, (counts * (counts - 1)).sum() / 2])


def _together(path: Ints, windows: Ints, pairs: Ints) -> int:
    """How many documents lie in one window with a near-duplicate."""
    of = np.empty(path.size, np.int64)
    of[path] = windows
    return int(np.unique(pairs[of[pairs[:, 0]] == of[pairs[:, 1]]]).size)
