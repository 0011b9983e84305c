"""A build as the report sees it, over a small pool in memory whose every string is hostile."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import pytest

from tilth.build import Build
from tilth.core import Budget, Curve, Goal, Method, Plan, Run, TablePool
from tilth.core.plan import groups
from tilth.engine.evidence.gathered import Evidence, gather
from tilth.engine.evidence.tasks import TaskTable
from tilth.engine.prove import Verdict
from tilth.engine.statistics import benjamini_hochberg, compare
from tilth.recipe import Recipe
from tilth.signals._by_id import ById

SIGNALS = ("quality", "learned", "still", "minhash", "contamination")
HOSTILE = [
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(2)>',
    "' onmouseover='alert(3)",
    "=cmd|' /C calc'!A1",
    "safe\u202egnp.exe\u2066",
    "nul\x00bell\x07escape\x1b[31m",
    "</pre></style></title><iframe src=//evil.example>",
    "&lt;b&gt; <!-- ]]> <![CDATA[ <?php",
]


class Planted(Method):
    """Stands in for any method: it can say what it is."""

    text: str = "</pre><img src=x onerror=alert(4)>"


@dataclass
class Imported:
    origin: dict[str, Any]


@dataclass
class FakeBuild:
    """The attributes of a Build that the report reads."""

    out: Path
    base: Path
    recipe: Recipe
    pool: TablePool
    imported: Imported
    plan: Plan | None = None
    goal: Goal | None = None
    verdict: Verdict | None = None
    proof: Method | None = None
    signals: dict[str, Method] = field(default_factory=dict)
    policies: list[Method] = field(default_factory=list)
    run: Run = field(default_factory=Run)

    def state_of(self, name: str) -> ById:
        rng = np.random.default_rng(4)
        curves = {what: {"all": rng.random((3, 5)), "hard": rng.random((3, 5))} for what in ("right", "gold")}
        return ById(np.zeros(0, np.uint64), {}, curves)


def struct(**columns: Any) -> pa.Array:
    arrays = [v if isinstance(v, pa.Array) else pa.array(v) for v in columns.values()]
    return pa.StructArray.from_arrays(arrays, [*columns])


def learned(count: int) -> pa.Array:
    """What `cartography` makes, with some records unknown."""
    rng = np.random.default_rng(3)
    known = np.arange(count) % 12 != 0
    values = {name: np.where(known, rng.random(count), np.nan) for name in ("confidence", "variability", "correctness")}
    regions = [
        str(v) if k else None for v, k in zip(rng.choice(["easy", "ambiguous", "hard"], count), known, strict=True)
    ]
    return struct(**{n: pa.array(v, from_pandas=True) for n, v in values.items()}, region=pa.array(regions))


def hostile_pool(count: int = 120) -> TablePool:
    rng = np.random.default_rng(0)
    text = [HOSTILE[i % len(HOSTILE)] * (1 + i % 3) for i in range(count)]
    flag = rng.random(count) < 0.3
    table = pa.table(
        {
            "id": [f"{HOSTILE[i % len(HOSTILE)]}-{i}" for i in range(count)],
            "text": text,
            "source": [HOSTILE[i % 5] for i in range(count)],
            "license": [HOSTILE[-1 - i % 4] if i % 9 else None for i in range(count)],
            "quality": struct(
                words=pa.array(rng.poisson(30, count)),
                ratio=pa.array(np.where(flag, np.nan, rng.random(count)), from_pandas=True),
                ok=pa.array(flag),
                language=pa.array([HOSTILE[i % 3] for i in range(count)]),
                spans=pa.array([[1] * (i % 3) for i in range(count)]),
            ),
            "learned": learned(count),
            "still": struct(zero=pa.array(np.zeros(count)), never=pa.array([False] * count)),
            "minhash": struct(
                cluster=pa.array([i // 7 for i in range(count)]), duplicate=pa.array([i % 7 > 0 for i in range(count)])
            ),
            "contamination": struct(
                item=pa.array([HOSTILE[i % 4] if i % 11 == 0 else None for i in range(count)]),
                overlap=pa.array([0.5 + i / 1000 for i in range(count)]),
                hit=pa.array([i % 11 == 0 for i in range(count)]),
            ),
        }
    )
    return TablePool(table, fragment=50)


def a_verdict(plan: float = 1.0) -> Verdict:
    rng = np.random.default_rng(1)
    items = rng.normal(0, 0.2, 30)
    means = {"plan": plan, HOSTILE[0]: 1.05, "worst": 1.3}
    losses = {n: m + items + rng.normal(0, 0.01, (5, 30)) for n, m in means.items()}
    comparisons = {n: compare(losses["plan"], losses[n]) for n in means if n != "plan"}
    adjusted = benjamini_hochberg([c.p for c in comparisons.values()])
    return Verdict(
        proof={"use": "ngram", "tokens": 1000},
        unit="bits per byte",
        losses=losses,
        weights=np.full(30, 1 / 30),
        comparisons=comparisons,
        adjusted=dict(zip(comparisons, adjusted, strict=True)),
        detectable=0.01,
        stability=0.9,
        noise=0.005,
        missing={HOSTILE[1]: HOSTILE[6]},
        evidence=evidence(losses),
        tasks={"plan": tasks()},
    )


def tasks() -> TaskTable:
    """As the proof `continual` leaves it, over tasks with hostile names."""
    marks = np.array([[0.9, 0.1], [0.5, 0.8]])
    measures = {"average": (0.65, 0.6, 0.7)}
    return TaskTable((0, 1), (HOSTILE[0], HOSTILE[1]), (HOSTILE[1],), "accuracy", marks[0], marks, measures)


def evidence(losses: dict[str, Any]) -> Evidence:
    """As a proof with curves leaves it, over a holdout whose goals have hostile names."""
    tokens = np.array([100, 1000, 10_000])
    curves = {
        n: [Curve(tokens, row[None] + np.array([[2.0], [1.0], [0.0]]), np.zeros(3)) for row in t]
        for n, t in losses.items()
    }
    holdout = TablePool(pa.table({"text": ["x"] * 30, "goal": [HOSTILE[0], HOSTILE[1]] * 15}))
    pairs = {n: ("plan", n) for n in losses if n != "plan"}
    return gather(losses, losses, curves, np.ones(30), holdout, pairs)


def fake(folder: Path, *, goal: bool = True, proof: bool = True) -> Build:
    pool = hostile_pool()
    raw: dict[str, Any] = {
        "sources": {HOSTILE[0]: {"path": ["data/*.jsonl", str(folder / "more")], "license": HOSTILE[1]}}
    }
    build = FakeBuild(
        out=folder,
        base=folder,
        recipe=Recipe.model_validate(raw),
        pool=pool,
        imported=Imported({"files": [[HOSTILE[0], f"a{HOSTILE[6].replace('/', '')}.jsonl", 12, "ab" * 32]]}),
        signals={name: Planted() for name in SIGNALS},
    )

    def bad(k: int) -> dict[str, Any]:
        file = str(folder / "data" / f"bad{k % 2}.jsonl")
        reason = f"cannot read {file}: {HOSTILE[k % 2]}"
        excerpt = HOSTILE[k % 8] + "\ud800"
        return {"source": HOSTILE[k % 2], "file": file, "line": k + 1, "reason": reason, "excerpt": excerpt}

    (folder / "pool").mkdir(parents=True)
    (folder / "pool" / "quarantine.jsonl").write_text("".join(json.dumps(bad(k)) + "\n" for k in range(12)))
    if goal:
        examples = TablePool(pa.table({"text": ["a", "b", "c"]}))
        build.goal = Goal(examples, examples, Budget(200, "records"))
        plan = Plan.everything(pool, build.goal.budget)
        keep = np.arange(len(plan)) % 7 == 0
        conjuncts = [{"where": HOSTILE[0], "false": 3, "unknown": 1}]
        plan = plan.revised(
            {"use": "keep", "where": HOSTILE[6]}, HOSTILE[0], keep=keep, reason=HOSTILE[1],
            details={"conjuncts": conjuncts, HOSTILE[2]: [HOSTILE[6]]}, threshold={HOSTILE[0]: 0.5},
        )  # fmt: skip
        sources = groups(pool, "source")
        shares = {name: float(i) for i, name in enumerate(sources.names)}
        keys = np.linspace(0, 1, len(plan))
        build.plan = plan.mixed({"use": "mix"}, "mixed", shares, sources, keys, cap=2.0)
        build.policies = [Planted()]
    if proof:
        build.verdict, build.proof = a_verdict(), Planted()
    return cast(Build, build)


@pytest.fixture
def make() -> Callable[..., Build]:
    """A build in a folder; ``goal=False`` or ``proof=False`` leaves that out of its recipe."""
    return fake


@pytest.fixture
def everything(tmp_path: Path) -> Build:
    return fake(tmp_path / "everything")


@pytest.fixture
def hostile() -> list[str]:
    return HOSTILE
