"""Coverage against its definition, written out over the whole space of inputs of tiny worlds."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations, product

import numpy as np
import pytest

from tilth.models.coverage import coverage, depth, equivalent

Pair = tuple[int, ...]


def alike(train: dict[Pair, int], space: Sequence[Pair], at: tuple[int, ...], k: int) -> set[tuple[Pair, Pair]]:
    """Fragments at these positions with k contexts seen with both, and no disagreement."""
    width = len(space[0])
    fragments = {tuple(x[i] for i in at) for x in space}
    rest = [i for i in range(width) if i not in at]
    contexts = {tuple(x[i] for i in rest) for x in space}

    def joined(a: Pair, b: Pair) -> Pair:
        made = dict(zip([*at, *rest], [*a, *b], strict=True))
        return tuple(made[i] for i in range(width))

    found = set()
    for a, b in product(fragments, repeat=2):
        shared = [c for c in contexts if joined(a, c) in train and joined(b, c) in train]
        if len(shared) >= k and all(train[joined(a, c)] == train[joined(b, c)] for c in shared):
            found.add((a, b))
    return found


def covered_by_definition(
    train: dict[Pair, int], space: Sequence[Pair], k: int, fragments: Sequence[tuple[int, ...]]
) -> set[Pair]:
    """Inputs joined to a training input by single substitutions of directly equivalent fragments."""
    pairs = {at: alike(train, space, at, k) for at in fragments}
    found, grown = set(train), True
    while grown:
        grown = False
        for x, y in product(found.copy(), space):
            if y in found:
                continue
            for at in fragments:
                same_context = all(x[i] == y[i] for i in range(len(x)) if i not in at)
                if same_context and (tuple(x[i] for i in at), tuple(y[i] for i in at)) in pairs[at]:
                    found.add(y)
                    grown = True
                    break
    return found


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("fragments", [((0, 1),), ((0,), (1, 2)), None])
def test_as_defined(seed: int, fragments: Sequence[tuple[int, ...]] | None) -> None:
    rng = np.random.default_rng(seed)
    space: list[Pair] = [*product(range(3), range(3), range(4))]
    inner, outer = rng.integers(0, 3, (3, 3)), rng.integers(0, 3, (3, 4))
    train: dict[Pair, int] = {x: int(outer[inner[x[0], x[1]], x[2]]) for x in space if rng.random() < 0.5}
    every = fragments or [at for size in (1, 2) for at in combinations(range(3), size)]
    depths = depth([*train], [*train.values()], space, 4, fragments)
    sizes = []
    for k in (1, 2, 3, 4):
        expected = covered_by_definition(train, space, k, every)
        made = coverage([*train], [*train.values()], space, k, fragments)
        assert {x for x, covered in zip(space, made, strict=True) if covered} == expected
        assert {x for x, d in zip(space, depths, strict=True) if d >= k} == expected
        sizes.append(len(expected))
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > len(train), "nothing was substituted"


def test_one_disagreement_parts_two_fragments() -> None:
    train = {("a", 1): 0, ("b", 1): 0, ("a", 2): 0, ("b", 2): 0, ("a", 3): 0, ("a", 4): 0, ("b", 4): 1}
    apart = equivalent([*train], [*train.values()], (0,), 2)
    assert apart[("a",)] != apart[("b",)]
    del train[("b", 4)]
    together = equivalent([*train], [*train.values()], (0,), 2)
    assert together[("a",)] == together[("b",)]
    assert coverage([*train], [*train.values()], [("b", 3), ("b", 4)], 2, [(0,)]).tolist() == [True, True]
    assert coverage([*train], [*train.values()], [("b", 3)], 3, [(0,)]).tolist() == [False]


def test_more_fragments_than_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    space = [*product(range(5), repeat=3)]
    train = {x: int(rng.integers(0, 3)) for x in space if rng.random() < 0.4}
    whole = coverage([*train], [*train.values()], space)
    monkeypatch.setattr("tilth.models.coverage.BLOCK", 4)
    assert (coverage([*train], [*train.values()], space) == whole).all()
    assert coverage([], [], [(1, 2)]).tolist() == [False]
