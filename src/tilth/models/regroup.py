"""Regroup: groups made by meaning, from embeddings, and which of them a goal's items belong to."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from sklearn.metrics import silhouette_score

from tilth.core import Groups, Pool, Run
from tilth.models.encoder import Encoder, encoder
from tilth.models.kmeans import KMeans, fit

__all__ = ["regrouped"]

Bools = npt.NDArray[np.bool_]
Reals = npt.NDArray[np.float32]
LEARNED = 20_000
"""Records that centres, and a static encoder, are learned from."""
JUDGED = 2_000
"""Records on which numbers of clusters are compared."""


def regrouped(
    pool: Pool, kept: Bools, target: Pool, clusters: Sequence[int], run: Run, name: str = "static"
) -> tuple[Groups, tuple[str, ...], dict[int, float]]:
    """K-means on embeddings of the kept records; the number with the greatest mean silhouette where several are given.

    Args:
        kept: which records count; the others get the group of their nearest centre, too.
        target: the goal's items, placed into the same groups.
        name: the encoder, see `models.encoder`.

    Returns:
        The groups ``c00``, ``c01``, ..., the group of each target item, and the silhouette of each number tried.
    """
    rows = np.flatnonzero(kept)
    some = np.sort(rows[run.rng("learned").permutation(rows.size)[:LEARNED]])
    texts = pc.fill_null(pool.take(some, ["text"]).column(0), "")
    model = encoder(name, texts, run.at("encoder"))
    vectors = model.encode(texts)
    fitted, told = _fitted(vectors, sorted({min(k, len(vectors)) for k in clusters}), run)
    parts = [fitted.assign(_encoded(model, batch.column(0)))[0] for batch in pool.batches(["text"])]
    index = np.concatenate(parts).astype(np.int32) if parts else np.zeros(0, np.int32)
    names = tuple(f"c{i:02d}" for i in range(len(fitted.centres)))
    aims = tuple(names[i] for i in fitted.assign(_encoded(model, target.column("text")))[0])
    return Groups("cluster", names, index), aims, told


def _fitted(vectors: Reals, numbers: Sequence[int], run: Run) -> tuple[KMeans, dict[int, float]]:
    judged = run.rng("judged").permutation(len(vectors))[:JUDGED]
    best: tuple[KMeans, float] | None = None
    told: dict[int, float] = {}
    for k in numbers:
        made = fit(vectors, k, run.rng("centres", k))
        labels = made.assign(vectors[judged])[0]
        some = 1 < len(set(labels.tolist())) < len(judged)
        told[k] = float(silhouette_score(vectors[judged], labels)) if some and len(numbers) > 1 else 0.0
        if best is None or told[k] > best[1]:
            best = made, told[k]
    assert best is not None
    return best[0], told


def _encoded(model: Encoder, texts: pa.Array | pa.ChunkedArray) -> Reals:
    return model.encode(pc.fill_null(pc.cast(texts, pa.string()), ""))
