"""SkillIt: read more of the skills that help the skills on which the model is still poor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from tilth.core import Goal, OnlinePolicy, Plan, Pool, Run
from tilth.core.errors import UsageError
from tilth.policies.mix._online import named, softmax
from tilth.proofs._decoder import require_torch
from tilth.proofs._steered import reading
from tilth.proofs._text import tokenizer_for

__all__ = ["SkillIt"]

Rows = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class State:
    """The skills, the graph (skills, targets), the targets' losses at the start and in the window's last rounds."""

    names: tuple[str, ...]
    graph: Rows
    first: tuple[float, ...] = ()
    seen: Rows = ()


class SkillIt(OnlinePolicy[State]):
    """Skill-It (arXiv 2307.14430): ``share_i`` in proportion to ``exp(eta sum_u sum_j A_ij L_j(u))``.

    `A` is a graph of skills, row trained on, column helped; `L_j(u)` the held-out loss of target skill j in the last
    `window` rounds. Before the first round shares are in proportion to ``exp(eta sum_j A_ij)``. Each round begins from
    equal shares: it is a softmax of a window, and does not compound. Skills are the groups that are mixed; targets are
    what the goal's items say of themselves (the same column, else the names of the goals).

    The graph is given, or learned at the start from short runs of a small model: `learn` = "helped", one run per skill,
    the share of each target's loss that it takes away, divided by the greatest; or "preceded", one per pair too: an
    edge where an even mix of i and j leaves less loss on j than j alone, which is the paper's.

    Cost: the runs, in every trial, then a look at the target each round. Trap: a graph from a fresh model mostly says
    which skill teaches the format; give a graph where you know it. Full and empty graphs carry no order. On losses in
    nats, `eta` would depend on their size, so by default they are divided by those before the first step; turn it off
    where these say little: a skill known by then has next to none, and a fresh model starts far above guessing.

    >>> from tilth.core import Run
    >>> from tilth.models.influence import Known
    >>> state = State(("add", "carry"), ((1.0, 0.5), (0.0, 1.0)))  # adding helps carrying
    >>> asked = [Known.of({"": [0]}, {"add": [0], "carry": [0]}, nats=nats) for nats in ([2.0, 2.0], [0.2, 1.9])]
    >>> shares, state = SkillIt().step(state, {"step": 0, "influence": asked[0]}, Run())
    >>> later, state = SkillIt().step(state, {"step": 9, "influence": asked[1]}, Run())
    >>> round(shares["add"], 2), round(later["add"], 2)  # once adding is learned, carrying is read more
    (0.56, 0.45)
    """

    paper: ClassVar[str] = "skillit_a_datadriven_skills_framework_for"

    eta: float = Field(0.5, gt=0, description="how far losses move the shares")
    window: int = Field(3, ge=1, description="rounds whose losses count")
    graph: Rows = Field((), description="rows: groups by name, columns: targets by name; empty: it is learned")
    learn: Literal["helped", "preceded"] = Field("helped", description="a run per skill, or one per pair of skills too")
    steps: int = Field(60, ge=1, description="steps of each of these runs")
    depth: int = Field(1, ge=1, le=12, description="layers of their model")
    vocab: int = Field(512, ge=257, le=65_000, description="ids of its tokenizer")
    context: int = Field(64, ge=16, le=4096, description="tokens of its windows, of which a step has 8")
    relative: bool = Field(True, description="losses are divided by those before the first step")
    average: bool = Field(False, description="rounds are averaged, not summed: the authors' way with other targets")

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text")

    def start(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> State:
        if plan.steering is None:
            raise UsageError("skill_it needs a plan that it steers: {use: steered, policy: skill_it}.")
        names, targets = (*plan.moving,), sorted({*plan.steering.aims})
        if not self.graph:
            return State(names, self._learned(plan, pool, goal, run))
        if {(len(self.graph), len(row)) for row in self.graph} != {(len(names), len(targets))}:
            raise UsageError(
                f"skill_it's graph has a row for each group ({', '.join(names)}) and a column for each target "
                f"({', '.join(targets)}), {len(names)} by {len(targets)}; {len(self.graph)} rows were given."
            )
        return State(names, self.graph)

    def step(self, state: State, seen: Mapping[str, Any], run: Run) -> tuple[Mapping[str, float], State]:
        graph, influence = np.array(state.graph), seen["influence"]
        losses = influence.losses()
        if seen["step"] == 0:
            return named(state.names, softmax(self.eta * graph.sum(1))), replace(state, first=tuple(losses.tolist()))
        if self.relative:
            losses = losses / np.maximum(np.array(state.first), 1e-12)
        told = (*state.seen, tuple(losses.tolist()))[-self.window :]
        rounds = np.array(told).mean(0) if self.average else np.array(told).sum(0)
        weights = influence.weights * len(influence.weights)  # 1 each, where targets weigh the same
        return named(state.names, softmax(self.eta * graph @ (weights * rounds))), replace(state, seen=told)

    def _learned(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Rows:
        require_torch("skill_it")
        from tilth.models import skill_graph
        from tilth.models.optim import Options
        from tilth.models.train import generator, threads
        from tilth.models.transformer import Config, Decoder, build

        tokenizer, batch, here = tokenizer_for(pool, self.vocab), 8, run.at("graph")
        tokens = self.steps * batch * self.context * len(plan.moving)
        read = reading(plan, pool, goal, here, tokenizer, tokens=tokens, context=self.context, longest=1000)
        if self.learn == "preceded" and set(read.groups) - set(read.targets):
            raise UsageError("An order of skills needs targets of the groups' names; with others use learn: helped.")
        config = Config.of_depth(self.depth, tokenizer.vocab_size, self.context)

        def fresh() -> Decoder:
            return build(config, generator(here.rng("init"))).to(run.device)

        with threads(1):
            learn = skill_graph.helped if self.learn == "helped" else skill_graph.preceded
            options = Options(rate=config.rate, batch=batch)
            found = learn(read.groups, read.targets, fresh, options, self.steps, here)
        scaled = found / max(float(found.max()), 1e-12)
        return tuple(tuple(row) for row in scaled.tolist())
