"""Mig: the records that together say most about the tags, tags alike counted together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field
from scipy import sparse

from tilth.core import Goal, Plan, Policy, Pool, Run
from tilth.core.errors import BadInput, DataError
from tilth.kernels.greedy import inform
from tilth.models.kmeans import fit
from tilth.policies import _vectors

__all__ = ["Mig"]

Ints = npt.NDArray[np.int64]
Reals = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
UNTAGGED = "(untagged)"


class Mig(Policy):
    """Fills the budget with the records that add most information over a graph of tags (Xia et al., arXiv 2504.13835).

    A record gives each of its tags its quality, and a part of that to tags whose embeddings have a cosine of
    `threshold` or more, columns of the graph scaled to sum to one. What a tag has counts as its `power`, below 1, so a
    tag that nobody chosen has is worth most: each pick has the largest sum of what it gives times the slope there.
    Slopes fall, so gains are looked up lazily, with the same picks.

    Tags are a column of lists of strings (or of single strings), such as a tagger writes. Without one, the labels are
    clusters of embeddings, one to a record; that is ours, and it makes this an even draw over clusters by quality. A
    record without tags gets the tag "(untagged)". Qualities are scaled to between 0 and 1 over the plan (ours).

    Cost: the evaluations of gains, a few for each pick with many tags, up to one for each record and level with few.
    Measured by `benchmarks/selection_scale.py` on one core: 5 s of processor for 50,000 records of 384
    numbers and 9.5 s for 200,000 by clusters (5 % kept), 0.4 and 0.9 s by three tags of 5,000, at most in proportion;
    0.8 GB for the 200,000.
    Trap: 0.9 was chosen for the paper's encoder of tags. Look at `edges` in the details: with none, tags that mean the
    same are counted twice; with very many, all tags are one.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, TablePool
    >>> tags = [["math"], ["math"], ["math", "code"], ["math"], ["law"], None]
    >>> pool = TablePool(pa.table({"text": list("abcdef"), "tags": tags, "good": [9.0, 8.0, 7.0, 9.0, 6.0, 1.0]}))
    >>> goal = Goal(pool, pool, Budget(2, "records"))
    >>> plan = Mig(tags="tags", quality="good").revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    >>> plan.kept.tolist()  # two subjects at once, then the third; the best two are both math
    [False, False, True, False, True, False]
    >>> plan.decisions[0].note
    '2 records with 3 of 4 tags'
    """

    paper: ClassVar[str] = "mig"

    tags: str = Field("", description="column of each record's tags; empty makes clusters of embeddings the tags")
    quality: str = Field("", description="column with a number of quality, higher is better; empty counts all as 1")
    per_tag: bool = Field(False, description="divide a record's quality by the number of its tags")
    power: float = Field(0.8, gt=0, lt=1, description="what a tag has counts as this power of it")
    offset: float = Field(1e-6, gt=0, description="added where the slope is taken; keeps it finite at 0")
    threshold: float = Field(0.9, ge=-1, le=1, description="least cosine of tags that count together")
    spread: float = Field(1.0, ge=0, description="weight of tags alike against the tag itself")
    encoder: str = Field("static", description="what embeds names of tags: static, minilm or a model's folder")
    vectors: str = Field("auto", description="without tags: " + _vectors.VECTORS)
    clusters: int = Field(1000, ge=2, le=20_000, description="without tags: clusters, at most a tenth of the records")
    seek: Literal["best", "worst"] = Field("best", description="worst adds least information, as a negative control")

    @property
    def needs(self) -> Sequence[str]:
        columns = ("id", self.tags) if self.tags else _vectors.needed(self.vectors)
        return (*columns, *((self.quality,) if self.quality else ()))

    def worst(self) -> Self:
        return self.model_copy(update={"seek": "worst" if self.seek == "best" else "best"})

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        rows, quality = self._quality(plan, pool)
        bags, names, embedded, lost = self._labels(rows, plan, pool, run)
        kept = np.flatnonzero(np.diff(bags.indptr) > 0)
        bags, rows, quality = bags[kept], rows[kept], quality[kept]
        if self.per_tag:
            quality = quality / np.diff(bags.indptr)
        graph, edges = _graph(embedded, self.threshold, self.spread)
        given = sparse.csr_matrix(sparse.diags(quality).dot(bags).dot(graph), dtype=np.float32)
        given.sort_indices()
        sizes = (plan.sizes * plan.repeats)[rows]
        order, gains, _ = inform(
            given.indptr.astype(np.int64), given.indices.astype(np.int32), given.data, len(names), self.power,
            self.offset, sizes, plan.budget.amount if self.seek == "best" else int(sizes.sum()),
        )  # fmt: skip
        chosen = order if self.seek == "best" else order[::-1]
        keep = _vectors.fill(plan, rows[chosen])
        gain = np.full(len(plan), np.nan)
        gain[rows[order]] = gains
        taken = keep[rows]
        has, there = (int((np.bincount(part.indices, minlength=len(names)) > 0).sum()) for part in (bags[taken], bags))
        what = "tags" if self.tags else "clusters"
        end = f"; {lost:,} without {'quality' if self.tags else 'an embedding or quality'} dropped" if lost else ""
        return plan.revised(
            self.describe(),
            f"{int(keep.sum()):,} records with {has:,} of {there:,} {what}{end}",
            keep=keep,
            threshold={"gain": float(np.nanmin(gain[keep]))} if self.seek == "best" else {},
            values={"gain": gain},
            reason="adds less information than those taken",
            details={
                "tags": there,
                "covered": has,
                "edges": edges,
                "unknown": lost,
                "warnings": self._doubts(edges, there),
            },
        )

    def _doubts(self, edges: int, tags: int) -> list[str]:
        if self.tags and tags > 1 and edges > 0.1 * tags * (tags - 1) / 2:
            return [f"{edges:,} pairs of {tags:,} tags count as alike, more than a tenth: raise `threshold`"]
        return []

    def _quality(self, plan: Plan, pool: Pool) -> tuple[Ints, Floats]:
        """The kept records that have a quality, and it, between 0 and 1."""
        pool.require(self.needs if self.quality or self.tags else ("id",), "mig")
        rows = np.flatnonzero(plan.kept)
        if not self.quality:
            return rows, np.ones(rows.size)
        found = pc.cast(pool.column(self.quality), pa.float64()).to_numpy().astype(np.float64)[rows]
        rows, found = rows[np.isfinite(found)], found[np.isfinite(found)]
        if not rows.size:
            raise DataError(f"mig: no record has a {self.quality}. Score it, or leave `quality` empty.")
        span = float(np.ptp(found))
        return rows, (found - found.min()) / span if span else np.ones(rows.size)

    def _labels(
        self, rows: Ints, plan: Plan, pool: Pool, run: Run
    ) -> tuple[sparse.csr_matrix, Sequence[str], Reals, int]:
        """Which record has which label (1 or 0), the labels, their embeddings, and how many records have none."""
        lost = int(plan.kept.sum()) - rows.size
        if self.tags:
            bags, names = _bags(pool.column(self.tags).take(pa.array(rows)), self.tags)
            return bags, names, _vectors.of_names(self.encoder, names, plan, pool, run), lost
        found = _vectors.read(self.vectors, plan, pool, run, "mig")
        has = np.isin(found.rows, rows, assume_unique=True)
        mine = found.values if has.all() else found.values[has]
        model = fit(mine, max(2, min(self.clusters, len(mine) // 10)), run.rng("clusters"))
        label = np.full(rows.size, -1, np.int64)
        label[np.searchsorted(rows, found.rows[has])] = model.assign(mine)[0]
        indptr = np.append(0, np.cumsum(label >= 0))
        named = [f"cluster {i}" for i in range(len(model.centres))]
        ones = np.ones(int(indptr[-1]))
        bags = sparse.csr_matrix((ones, label[label >= 0], indptr), shape=(rows.size, len(named)))
        lengths = np.linalg.norm(model.centres, axis=1, keepdims=True)
        return bags, named, model.centres / np.maximum(lengths, 1e-12), lost + int((label < 0).sum())


def _bags(column: pa.ChunkedArray, name: str) -> tuple[sparse.csr_matrix, list[str]]:
    """Which record has which tag, each once; and the tags, sorted."""
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_dictionary(kind):
        texts = pc.cast(column, pa.string()).combine_chunks()
        owner = np.flatnonzero(texts.is_valid().to_numpy(zero_copy_only=False))
        flat = texts.drop_null()
    elif (pa.types.is_list(kind) or pa.types.is_large_list(kind)) and pa.types.is_string(kind.value_type):
        lists = column.combine_chunks()
        owner = pc.list_parent_indices(lists).to_numpy(zero_copy_only=False)
        flat = pc.list_flatten(lists)
        owner = owner[flat.is_valid().to_numpy(zero_copy_only=False)]
        flat = flat.drop_null()
    else:
        raise BadInput(f"mig: tags are lists of strings, or strings; {name!r} is {kind}.")
    encoded = flat.dictionary_encode()
    names = encoded.dictionary.to_pylist()
    number = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    bare = np.setdiff1d(np.arange(len(column)), owner)
    if bare.size:
        names.append(UNTAGGED)
        owner, number = np.append(owner, bare), np.append(number, np.full(bare.size, len(names) - 1))
    place = np.empty(len(names), np.int64)
    by_name = sorted(range(len(names)), key=names.__getitem__)
    place[by_name] = np.arange(len(names))
    bags = sparse.csr_matrix((np.ones(owner.size), (owner, place[number])), shape=(len(column), len(names)))
    bags.data[:] = 1.0  # a tag named twice counts once
    return bags, [names[i] for i in by_name]


def _graph(embedded: Reals, threshold: float, spread: float) -> tuple[sparse.csr_matrix, int]:
    """Tag to tag, columns summing to one; and the pairs that are alike."""
    count = len(embedded)
    parts, edges = [], 0
    for start in range(0, count, 2048):
        alike = embedded[start : start + 2048] @ embedded.T
        alike[(alike < threshold) | (alike <= 0)] = 0
        alike[np.arange(len(alike)), start + np.arange(len(alike))] = 0
        parts.append(sparse.csr_matrix(alike))
        edges += parts[-1].nnz
    graph = sparse.csr_matrix(sparse.vstack(parts) * spread + sparse.identity(count))
    column = np.asarray(graph.sum(0)).ravel()
    return sparse.csr_matrix(graph @ sparse.diags(1 / column)), edges // 2
