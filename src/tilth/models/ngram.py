"""A count-based language model whose mixtures are exact: hierarchical Dirichlet smoothing of n-gram counts.

With ``c(x)`` the counts of the training text, order by order from the shortest,

    p1(y)     = (c(y) + a) / (c(.) + a V)
    p2(y | b) = (c(b y) + m p1(y)) / (c(b .) + m)        and p3 over p2 likewise.

Every level is a ratio of functions linear in the counts, so the model of a mixture of sources follows exactly from
the counts of each source, without counting again (Kneser-Ney would not: its discounts are not linear). Only n-grams
that occur in the items to be scored are counted. MacKay and Peto, *A hierarchical Dirichlet language model*, 1995.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Counts", "Items", "Objective", "count", "losses"]

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
TABLE = 1 << 24  # possible n-grams that a table is held for


@dataclass(frozen=True)
class Items:
    """What will be scored: token streams of items and the n-grams in them.

    Attributes:
        keys: per order, the distinct n-grams (sorted int64 keys).
        contexts: per order, the distinct contexts; for order 1 the one empty context.
        gram, context: per order and token, the position in `keys` and `contexts`, -1 where the token has too few
            predecessors in its item.
        item: the item of each token.
        size: bytes of each item's text.
    """

    vocab: int
    keys: tuple[Ints, ...]
    contexts: tuple[Ints, ...]
    gram: tuple[Ints, ...]
    context: tuple[Ints, ...]
    item: Ints
    size: Floats

    @classmethod
    def of(cls, offsets: Ints, ids: npt.NDArray[np.uint32], sizes: Sequence[int], vocab: int, order: int) -> Items:
        """From the encoded items: `Tokenizer.encode_batch`, bytes of text, vocabulary and order (1 to 3)."""
        if vocab**order >= 1 << 62:
            raise ValueError(f"order {order} with {vocab} ids does not fit 64-bit keys")
        keys, contexts, gram, context = [], [], [], []
        for n in range(1, order + 1):
            all_keys, valid = _grams(offsets, ids, vocab, n)
            known, place = np.unique(all_keys[valid], return_inverse=True)
            ctx, ctx_place = np.unique(all_keys[valid] // vocab, return_inverse=True)
            keys.append(known)
            contexts.append(ctx)
            gram.append(_spread(place, valid))
            context.append(_spread(ctx_place, valid))
        item = np.repeat(np.arange(offsets.size - 1), np.diff(offsets))
        size = np.asarray(sizes, np.float64)
        return cls(vocab, tuple(keys), tuple(contexts), tuple(gram), tuple(context), item, size)


@dataclass(frozen=True)
class Counts:
    """Counts of one source, of the n-grams and contexts of `Items` only; all linear, so they add and scale."""

    grams: tuple[Floats, ...]
    contexts: tuple[Floats, ...]
    tokens: float

    def scaled(self, by: float) -> Counts:
        """The counts of `by` times the text."""
        return Counts(tuple(g * by for g in self.grams), tuple(c * by for c in self.contexts), self.tokens * by)

    def plus(self, other: Counts) -> Counts:
        """The counts of both texts."""
        return Counts(
            tuple(a + b for a, b in zip(self.grams, other.grams, strict=True)),
            tuple(a + b for a, b in zip(self.contexts, other.contexts, strict=True)),
            self.tokens + other.tokens,
        )


def count(items: Items, offsets: Ints, ids: npt.NDArray[np.uint32], repeats: npt.ArrayLike | None = None) -> Counts:
    """Count the items' n-grams in documents; a document read r times counts r times. No n-gram spans two documents."""
    lengths = np.diff(offsets)
    times = np.ones(lengths.size) if repeats is None else np.asarray(repeats, np.float64)
    weight = np.repeat(times, lengths)
    grams, contexts = [], []
    for n, (keys, ctx) in enumerate(zip(items.keys, items.contexts, strict=True), start=1):
        all_keys, valid = _grams(offsets, ids, items.vocab, n)
        found, w = all_keys[valid], weight[valid]
        grams.append(_lookup(keys, found, w, items.vocab**n))
        contexts.append(_lookup(ctx, found // items.vocab, w, items.vocab ** (n - 1)))
    return Counts(tuple(grams), tuple(contexts), float((lengths * times).sum()))


def losses(
    items: Items, counts: Sequence[Counts], weights: Floats, concentration: float = 10.0, offset: float = 0.5
) -> Floats:
    """Bits per byte of each item under mixtures of counted sources.

    Args:
        counts: one per source.
        weights: (mixtures, sources), the factor each source's counts are multiplied by.
        concentration: m above, of every level beyond the first.
        offset: a above.

    Returns:
        (mixtures, items).
    """
    out = np.empty((len(weights), items.size.size))
    levels = len(items.keys)
    grams = [np.stack([c.grams[n] for c in counts]) for n in range(levels)]
    contexts = [np.stack([c.contexts[n] for c in counts]) for n in range(levels)]
    for row, w in enumerate(np.asarray(weights, np.float64)):
        p = (w @ grams[0] + offset)[items.gram[0]] / (float((w @ contexts[0]).sum()) + offset * items.vocab)
        for n in range(1, levels):
            has = items.gram[n] >= 0
            seen = (w @ grams[n])[items.gram[n][has]]
            total = (w @ contexts[n])[items.context[n][has]]
            p[has] = (seen + concentration * p[has]) / (total + concentration)
        bits = np.bincount(items.item, -np.log2(p), minlength=items.size.size)
        out[row] = bits / np.maximum(items.size, 1.0)
    return out


@dataclass(frozen=True)
class Objective:
    """The goal's weighted mean loss as a smooth function of the sources' weights, with its gradient.

    Tokens with the same n-grams at every level are one term, so a value and its gradient cost a few products of
    (sources, terms) matrices: milliseconds.

    Attributes:
        grams, contexts: per level, (sources, terms) counts of each term's n-gram and of its context.
        has: per level, (terms,) whether the term has an n-gram of that order.
        share: (terms,) what a bit of each term adds to the loss, bits per byte.
    """

    grams: tuple[Floats, ...]
    contexts: tuple[Floats, ...]
    has: tuple[npt.NDArray[np.bool_], ...]
    share: Floats
    vocab: int
    concentration: float
    offset: float

    @classmethod
    def of(
        cls,
        items: Items,
        counts: Sequence[Counts],
        item_weights: npt.ArrayLike,
        concentration: float = 10.0,
        offset: float = 0.5,
    ) -> Objective:
        """From `Items` and the counts of each source; `item_weights` (items,) need not sum to 1."""
        weights = np.asarray(item_weights, np.float64)
        share = (weights / weights.sum() / np.maximum(items.size, 1.0))[items.item]
        levels = range(len(items.keys))
        _, first, term = np.unique(np.stack(items.gram), axis=1, return_index=True, return_inverse=True)
        places = [np.maximum(items.gram[n][first], 0) for n in levels]
        before = [np.maximum(items.context[n][first], 0) for n in levels]
        return cls(
            tuple(np.stack([c.grams[n] for c in counts])[:, places[n]] for n in levels),
            tuple(np.stack([c.contexts[n] for c in counts])[:, before[n]] for n in levels),
            tuple(items.gram[n][first] >= 0 for n in levels),
            np.bincount(term.ravel(), share).astype(np.float64),
            items.vocab,
            concentration,
            offset,
        )

    def __call__(self, weights: Floats) -> tuple[float, Floats]:
        """Bits per byte, and its gradient (sources,), where source s counts `weights[s]` times."""
        p = np.ones(self.share.size)
        ratios, totals = [], []
        for n, (grams, contexts) in enumerate(zip(self.grams, self.contexts, strict=True)):
            lean = self.concentration if n else self.offset
            total = weights @ contexts + (lean if n else lean * self.vocab)
            p = np.where(self.has[n], (weights @ grams + lean * p) / total, p)
            ratios.append(p)
            totals.append(total)
        bits = -np.log2(p)
        slope = -self.share / (p * np.log(2))  # of the loss, by the probability at the level in hand
        gradient = np.zeros(len(weights))
        for n in reversed(range(len(self.grams))):
            part = np.where(self.has[n], slope / totals[n], 0.0)
            gradient += self.grams[n] @ part - self.contexts[n] @ (part * ratios[n])
            slope = np.where(self.has[n], part * self.concentration, slope)
        return float(self.share @ bits), gradient


def _grams(offsets: Ints, ids: npt.NDArray[np.uint32], vocab: int, n: int) -> tuple[Ints, npt.NDArray[np.bool_]]:
    """The key of the n-gram that ends at each token, and where there is one inside the document."""
    key = ids.astype(np.int64)
    place = np.arange(ids.size) - np.repeat(offsets[:-1], np.diff(offsets))
    for back in range(1, n):
        before = np.zeros(ids.size, np.int64)
        before[back:] = ids[:-back] if back < ids.size else 0
        key += before * vocab**back
    return key, place >= n - 1


def _lookup(keys: Ints, found: Ints, weight: Floats, space: int) -> Floats:
    """The summed weight of each key among those found; all of them are below `space`."""
    if keys.size == 0 or found.size == 0:
        return np.zeros(keys.size)
    if space <= TABLE:  # one read each, where a search takes twenty
        table = np.full(space, keys.size, np.int32)
        table[keys] = np.arange(keys.size, dtype=np.int32)
        return np.bincount(table[found], weight, minlength=keys.size + 1)[: keys.size].astype(np.float64)
    place = np.minimum(np.searchsorted(keys, found), keys.size - 1)
    hit = keys[place] == found
    return np.bincount(place[hit], weight[hit], minlength=keys.size).astype(np.float64)


def _spread(place: Ints, valid: npt.NDArray[np.bool_]) -> Ints:
    out = np.full(valid.size, -1, np.int64)
    out[valid] = place
    return out
