"""Mazes: read back from the prompt alone, solved by breadth-first search, and the traces replayed line by line."""

from __future__ import annotations

import re
from collections import deque
from typing import Any

import numpy as np
import pytest

from tilth.core import Pool, Run, World
from tilth.core.errors import DataError
from tilth.probes.mazes import Mazes, verdicts

Graph = dict[str, set[str]]


def read(prompt: str) -> tuple[Graph, str, str]:
    """Graph, start and goal from the prompt's words."""
    told, ends = prompt.splitlines()
    found = re.fullmatch(r"from (\w+) to (\w+)", ends)
    assert found
    graph: Graph = {}
    words = told.split()
    if words[0] == "passages":
        for a, b in (word.split("-") for word in words[1:]):
            graph.setdefault(a, set()).add(b)
            graph.setdefault(b, set()).add(a)
        return graph, found[1], found[2]
    side, walls = int(words[1]), set(words[3:])
    cells = {(x, y): f"{'abcdefghijklmnopqrstuvwxyz'[x]}{y + 1}" for x in range(side) for y in range(side)}
    free = {p: name for p, name in cells.items() if name not in walls}
    for (x, y), name in free.items():
        graph[name] = {free[p] for p in ((x, y + 1), (x, y - 1), (x + 1, y), (x - 1, y)) if p in free}
    return graph, found[1], found[2]


def steps(graph: Graph, start: str) -> dict[str, int]:
    found, queue = {start: 0}, deque([start])
    while queue:
        here = queue.popleft()
        for there in graph[here]:
            if there not in found:
                found[there] = found[here] + 1
                queue.append(there)
    return found


def shortest_ways(graph: Graph, start: str, goal: str) -> list[list[str]]:
    away = steps(graph, goal)
    ways = [[start]]
    for _ in range(away[start]):
        ways = [[*w, n] for w in ways for n in sorted(graph[w[-1]]) if away[n] == away[w[-1]] - 1]
    return ways


def replay(graph: Graph, start: str, goal: str, trace: list[str]) -> int:
    """How many places a trace closes, once every line of it is found to be a step that A* may take."""
    away = steps(graph, start)
    waiting: dict[str, tuple[int, int]] = {}
    closed: set[str] = set()
    expected: set[str] = {start}
    cost = 0
    for line in trace:
        found = re.fullmatch(r"(create|close) (\w+) c(\d+) c(\d+)", line)
        assert found, line
        place, paid, left = found[2], int(found[3]), int(found[4])
        if found[1] == "create":
            assert place in expected
            assert paid == cost
            expected.remove(place)
            waiting[place] = paid, left
            assert left <= steps(graph, goal)[place], "the heuristic promises too much"
        else:
            assert not expected, "the last place's neighbours were not all created"
            assert waiting[place] == (paid, left)
            assert paid + left == min(map(sum, waiting.values()))
            assert paid == away[place]
            del waiting[place]
            closed.add(place)
            cost = paid + 1
            better = {n for n in graph[place] if n not in closed and waiting.get(n, (cost + 1,))[0] > cost}
            expected = set() if place == goal else better
    assert goal in closed
    return len(closed)


def rows(pool: Pool) -> list[tuple[Graph, str, str, str, dict[str, Any]]]:
    turns, truth = pool.column("messages").to_pylist(), pool.column("truth").to_pylist()
    return [(*read(m[0]["content"]), m[1]["content"], t) for m, t in zip(turns, truth, strict=True)]


def parts(world: World) -> dict[str, Pool]:
    assert world.goal is not None
    return {"pool": world.pool, "target": world.goal.target, "holdout": world.goal.holdout, **world.more}


