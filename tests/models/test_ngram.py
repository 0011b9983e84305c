from __future__ import annotations

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from tilth.models.ngram import Items, Objective, count, losses

VOCAB = 7


def corpus(rng: np.random.Generator, documents: int, length: int = 12) -> list[list[int]]:
    return [rng.integers(0, VOCAB, int(rng.integers(1, length))).tolist() for _ in range(documents)]


def packed(documents: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])]).astype(np.int64)
    return offsets, np.array([t for d in documents for t in d], np.uint32)


def reference(train: list[list[int]], item: list[int], order: int, m: float = 10.0, a: float = 0.5) -> float:
    """Bits of an item, straight from the formulas, with counters over the whole training text."""
    grams = [Counter(tuple(d[i : i + n]) for d in train for i in range(len(d) - n + 1)) for n in range(1, order + 1)]
    followed = [Counter(tuple(d[i : i + n]) for d in train for i in range(len(d) - n)) for n in range(order)]
    total = sum(len(d) for d in train)
    bits = 0.0
    for i, y in enumerate(item):
        p = (grams[0][(y,)] + a) / (total + a * VOCAB)
        for n in range(1, order):
            if i >= n:
                context = tuple(item[i - n : i])
                p = (grams[n][(*context, y)] + m * p) / (followed[n][context] + m)
        bits -= math.log2(p)
    return bits


@pytest.mark.parametrize("order", [1, 2, 3])
def test_equals_the_formulas(order: int) -> None:
    rng = np.random.default_rng(order)
    train, test = corpus(rng, 40), corpus(rng, 6)
    items = Items.of(*packed(test), [10] * len(test), VOCAB, order)
    got = losses(items, [count(items, *packed(train))], np.ones((1, 1)))[0]
    assert got == pytest.approx([reference(train, item, order) / 10 for item in test], abs=1e-12)


@pytest.mark.parametrize("order", [2, 3])
def test_a_mixture_equals_a_model_counted_from_the_mixed_corpus(order: int) -> None:
    """Whole copies of three sources: re-weighted counts against counting the copies, to 1e-6 bits per byte."""
    rng = np.random.default_rng(order)
    sources = [corpus(rng, 30), corpus(rng, 20), corpus(rng, 10)]
    test = corpus(rng, 8)
    items = Items.of(*packed(test), [7] * len(test), VOCAB, order)
    counts = [count(items, *packed(s)) for s in sources]
    for copies in itertools.product([0, 1, 3], repeat=3):
        if sum(copies) == 0:
            continue
        mixed = [d for s, c in zip(sources, copies, strict=True) for d in s * c]
        whole = losses(items, [count(items, *packed(mixed))], np.ones((1, 1)))[0]
        weighted = losses(items, counts, np.array([copies], float))[0]
        assert np.abs(whole - weighted).max() < 1e-6
        added = counts[0].scaled(copies[0]).plus(counts[1].scaled(copies[1])).plus(counts[2].scaled(copies[2]))
        assert losses(items, [added], np.ones((1, 1)))[0] == pytest.approx(whole)


def test_repeats_count_as_often_as_they_are_read() -> None:
    rng = np.random.default_rng(5)
    train, test = corpus(rng, 10), corpus(rng, 4)
    items = Items.of(*packed(test), [5] * len(test), VOCAB, 2)
    twice = count(items, *packed([d for d in train for _ in range(2)]))
    assert losses(items, [twice], np.ones((1, 1))) == pytest.approx(
        losses(items, [count(items, *packed(train), np.full(len(train), 2))], np.ones((1, 1)))
    )


@pytest.mark.parametrize("order", [1, 2, 3])
def test_probabilities_sum_to_one(order: int) -> None:
    rng = np.random.default_rng(9)
    train = corpus(rng, 25)
    history = [3, 1][: order - 1]
    test = [[*history, y] for y in range(VOCAB)]
    items = Items.of(*packed(test), [1] * VOCAB, VOCAB, order)
    counts = [count(items, *packed(train))]
    whole = losses(items, counts, np.ones((1, 1)))[0]
    prefix = Items.of(*packed([history]), [1], VOCAB, order) if history else None
    before = losses(prefix, [count(prefix, *packed(train))], np.ones((1, 1)))[0][0] if prefix else 0.0
    assert np.exp2(-(whole - before)).sum() == pytest.approx(1.0)


def test_no_ngram_spans_two_documents() -> None:
    items = Items.of(*packed([[1, 2]]), [1], VOCAB, 2)
    apart = count(items, *packed([[1], [2]]))
    together = count(items, *packed([[1, 2]]))
    assert apart.grams[1].sum() == 0
    assert together.grams[1].sum() == 1


def test_empty_texts_and_items() -> None:
    items = Items.of(*packed([[1, 2], []]), [3, 0], VOCAB, 2)
    got = losses(items, [count(items, *packed([]))], np.ones((1, 1)))[0]
    assert got.tolist() == [pytest.approx(2 * math.log2(VOCAB) / 3), 0.0]


@pytest.mark.parametrize("order", [1, 2, 3])
def test_objective_equals_the_losses_and_its_gradient_finite_differences(order: int) -> None:
    rng = np.random.default_rng(order)
    test = corpus(rng, 8)
    items = Items.of(*packed(test), rng.integers(5, 20, len(test)).tolist(), VOCAB, order)
    counts = [count(items, *packed(corpus(rng, 20))) for _ in range(4)]
    item_weights = rng.uniform(0.5, 2.0, len(test))
    objective = Objective.of(items, counts, item_weights, 7.0, 0.3)
    weights = rng.uniform(0.1, 2.0, 4)
    value, gradient = objective(weights)
    expected = losses(items, counts, weights[None], 7.0, 0.3)[0] @ item_weights / item_weights.sum()
    assert value == pytest.approx(expected, rel=1e-12)
    step = 1e-5
    for s in range(4):
        moved = np.eye(4)[s] * step
        slope = (objective(weights + moved)[0] - objective(weights - moved)[0]) / (2 * step)
        assert gradient[s] == pytest.approx(slope, rel=1e-5, abs=1e-9)
