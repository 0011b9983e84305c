"""Which unseen inputs follow from the seen ones by putting one fragment in the place of another that behaved alike."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

__all__ = ["coverage", "depth", "equivalent"]

Input = Sequence[Hashable]
Parts = tuple[Hashable, ...]
Fragment = tuple[int, ...]
BLOCK: Final = 2048


def coverage(
    inputs: Sequence[Input],
    outputs: Sequence[Hashable],
    queries: Sequence[Input],
    k: int = 1,
    fragments: Sequence[Fragment] | None = None,
) -> npt.NDArray[np.bool_]:
    """Whether each query is covered by the training pairs: reached from a seen input by substitutions.

    A fragment is what stands at some positions of an input, its context what stands at the others. Two fragments are
    equivalent (`equivalent`) when at least `k` contexts were seen with both, and the outputs agreed in all of those; so
    are two that a chain of such pairs joins. An input is covered when a training input becomes it by replacing
    fragments with equivalent ones, any number of times.

    Cost: for each set of positions, time grows with the pairs of fragments that share a context, memory with those that
    agree; then both with the number of covered inputs. Trap: with k = 1, two unlike fragments that were seen together
    once agree by luck once in as many times as there are outputs. Source: the coverage principle (arXiv 2505.20278).

    Args:
        inputs: training inputs, of equal length; one that comes twice must have one output.
        outputs: their outputs.
        queries: inputs to decide about.
        k: contexts that must have been seen with both.
        fragments: the sets of positions that may be replaced; all but the empty and the full one unless given.

    >>> seen = {("a", 1): "x", ("b", 1): "x", ("a", 2): "y"}
    >>> coverage([*seen], [*seen.values()], [("a", 1), ("b", 2), ("b", 3)]).tolist()
    [True, True, False]
    >>> coverage([*seen], [*seen.values()], [("b", 2)], k=2).tolist()
    [False]
    """
    evidence = [_evidence(inputs, outputs, at) for at in _fragments(inputs, fragments)]
    reached = _reached(inputs, [(e.at, e.classes(k)) for e in evidence])
    return np.array([tuple(query) in reached for query in queries], bool)


def depth(
    inputs: Sequence[Input],
    outputs: Sequence[Hashable],
    queries: Sequence[Input],
    most: int,
    fragments: Sequence[Fragment] | None = None,
) -> npt.NDArray[np.int64]:
    """The largest k, at most `most`, for which each query is covered; 0 where it is not covered at all.

    >>> depth(["a1", "b1", "a2", "b2", "a3"], "xxyyz", ["b3", "c1"], most=5).tolist()
    [2, 0]
    """
    found = np.zeros(len(queries), np.int64)
    evidence = [_evidence(inputs, outputs, at) for at in _fragments(inputs, fragments)]
    for k in range(1, most + 1):
        left = np.flatnonzero(found == k - 1).tolist()
        if not left:
            break
        reached = _reached(inputs, [(e.at, e.classes(k)) for e in evidence])
        found[[i for i in left if tuple(queries[i]) in reached]] = k
    return found


def equivalent(inputs: Sequence[Input], outputs: Sequence[Hashable], at: Fragment, k: int = 1) -> dict[Parts, int]:
    """The class of every fragment seen at these positions: equal numbers are equivalent.

    >>> equivalent(["a1", "b1", "c1"], ["x", "x", "y"], at=(0,))
    {('a',): 0, ('b',): 0, ('c',): 1}
    """
    return _evidence(inputs, outputs, at).classes(k)


@dataclass(frozen=True)
class _Evidence:
    """The fragments at some positions, the pairs of them that never disagreed, and contexts seen with both."""

    at: Fragment
    fragments: Sequence[Parts]
    one: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]
    contexts: npt.NDArray[np.int64]

    def classes(self, k: int) -> dict[Parts, int]:
        enough, count = self.contexts >= k, len(self.fragments)
        edges = (np.ones(int(enough.sum()), bool), (self.one[enough], self.other[enough]))
        _, label = connected_components(csr_matrix(edges, shape=(count, count)), directed=False)
        return dict(zip(self.fragments, label.tolist(), strict=True))


def _evidence(inputs: Sequence[Input], outputs: Sequence[Hashable], at: Fragment) -> _Evidence:
    names: dict[Parts, int] = {}
    contexts: dict[Parts, int] = {}
    answers: dict[tuple[int, Hashable], int] = {}
    rows, places, kinds = [], [], []
    for item, output in dict(zip(map(tuple, inputs), outputs, strict=True)).items():
        rows.append(names.setdefault(_part(item, at), len(names)))
        context = contexts.setdefault(_part(item, _others(at, len(item))), len(contexts))
        places.append(context)
        kinds.append(answers.setdefault((context, output), len(answers)))
    ones, count = np.ones(len(rows), np.int64), len(names)
    seen = csr_matrix((ones, (rows, places)), shape=(count, len(contexts)))
    said = csr_matrix((ones, (rows, kinds)), shape=(count, len(answers)))
    found = []
    for start in range(0, count, BLOCK):  # the products are large, the pairs that agree are few
        same = (said[start : start + BLOCK] @ said.T).tocoo()  # contexts in which both gave the same output
        both = (seen[start : start + BLOCK] @ seen.T).tocsr()  # contexts seen with both
        agree = np.asarray(both[same.row, same.col]).ravel() == same.data
        found.append((same.row[agree].astype(np.int64) + start, same.col[agree], same.data[agree]))
    one, other, shared = (np.concatenate([block[i] for block in found]) for i in range(3))
    return _Evidence(at, [*names], one, other, shared)


def _fragments(inputs: Sequence[Input], given: Sequence[Fragment] | None) -> Sequence[Fragment]:
    if not inputs:
        return []
    width = len(inputs[0])
    return given or [at for size in range(1, width) for at in combinations(range(width), size)]


def _reached(inputs: Sequence[Input], classes: Sequence[tuple[Fragment, dict[Parts, int]]]) -> set[Parts]:
    """The inputs and all that substitutions within the classes make of them."""
    members = [_members(of) for _, of in classes]
    reached = set(map(tuple, inputs))
    waiting, done = [*reached], set()
    while waiting:
        item = waiting.pop()
        for number, (at, of) in enumerate(classes):
            place = of.get(_part(item, at), -1)
            alike = members[number].get(place, ())
            context = _part(item, _others(at, len(item)))
            if len(alike) < 2 or (number, place, context) in done:
                continue
            done.add((number, place, context))
            made = {_joined(fragment, at, context) for fragment in alike} - reached
            reached |= made
            waiting += made
    return reached


def _others(at: Fragment, width: int) -> Fragment:
    return tuple(i for i in range(width) if i not in at)


def _part(item: Input, at: Fragment) -> Parts:
    return tuple(item[i] for i in at)


def _joined(fragment: Parts, at: Fragment, context: Parts) -> Parts:
    rest = iter(context)
    inside = dict(zip(at, fragment, strict=True))
    return tuple(inside[i] if i in inside else next(rest) for i in range(len(fragment) + len(context)))


def _members(of: dict[Parts, int]) -> dict[int, list[Parts]]:
    found = defaultdict(list)
    for fragment, number in of.items():
        found[number].append(fragment)
    return found