@pytest.mark.parametrize(("layout", "side"), [("dfs", 5), ("walls", 6), ("star", 4), ("dfs", 8)])
@pytest.mark.parametrize("trace", [False, True])
def test_answers_are_shortest_ways_and_traces_are_searches(layout: str, side: int, trace: bool) -> None:
    world = Mazes(layout=layout, side=side, trace=trace, items=30).build(120, Run(seed=2))
    mazes: list[set[frozenset[frozenset[str]]]] = []
    for name, pool in parts(world).items():
        assert pool.count == {"pool": 120}.get(name, 30)
        seen = set()
        for graph, start, goal, answer, truth in rows(pool):
            *lines, plan = answer.splitlines()
            ways = shortest_ways(graph, start, goal)
            assert plan.split()[0] == "plan"
            assert plan.split()[1:] in ways
            assert plan.split()[1:] == truth["path"].split()
            assert truth["paths"] == len(ways)
            assert truth["length"] == len(ways[0]) - 1 >= (side if name != "larger" else side + 2)
            assert lines == (truth["trace"].splitlines() if trace else [])
            assert replay(graph, start, goal, truth["trace"].splitlines()) == truth["closed"]
            seen.add(frozenset(frozenset((a, b)) for a in graph for b in graph[a]))
            grid = side + 2 * (name == "larger")
            if layout == "dfs":  # a spanning tree of the grid
                assert len(graph) == grid**2
                assert sum(map(len, graph.values())) == 2 * (grid**2 - 1)
                assert len(steps(graph, start)) == grid**2
            if layout == "star":
                assert sorted(map(len, graph.values())) == [1] * 4 + [2] * 4 * (grid - 1) + [4]
                assert len(graph[start]) == 4
                assert len(graph[goal]) == 1
            if layout == "walls":
                assert 0.5 <= len(graph) / grid**2 <= 0.71
        assert len(seen) == pool.count, "a maze occurs twice"
        mazes.append(seen)
    assert len(set().union(*mazes)) == sum(map(len, mazes)), "a maze stands in two splits"
    if layout == "walls":
        assert max(truth["paths"] for *_, truth in rows(world.pool)) > 1


def wander(graph: Graph, start: str, goal: str, rng: np.random.Generator) -> str:
    """Walks on at random and never turns back."""
    path = [start]
    while path[-1] != goal:
        ahead = sorted(graph[path[-1]] - {*path[-2:-1]})
        if not ahead or len(path) > 100:
            break
        path.append(ahead[int(rng.integers(len(ahead)))])
    return "plan " + " ".join(path)


@pytest.mark.parametrize(("layout", "low", "high"), [("star", 0.2, 0.3), ("dfs", 0.23, 0.35)])
def test_grading_and_its_chance(layout: str, low: float, high: float) -> None:
    probe = Mazes(layout=layout, items=500)
    world = probe.build(10, Run())
    asked = rows(parts(world)["holdout"])
    rng = np.random.default_rng(0)
    assert probe.grade(world, ["plan " + " ".join(shortest_ways(*a[:3])[-1]) for a in asked]) == 1
    walked = probe.grade(world, [wander(*a[:3], rng) for a in asked])
    assert low < walked < high
    assert probe.grade(world, ["plan"] * 500) == probe.grade(world, [""] * 500) == 0


def test_any_shortest_way_counts_and_longer_ones_are_told_apart() -> None:
    probe = Mazes(layout="walls", items=200)
    world = probe.build(10, Run())
    holdout = parts(world)["holdout"]
    asked = rows(holdout)
    assert (
        verdicts(holdout, ["create x\nplan " + " ".join(shortest_ways(*a[:3])[-1]) for a in asked])
        == ["shortest"] * 200
    )
    detour = []
    for graph, start, goal, *_ in asked:
        way = shortest_ways(graph, start, goal)[0]
        detour.append(" ".join([way[0], way[1], *way]))
    assert verdicts(holdout, detour) == ["longer"] * 200
    jump = [f"plan {start} {goal}" for _, start, goal, *_ in asked]
    late = ["plan " + " ".join(shortest_ways(*a[:3])[0][1:]) for a in asked]
    assert verdicts(holdout, jump) == verdicts(holdout, late) == ["none"] * 200


def test_only_so_many_mazes_of_a_size() -> None:
    with pytest.raises(DataError, match="no new maze of side 3"):
        Mazes(side=3, items=1).build(300, Run())
