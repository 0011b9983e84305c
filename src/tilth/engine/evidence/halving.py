"""Successive halving: try all candidates cheaply, keep the better half, double the scale, until few are left.

With n candidates, rung k of K runs what is left at 1/2^(K-k) of the full scale and keeps the better half, so each rung
costs about the same and all of them (K + 1) / 2^K of trying everyone at full scale. The best is lost only when a small
trial misjudges it by as much as separates it from the middle of the field. Jamieson and Talwalkar, *Non-stochastic
best arm identification and hyperparameter optimization*, 2016 (arXiv 1502.07943).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

__all__ = ["Halving", "Rung", "rungs", "successive_halving"]

Evaluate = Callable[[Sequence[str], int], Mapping[str, float]]


@dataclass(frozen=True)
class Rung:
    """One round: who was tried at which scale, what they scored (lower is better) and who went on."""

    halvings: int
    scores: Mapping[str, float]
    kept: tuple[str, ...]
    failed: tuple[str, ...]

    @property
    def cost(self) -> Fraction:
        """In trials of full scale."""
        return Fraction(len(self.scores) + len(self.failed), 2**self.halvings)


@dataclass(frozen=True)
class Halving:
    """All rounds, the last at full scale."""

    rungs: tuple[Rung, ...]

    @property
    def kept(self) -> tuple[str, ...]:
        """Those tried at full scale, best first."""
        return self.rungs[-1].kept

    @property
    def spent(self) -> Fraction:
        """What all rounds cost, in trials of full scale; a trial of half the scale costs half."""
        return sum((rung.cost for rung in self.rungs), Fraction(0))

    @property
    def saved(self) -> float:
        """Share of the cost of trying everyone at full scale that was not spent."""
        first = self.rungs[0]
        return float(1 - self.spent / (len(first.scores) + len(first.failed)))

    @property
    def out(self) -> dict[str, tuple[int, float]]:
        """Candidate -> the round (from 0) that it did not survive, and its score there."""
        return {
            name: (number, score)
            for number, rung in enumerate(self.rungs[:-1])
            for name, score in rung.scores.items()
            if name not in rung.kept
        }


def rungs(count: int, deepest: int, final: int = 2) -> list[tuple[int, int]]:
    """``(candidates, halvings of the scale)`` per round, the last at full scale.

    A single round where more would cost as much: with few candidates, or when the scale can be halved only once.

    Args:
        deepest: how often the scale can be halved at all.
        final: how many should reach full scale; fewer only when there are fewer.

    >>> rungs(16, 5)
    [(16, 3), (8, 2), (4, 1), (2, 0)]
    >>> rungs(16, 1)
    [(16, 0)]
    """
    sizes = [count]
    while len(sizes) <= deepest and (half := -(-sizes[-1] // 2)) >= final and half < sizes[-1]:
        sizes.append(half)
    found = [(size, len(sizes) - 1 - k) for k, size in enumerate(sizes)]
    return found if sum(Fraction(size, 2**halvings) for size, halvings in found) < count else [(count, 0)]


def successive_halving(evaluate: Evaluate, names: Sequence[str], deepest: int, final: int = 2) -> Halving:
    """Run the rounds.

    Args:
        evaluate: candidates and number of halvings -> score of each, lower is better. One that it leaves out failed;
            it is out and its place is not filled. To make a run resumable, remember results in here.
        deepest, final: as for `rungs`.

    Raises:
        ValueError: without candidates.
    """
    if not names:
        raise ValueError("Successive halving needs at least one candidate.")
    done: list[Rung] = []
    alive = list(names)
    sizes = [size for size, _ in rungs(len(names), deepest, final)]
    for number in range(len(sizes)):
        halvings = len(sizes) - 1 - number
        scores = evaluate(alive, halvings)
        order = sorted(scores, key=lambda n: (scores[n], alive.index(n)))
        kept = order[: sizes[number + 1]] if halvings else order
        done.append(Rung(halvings, dict(scores), tuple(kept), tuple(n for n in alive if n not in scores)))
        alive = [n for n in alive if n in kept]
        if not alive:
            break
    return Halving(tuple(done))
