"""Mazes to be walked from one place to another, with the search that finds the way written out if wanted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise
from typing import Any, ClassVar, Final, Literal

import numpy as np
import pyarrow as pa
from pydantic import Field

from tilth.core import Pool, Probe, Run, World
from tilth.core.errors import DataError
from tilth.probes._tasks import Task, answers_of, table, world

__all__ = ["Mazes", "verdicts"]

Layout = Literal["dfs", "walls", "star"]
TRUTH: Final = pa.struct(
    [
        ("path", pa.string()),
        ("trace", pa.string()),
        ("length", pa.int32()),
        ("paths", pa.int64()),
        ("closed", pa.int32()),
        ("start", pa.string()),
        ("goal", pa.string()),
        ("passages", pa.string()),
    ]
)


@dataclass(frozen=True)
class _Maze:
    """Places, the passages between them, where to go, and how the prompt tells of it."""

    near: Mapping[str, Sequence[str]]
    start: str
    goal: str
    told: str

    @property
    def passages(self) -> list[str]:
        return sorted(f"{a}-{b}" for a in self.near for b in self.near[a] if a < b)


class Mazes(Probe):
    """Find the shortest way: a task that needs looking ahead, with the search as an optional scratchpad.

    Layouts: ``dfs``, a grid in which a depth-first walk has opened passages, so that exactly one way leads from place
    to place; ``walls``, an open grid of which 30 to 50 % are walls, often with several shortest ways; ``star``, arms
    that meet in the middle, where the first step decides everything and only the far end says which one is right. The
    answer is ``plan`` and the places in turn; with `trace` the lines before it are an A* search, ``create place cost
    heuristic`` and ``close place cost heuristic``, neighbours in random order. No maze occurs twice, whatever its
    start and goal. ``more["larger"]`` has mazes two sizes up.

    Takes answers to the holdout, a list of strings of which the last ``plan`` counts; the mark is the share that is a
    shortest way (any of them). `verdicts` tells ways that are too long from those that are none. **Chance**: whoever
    walks on at random without turning back gets 1 / arms on a star, 0.29 in ``dfs`` mazes of side 5, 0.18 of side 7.
    The truth: ``truth.path``, ``truth.trace``, ``truth.length`` in steps, ``truth.paths`` (number of shortest ways),
    ``truth.closed`` (places the search visited), ``truth.start``, ``truth.goal``, ``truth.passages``. Cost: 0.1 to
    0.7 ms a record. Trap: with several shortest ways, equality with ``truth.path`` undercounts. Source: Nolte et al.
    2024 (arXiv 2412.05117) for mazes, Lehnert et al. 2024 (arXiv 2402.14083) for traces, Bachmann and Nagarajan 2024
    (arXiv 2403.06963) for stars; the format is our own.

    >>> from tilth.core import Run
    >>> probe = Mazes(layout="star", side=3)
    >>> world = probe.build(50, Run())
    >>> turns = world.goal.holdout.column("messages").to_pylist()[0]
    >>> print(turns[0]["content"], "/", turns[1]["content"])
    passages 43-70 25-97 55-43 19-63 65-94 82-45 82-70 43-22 25-55 19-22 43-65 78-94
    from 43 to 97 / plan 43 55 25 97
    >>> plans = world.goal.holdout.column("truth.answer").to_pylist()
    >>> probe.grade(world, plans), probe.grade(world, [p.rsplit(" ", 1)[0] for p in plans])
    (1.0, 0.0)
    """

    paper: ClassVar[str] = "transformers_can_navigate_mazes_with_multistep"

    layout: Layout = Field("dfs", description="how passages are laid")
    side: int = Field(5, ge=3, le=24, description="side of the grid, or length of an arm of the star")
    arms: int = Field(4, ge=2, le=12, description="arms of the star")
    trace: bool = Field(False, description="answers begin with the search")
    items: int = Field(100, ge=1, description="mazes of target, holdout and larger each")

    def build(self, size: int, run: Run) -> World:
        seen: set[tuple[str, ...]] = set()
        parts = {}
        for name, count in (("holdout", self.items), ("target", self.items), ("pool", size)):
            rng = run.rng(name)
            parts[name] = [self._task(self.side, seen, rng) for _ in range(count)]
        rng = run.rng("larger")
        larger = [self._task(self.side + 2, seen, rng) for _ in range(self.items)]
        return world(parts, TRUTH, more={"larger": table("larger", larger, TRUTH)})

    def _task(self, side: int, seen: set[tuple[str, ...]], rng: np.random.Generator) -> Task:
        lay = {"dfs": _dfs, "walls": _walls, "star": self._star}[self.layout]
        for _ in range(1000):
            maze = lay(side, rng)
            if maze is None or (key := tuple(maze.passages)) in seen:
                continue
            seen.add(key)
            path, trace, closed = _search(maze, self.layout != "star", rng)
            plan = " ".join(["plan", *path])
            length, paths = _ways(maze)
            truth = {"path": " ".join(path), "trace": "\n".join(trace), "length": length, "paths": paths}
            truth |= {"closed": closed, "start": maze.start, "goal": maze.goal, "passages": " ".join(key)}
            answer = "\n".join([*trace, plan]) if self.trace else plan
            prompt = f"{maze.told}\nfrom {maze.start} to {maze.goal}"
            return Task(prompt, answer, f"{self.layout}{side}", truth)
        raise DataError(f"mazes found no new maze of side {side} after {len(seen)}: raise `side` or build fewer.")

    def _star(self, side: int, rng: np.random.Generator) -> _Maze:
        numbers = rng.permutation(max(100, 1 + self.arms * side))[: 1 + self.arms * side]
        names = [str(n) for n in numbers]
        centre, rest = names[0], names[1:]
        near: dict[str, list[str]] = {name: [] for name in names}
        for arm in range(self.arms):
            for a, b in pairwise([centre, *rest[arm * side : (arm + 1) * side]]):
                near[a].append(b)
                near[b].append(a)
        return _maze(near, centre, rest[side * int(rng.integers(1, self.arms + 1)) - 1], rng)

    def grade(self, world: World, answer: Any) -> float:
        if world.goal is None:
            raise DataError("mazes grades answers to the holdout of its own world; this world has none.")
        found = verdicts(world.goal.holdout, answer)
        return found.count("shortest") / max(1, len(found))


def verdicts(pool: Pool, answer: Any) -> list[Literal["shortest", "longer", "none"]]:
    """Of each answer's last plan: a shortest way, a way that is longer, or no way from start to goal."""
    found: list[Literal["shortest", "longer", "none"]] = []
    for row, given in zip(pool.column("truth").to_pylist(), answers_of(answer, pool, "mazes"), strict=True):
        path = given.rsplit("plan", 1)[-1].split()
        passages = {tuple(p.split("-")) for p in row["passages"].split()}
        joined = all((a, b) in passages or (b, a) in passages for a, b in pairwise(path))
        if not path or not joined or (path[0], path[-1]) != (row["start"], row["goal"]):
            found.append("none")
        else:
            found.append("shortest" if len(path) - 1 == row["length"] else "longer")
    return found


