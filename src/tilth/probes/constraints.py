"""Instructions with constraints that code can check, answers that keep all of them and answers that break one."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pydantic import Field, model_validator

from tilth.core import Plan, Pool, Probe, Run, TablePool, World
from tilth.core.errors import DataError
from tilth.probes._requests import CONFLICTS, KINDS, TOPICS, Constraint, broken, constrain, holds, write
from tilth.probes._tasks import Task, answers_of, world

__all__ = ["Constraints", "kept"]

OPENINGS: Final = (
    *(
        "Write a short text about {topic}.",
        "Describe {topic}.",
        "Tell me about {topic}.",
        "What is there to say of {topic}?",
    ),
)
TRUTH: Final = pa.struct(
    [
        ("topic", pa.string()),
        ("constraints", pa.string()),
        ("composition", pa.string()),
        ("count", pa.int32()),
        ("violated", pa.string()),
    ]
)


class Constraints(Probe):
    """Write about something, under constraints: lengths, words, case, lists, form. Who keeps several at once?

    Fifteen kinds of constraint, in several wordings each, are composed: `least` to `most` per prompt in training,
    `test_least` to `test_most` in the holdout, whose compositions of two and more training never shows. An answer
    keeps everything it is asked for. A share `wrong` of the pool's answers break exactly one constraint, by an edit
    of a few words. ``more["pairs"]`` has, for every prompt of the pool, an answer that keeps all (chosen) and that
    answer with one constraint broken (rejected).

    Takes answers to the holdout, a list of strings; the mark is the share of prompts of which every constraint is
    kept, judged by code. `kept` gives the shares kind by kind. Takes a plan too (for worlds with `wrong`); the mark
    is then the F1 of what it dropped, against the answers that break something. **Chance**: answers to other prompts
    of as many constraints get about 0.04; dropping everything gets 2w / (1 + w) with w the share of wrong ones. The
    truth: ``truth.topic``, ``truth.constraints`` (JSON: kind, n, word), ``truth.composition`` (sorted kinds),
    ``truth.count`` and ``truth.violated`` (the kind that is broken, or null). Cost: 0.3 ms a record. Traps: capitals do
    not matter for words asked for; texts are made of templates, so nothing here says how well an answer reads.
    Source: the kinds follow IFEval (Zhou et al. 2023, arXiv 2311.07911); composition and minimal pairs, He et al.
    2024 (arXiv 2404.15846) and Cheng et al. 2024 (arXiv 2412.11605).

    >>> from tilth.core import Run
    >>> probe = Constraints(least=2)
    >>> world = probe.build(50, Run())
    >>> pair = world.more["pairs"].table(["prompt", "rejected", "truth.violated"]).to_pylist()[5]
    >>> print(pair["prompt"])
    Tell me about a mountain. Avoid the word "glacier". Mention "summit".
    >>> print(pair["truth.violated"], "/", pair["rejected"])
    without / The old hut belongs to the old summit, as every climber shows. The famous glacier belongs to the busy
    mountain. The heavy mountain can be seen from the small summit.
    >>> right = world.goal.holdout.column("truth.answer").to_pylist()
    >>> probe.grade(world, right), probe.grade(world, [""] * len(right))
    (1.0, 0.0)
    """

    least: int = Field(1, ge=1, le=6, description="constraints of a prompt in training, at least")
    most: int = Field(3, ge=1, le=6, description="constraints of a prompt in training, at most")
    test_least: int = Field(1, ge=1, le=6, description="constraints of a prompt in the holdout, at least")
    test_most: int = Field(3, ge=1, le=6, description="constraints of a prompt in the holdout, at most")
    wrong: float = Field(0.0, ge=0, lt=1, description="share of the pool's answers that break exactly one constraint")
    unseen: float = Field(0.2, gt=0, lt=1, description="share of the compositions that only the holdout has")
    items: int = Field(100, ge=1, description="prompts of target and holdout each")

    @model_validator(mode="after")
    def _in_order(self) -> Constraints:
        if self.least > self.most or self.test_least > self.test_most:
            raise ValueError("`least` must not be more than `most`, nor `test_least` more than `test_most`")
        return self

    def build(self, size: int, run: Run) -> World:
        kept_back: set[str] = set()
        seen: set[str] = set()
        parts: dict[str, list[Task]] = {}
        pairs: list[tuple[Task, Task]] = []
        for name, count in (("holdout", self.items), ("target", self.items), ("pool", size)):
            rng = run.rng(name)
            wrong = set(rng.permutation(count)[: round(self.wrong * count)].tolist()) if name == "pool" else set()
            parts[name] = []
            for i in range(count):
                right, rejected = self._task(name == "holdout", kept_back, seen, run, rng)
                # Prompts of one constraint are not that many: the pool may ask one again, for another answer.
                kept_back |= {right.prompt} if name != "pool" else set()
                bad = Task(right.prompt, rejected.answer, right.source, rejected.truth)
                parts[name].append(bad if i in wrong else right)
                if name == "pool":
                    pairs.append((right, rejected))
        return world(parts, TRUTH, more={"pairs": _paired(pairs)})

    def _task(
        self, held_out: bool, kept_back: set[str], seen: set[str], run: Run, rng: np.random.Generator
    ) -> tuple[Task, Task]:
        """A prompt that is not kept back, with a new answer that keeps all and one that breaks one."""
        low, high = (self.test_least, self.test_most) if held_out else (self.least, self.most)
        for _ in range(5000):
            kinds = _compatible(int(rng.integers(low, high + 1)), rng)
            composition = "+".join(sorted(kinds))
            unseen = run.rng("unseen", composition).random() < self.unseen
            if len(kinds) > 1 and unseen != held_out:
                continue
            topic = [*TOPICS][int(rng.integers(len(TOPICS)))]
            draft = write(kinds, topic, rng)
            asked = constrain(kinds, draft, topic, rng)
            if asked is None:
                continue
            opening = OPENINGS[int(rng.integers(len(OPENINGS)))].format(topic=topic)
            prompt = " ".join([opening, *(c.said(rng) for c in asked)])
            index = int(rng.integers(len(asked)))
            rejected = broken(asked, index, draft.text, topic, rng)
            known = prompt in kept_back or f"{prompt}\n{draft.text}" in seen
            if known or rejected is None or not all(holds(c, draft.text) for c in asked):
                continue
            seen.add(f"{prompt}\n{draft.text}")
            truth = {"topic": topic, "constraints": json.dumps([asdict(c) for c in asked]), "count": len(asked)}
            truth |= {"composition": composition, "violated": None}
            source = f"{len(asked)} constraints"
            bad = {**truth, "violated": asked[index].kind}
            return Task(prompt, draft.text, source, truth), Task(prompt, rejected, source, bad)
        raise DataError(f"constraints found no new prompt with {low} to {high} constraints: build a smaller world.")

    def grade(self, world: World, answer: Any) -> float:
        if isinstance(answer, Plan):
            wrong = np.array([v is not None for v in world.pool.column("truth.violated").to_pylist()])
            dropped = ~answer.kept
            return 2 * float((wrong & dropped).sum()) / max(1, int(wrong.sum() + dropped.sum()))
        if world.goal is None:
            raise DataError("constraints grades answers to the holdout of its own world; this world has none.")
        return kept(world.goal.holdout, answer)["all"]


def kept(pool: Pool, answer: Any) -> Mapping[str, float]:
    """Share of the answers that keep the constraints, kind by kind; ``all``: that keep every one of their prompt."""
    results: dict[str, list[bool]] = {}
    rows = pool.column("truth.constraints").to_pylist()
    for row, text in zip(rows, answers_of(answer, pool, "constraints"), strict=True):
        found = {c["kind"]: holds(Constraint(**c), text) for c in json.loads(row)}
        for kind, result in {**found, "all": all(found.values())}.items():
            results.setdefault(kind, []).append(result)
    return {kind: sum(values) / len(values) for kind, values in sorted(results.items())}


def _compatible(count: int, rng: np.random.Generator) -> list[str]:
    """So many kinds of which no two are in conflict, in random order."""
    kinds: list[str] = []
    for i in rng.permutation(len(KINDS)).tolist():
        if len(kinds) < count and not any({KINDS[i], kind} in CONFLICTS for kind in kinds):
            kinds.append(KINDS[i])
    return kinds


def _paired(pairs: list[tuple[Task, Task]]) -> TablePool:
    columns: dict[str, Any] = {"id": [f"pair{i:08d}" for i in range(len(pairs))]}
    columns["prompt"] = pa.array([right.prompt for right, _ in pairs], pa.string())
    columns["chosen"] = pa.array([right.answer for right, _ in pairs], pa.string())
    columns["rejected"] = pa.array([rejected.answer for _, rejected in pairs], pa.string())
    columns["source"] = pa.array([right.source for right, _ in pairs], pa.string())
    columns["truth"] = pa.array([rejected.truth for _, rejected in pairs], TRUTH)
    return TablePool(pa.table(columns), "preference")
