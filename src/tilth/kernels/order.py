"""Orders found step by step: draws from what is released, and a walk through a graph of neighbours."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit

__all__ = ["draw_released", "walk"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@njit(cache=True, nogil=True)
def draw_released(release: Floats, sizes: Ints, lots: Floats, horizon: float, last: float) -> tuple[Ints, Floats, int]:
    """Draw records one after the other, each uniformly from the released ones not drawn before.

    Progress is what was drawn so far, by size, as a share of `horizon`. Where nothing released is left, the record that
    is released next is taken early.

    Args:
        release: (n,) progress from which on a record may be drawn, ascending.
        sizes: (n,) what each adds to what was drawn.
        lots: (n,) uniform in [0, 1), one for each draw.
        horizon: above 0.
        last: draws end when so much was drawn.

    Returns:
        Records in the order drawn, the progress at which each was, and how many were taken early.
    """
    n = release.size
    waiting = np.empty(n, np.int64)
    order, progress = np.empty(n, np.int64), np.empty(n, np.float64)
    count, opened, drawn, early = 0, 0, 0, 0
    read = 0.0
    while drawn < n and read < last:
        u = read / horizon
        while opened < n and release[opened] <= u:
            waiting[count] = opened
            count += 1
            opened += 1
        if count == 0:
            waiting[0] = opened
            count = 1
            opened += 1
            early += 1
        place = min(int(lots[drawn] * count), count - 1)
        i = waiting[place]
        count -= 1
        waiting[place] = waiting[count]
        order[drawn] = i
        progress[drawn] = u
        drawn += 1
        read += sizes[i]
    return order[:drawn], progress[:drawn], early


@njit(cache=True, nogil=True)
def walk(
    indptr: Ints, neighbours: Ints, starts: Ints, like: Ints, likes: Ints, sizes: Ints, apart: int
) -> tuple[Ints, int]:
    """A path through every node of a graph: always to the first unvisited neighbour, else to the next unvisited start.

    With neighbours by descending weight and starts by ascending degree this is the greedy path of maximum weight of
    In-Context Pretraining (arXiv 2310.10638).

    Args:
        indptr, neighbours: (CSR) each node's neighbours, the best first.
        starts: all nodes, in the order in which the path begins anew.
        like, likes: (CSR) for each node those that must not lie near it.
        sizes: length of each node on the path.
        apart: a neighbour is passed over while one of its `likes` lies within this length before it.

    Returns:
        All nodes in the order of the path, and how often it began anew.
    """
    n = indptr.size - 1
    at = np.full(n, -1, np.int64)  # where on the path a node ends, by length
    path = np.empty(n, np.int64)
    length, next_start, jumps = 0, 0, 0
    node = -1
    for step in range(n):
        chosen = -1
        if node >= 0:
            for p in range(indptr[node], indptr[node + 1]):
                candidate = neighbours[p]
                if at[candidate] >= 0:
                    continue
                near = False
                for q in range(like[candidate], like[candidate + 1]):
                    if at[likes[q]] >= 0 and length - at[likes[q]] < apart:
                        near = True
                        break
                if not near:
                    chosen = candidate
                    break
        if chosen < 0:
            while at[starts[next_start]] >= 0:
                next_start += 1
            chosen = starts[next_start]
            jumps += 1
        node = chosen
        path[step] = node
        length += sizes[node]
        at[node] = length
    return path, jumps