def _maze(near: Mapping[str, Sequence[str]], start: str, goal: str, rng: np.random.Generator) -> _Maze:
    """A maze told by its passages, in random order and direction."""
    pairs = [(a, b) for a in near for b in near[a] if a < b]
    told = [pairs[i] if forward else pairs[i][::-1] for i, forward in _shuffled(len(pairs), rng)]
    return _Maze(near, start, goal, " ".join(["passages", *(f"{a}-{b}" for a, b in told)]))


def _shuffled(count: int, rng: np.random.Generator) -> list[tuple[int, bool]]:
    return [*zip(rng.permutation(count).tolist(), (rng.random(count) < 0.5).tolist(), strict=True)]


def _cell(row: int, column: int) -> str:
    return f"{chr(ord('a') + row)}{column + 1}"


def _place(cell: str) -> tuple[int, int]:
    return ord(cell[0]) - ord("a"), int(cell[1:]) - 1


def _beside(row: int, column: int, side: int) -> list[tuple[int, int]]:
    around = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
    return [(r, c) for r, c in around if 0 <= r < side and 0 <= c < side]


def _dfs(side: int, rng: np.random.Generator) -> _Maze | None:
    """A spanning tree of the grid, dug by a walk that turns back only when it must."""
    here = int(rng.integers(side)), int(rng.integers(side))
    walk, visited = [here], {here}
    near: dict[str, list[str]] = {_cell(r, c): [] for r in range(side) for c in range(side)}
    while walk:
        ahead = [p for p in _beside(*walk[-1], side) if p not in visited]
        if not ahead:
            walk.pop()
            continue
        step = ahead[int(rng.integers(len(ahead)))]
        near[_cell(*walk[-1])].append(_cell(*step))
        near[_cell(*step)].append(_cell(*walk[-1]))
        visited.add(step)
        walk.append(step)
    ends = _ends(near, side, rng)
    return None if ends is None else _maze(near, *ends, rng)


