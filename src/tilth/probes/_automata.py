"""Regular languages: from an expression to its minimal automaton, and what can be read off that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

__all__ = ["Automaton", "Expression", "Positions", "automaton", "expression", "positions", "render", "star_free"]

Expression = tuple[Any, ...]
"""``("lit", letter)``, ``("cat", left, right)``, ``("alt", left, right)`` or ``("star", inner)``."""


def expression(count: int, letters: str, rng: np.random.Generator, star: bool = True) -> Expression:
    """A random expression with exactly `count` operators; no star stands right under a star."""
    if count == 0:
        return ("lit", letters[int(rng.integers(len(letters)))])
    kind = str(rng.choice(["cat", "alt", "star"], p=[0.45, 0.3, 0.25] if star else [0.6, 0.4, 0]))
    if kind == "star":
        return ("star", expression(count - 1, letters, rng, star=False))
    left = int(rng.integers(count))
    return (kind, expression(left, letters, rng), expression(count - 1 - left, letters, rng))


def render(tree: Expression) -> str:
    """As Python's `re` reads it, with no parenthesis too many."""
    rank = {"alt": 0, "cat": 1, "star": 2, "lit": 3}

    def inside(child: Expression, least: int) -> str:
        return render(child) if rank[child[0]] >= least else f"({render(child)})"

    if tree[0] == "lit":
        return str(tree[1])
    if tree[0] == "star":
        return inside(tree[1], 3) + "*"
    glue = "|" if tree[0] == "alt" else ""
    return glue.join(inside(child, rank[tree[0]]) for child in tree[1:])


@dataclass(frozen=True)
class Positions:
    """Glushkov's automaton: one state per letter of the expression, and state 0, where it starts."""

    letters: tuple[str, ...]
    follow: tuple[frozenset[int], ...]
    last: frozenset[int]

    @cached_property
    def ambiguous(self) -> bool:
        """Whether some accepted string is read along two paths."""
        pairs, back = self._pairs()
        useful = {pair for pair in pairs if pair[0] in self.last and pair[1] in self.last}
        todo = [*useful]
        while todo:
            for before in back.get(todo.pop(), ()):
                if before not in useful:
                    useful.add(before)
                    todo.append(before)
        return any(p != q for p, q in useful)

    def _pairs(self) -> tuple[set[tuple[int, int]], dict[tuple[int, int], set[tuple[int, int]]]]:
        """Pairs of states that one string reaches, and where each pair can come from."""
        seen = {(0, 0)}
        back: dict[tuple[int, int], set[tuple[int, int]]] = {}
        todo = [(0, 0)]
        while todo:
            here = todo.pop()
            for p in self.follow[here[0]]:
                for q in self.follow[here[1]]:
                    if self.letters[p] == self.letters[q]:
                        back.setdefault((p, q), set()).add(here)
                        if (p, q) not in seen:
                            seen.add((p, q))
                            todo.append((p, q))
        return seen, back


def positions(tree: Expression) -> Positions:
    """Glushkov's construction."""
    letters = [""]
    follow: list[set[int]] = [set()]

    def walk(node: Expression) -> tuple[bool, set[int], set[int]]:
        """Whether the empty string matches, and the positions that may come first and last."""
        if node[0] == "lit":
            letters.append(node[1])
            follow.append(set())
            return False, {len(letters) - 1}, {len(letters) - 1}
        empty, first, last = walk(node[1])
        if node[0] == "star":
            for p in last:
                follow[p] |= first
            return True, first, last
        empty2, first2, last2 = walk(node[2])
        if node[0] == "alt":
            return empty or empty2, first | first2, last | last2
        for p in last:
            follow[p] |= first2
        return empty and empty2, first | first2 if empty else first, last | last2 if empty2 else last2

    empty, first, last = walk(tree)
    follow[0] = first
    return Positions(tuple(letters), tuple(frozenset(f) for f in follow), frozenset(last | {0} if empty else last))


@dataclass(frozen=True)
class Automaton:
    """The minimal complete deterministic automaton of a language, its states numbered breadth first from 0, the start.

    Two expressions over the same letters mean the same language exactly when their automata are equal.
    """

    letters: str
    moves: tuple[tuple[int, ...], ...]
    accepts: tuple[bool, ...]

    def counts(self, length: int, accepted: bool = True) -> list[list[int]]:
        """How many strings of each length, from each state, are accepted (or are not)."""
        rows = [[int(a == accepted) for a in self.accepts]]
        for _ in range(length):
            rows.append([sum(rows[-1][s] for s in moves) for moves in self.moves])
        return rows

    def draw(self, counts: Sequence[Sequence[int]], length: int, rng: np.random.Generator) -> str:
        """A string of this length, all of those that `counts` counts equally likely."""
        state, drawn = 0, ""
        for left in range(length - 1, -1, -1):
            weights = np.array([float(counts[left][s]) for s in self.moves[state]])
            pick = int(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"))
            drawn += self.letters[pick]
            state = self.moves[state][pick]
        return drawn

    def matches(self, string: str) -> bool:
        state = 0
        for letter in string:
            state = self.moves[state][self.letters.index(letter)]
        return self.accepts[state]

    def monoid(self, most: int) -> set[tuple[int, ...]] | None:
        """What strings do to the states, each function once; None when there are more than `most`."""
        steps = [tuple(moves[i] for moves in self.moves) for i in range(len(self.letters))]
        seen = set(steps)
        todo = [*seen]
        while todo:
            here = todo.pop()
            for step in steps:
                after = tuple(step[s] for s in here)
                if after not in seen:
                    seen.add(after)
                    todo.append(after)
            if len(seen) > most:
                return None
        return seen


def star_free(monoid: set[tuple[int, ...]]) -> bool:
    """Whether no string makes the states go round in circles (Schützenberger's theorem)."""
    for step in monoid:
        seen = [step]
        while True:
            after = tuple(step[s] for s in seen[-1])
            if after in seen:
                if after != seen[-1]:
                    return False
                break
            seen.append(after)
    return True


def automaton(found: Positions, most: int) -> Automaton | None:
    """Subsets, then Moore's partition; None when there are more than `most` subsets."""
    letters = "".join(sorted(set(found.letters[1:])))
    names: dict[frozenset[int], int] = {frozenset({0}): 0}
    moves: list[list[int]] = []
    todo = [frozenset({0})]
    for subset in todo:
        ahead = frozenset[int]().union(*(found.follow[p] for p in subset))
        row = []
        for letter in letters:
            after = frozenset(p for p in ahead if found.letters[p] == letter)
            if after not in names:
                names[after] = len(names)
                todo.append(after)
            row.append(names[after])
        moves.append(row)
        if len(names) > most:
            return None
    accepts = [bool(subset & found.last) for subset in todo]
    block = [int(a) for a in accepts]
    while True:
        kinds: dict[tuple[int, ...], int] = {}
        finer = [kinds.setdefault((block[s], *(block[t] for t in moves[s])), len(kinds)) for s in range(len(moves))]
        if len(kinds) == len(set(block)):
            break
        block = finer
    # Numbering by first appearance in a breadth-first walk makes the automaton canonical.
    order, sample = [block[0]], {block[s]: s for s in range(len(moves) - 1, -1, -1)}
    for b in order:
        order += [c for c in dict.fromkeys(block[t] for t in moves[sample[b]]) if c not in order]
    place = {b: i for i, b in enumerate(order)}
    return Automaton(
        letters,
        tuple(tuple(place[block[t]] for t in moves[sample[b]]) for b in order),
        tuple(accepts[sample[b]] for b in order),
    )
