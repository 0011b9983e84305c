"""K-means for a million records: centres from a sample, then one pass that assigns every record."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["KMeans", "fit"]

Places = npt.NDArray[np.int32]
Reals = npt.NDArray[np.float32]

CHUNK = 4096  # rows whose distances to all centres exist at once
DRAWN = 4  # candidates for each first centre


@dataclass(frozen=True)
class KMeans:
    """Centres, (clusters, width)."""

    centres: Reals

    def assign(self, values: Reals) -> tuple[Places, Reals]:
        """The nearest centre of each row, and the squared distance to it."""
        label, square = np.empty(len(values), np.int32), np.empty(len(values), np.float32)
        norms = (self.centres**2).sum(1)
        for start in range(0, len(values), CHUNK):
            rows = values[start : start + CHUNK]
            from_centres = norms - 2 * (rows @ self.centres.T)
            near = from_centres.argmin(1)
            label[start : start + CHUNK] = near
            square[start : start + CHUNK] = from_centres[np.arange(near.size), near] + (rows**2).sum(1)
        return label, np.maximum(square, 0)


def fit(
    values: Reals, clusters: int, rng: np.random.Generator, *, sample: int = 50, steps: int = 10, seeding: int = 10
) -> KMeans:
    """Lloyd's algorithm on a random sample, from centres drawn far apart (k-means++).

    A centre that loses all its rows moves to the row farthest from its own centre. Fewer centres come back where there
    are fewer different rows. Cost: `sample` x clusters^2 x width x steps. Source: Arthur and Vassilvitskii 2007.

    Args:
        sample: rows drawn for each cluster.
        steps: rounds of assigning and averaging.
        seeding: rows for each cluster among which the first centres are drawn.

    >>> values = np.float32([[0, 0], [0, 1], [9, 9], [9, 8]])
    >>> fit(values, 2, np.random.Generator(np.random.PCG64(0))).assign(values)[1]
    array([0.25, 0.25, 0.25, 0.25], dtype=float32)
    """
    some = values[np.sort(rng.permutation(len(values))[: sample * clusters])]
    model = KMeans(_seeded(some[rng.permutation(len(some))[: seeding * clusters]], clusters, rng))
    for _ in range(steps):
        label, square = model.assign(some)
        order = np.argsort(label, kind="stable")
        present, starts = np.unique(label[order], return_index=True)
        centres = model.centres.copy()
        sums = np.add.reduceat(some[order], starts, axis=0, dtype=np.float64)
        centres[present] = sums / np.diff([*starts, len(some)])[:, None]
        empty = np.setdiff1d(np.arange(len(centres)), present)
        centres[empty] = some[np.argsort(-square, kind="stable")[: empty.size]]
        if np.array_equal(centres, model.centres):
            break
        model = KMeans(centres)
    return model


def _seeded(values: Reals, clusters: int, rng: np.random.Generator) -> Reals:
    """Rows drawn one after the other, with a chance in proportion to the squared distance from those before.

    Each time a few are drawn, and the one that leaves the least distance is taken.
    """
    chosen = [int(rng.integers(len(values)))]
    norms = (values**2).sum(1)
    square = np.maximum(norms - 2 * (values @ values[chosen[0]]) + norms[chosen[0]], 0)
    square[chosen[0]] = 0
    while len(chosen) < min(clusters, len(values)):
        total = np.cumsum(square, dtype=np.float64)
        if total[-1] <= 1e-6 * norms.sum(dtype=np.float64):
            break
        drawn = np.minimum(np.searchsorted(total, rng.random(DRAWN) * total[-1], side="right"), len(values) - 1)
        left = np.minimum(square, np.maximum(norms - 2 * (values[drawn] @ values.T) + norms[drawn, None], 0))
        best = int(left.sum(1).argmin())
        chosen.append(int(drawn[best]))
        square = left[best]
        square[chosen[-1]] = 0
    return values[chosen]