def _walls(side: int, rng: np.random.Generator) -> _Maze | None:
    """An open grid with walls, told by its walls."""
    count = int(rng.integers(round(0.3 * side**2), round(0.5 * side**2) + 1))
    blocked = set(rng.permutation(side**2)[:count].tolist())
    free = [(r, c) for r in range(side) for c in range(side) if r * side + c not in blocked]
    near = {_cell(*p): [_cell(*q) for q in _beside(*p, side) if q[0] * side + q[1] not in blocked] for p in free}
    ends = _ends(near, side, rng)
    told = [_cell(*divmod(i, side)) for i in rng.permutation(sorted(blocked)).tolist()]
    return None if ends is None else _Maze(near, *ends, " ".join(["side", str(side), "walls", *told]))


def _ends(near: Mapping[str, Sequence[str]], least: int, rng: np.random.Generator) -> tuple[str, str] | None:
    """A start and a goal that are at least so many steps apart, if ten starts find one."""
    places = sorted(near)
    for _ in range(10):
        start = places[int(rng.integers(len(places)))]
        far = [p for p, (steps, _) in _distances(near, start).items() if steps >= least]
        if far:
            return start, sorted(far)[int(rng.integers(len(far)))]
    return None


def _distances(near: Mapping[str, Sequence[str]], start: str) -> dict[str, tuple[int, int]]:
    """Place -> steps from the start and the number of ways with so few."""
    found = {start: (0, 1)}
    ring = [start]
    while ring:
        ahead: dict[str, int] = {}
        for here in ring:
            for there in near[here]:
                if there not in found:
                    ahead[there] = ahead.get(there, 0) + found[here][1]
        found |= {there: (found[ring[0]][0] + 1, ways) for there, ways in ahead.items()}
        ring = [*ahead]
    return found


def _ways(maze: _Maze) -> tuple[int, int]:
    return _distances(maze.near, maze.start)[maze.goal]


def _search(maze: _Maze, grid: bool, rng: np.random.Generator) -> tuple[list[str], list[str], int]:
    """A*: the path, the lines of its trace, and how many places it closed."""

    def left(place: str) -> int:
        if not grid:
            return 0
        (a, b), (c, d) = _place(place), _place(maze.goal)
        return abs(a - c) + abs(b - d)

    cost, before = {maze.start: 0}, {maze.start: ""}
    trace = [f"create {maze.start} c0 c{left(maze.start)}"]
    closed: set[str] = set()
    queue = [(left(maze.start), left(maze.start), 0, maze.start)]
    while queue:
        here = heappop(queue)[-1]
        if here in closed:
            continue
        closed.add(here)
        trace.append(f"close {here} c{cost[here]} c{left(here)}")
        if here == maze.goal:
            break
        for i in rng.permutation(len(maze.near[here])).tolist():
            there = maze.near[here][i]
            if cost[here] + 1 < cost.get(there, 1 << 30):
                cost[there], before[there] = cost[here] + 1, here
                trace.append(f"create {there} c{cost[there]} c{left(there)}")
                heappush(queue, (cost[there] + left(there), left(there), len(trace), there))
    path = [maze.goal]
    while before[path[-1]]:
        path.append(before[path[-1]])
    return path[::-1], trace, len(closed)
