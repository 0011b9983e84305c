"""Where it came from and how it was made: sample records, quarantine, recipe, inputs, methods."""

from __future__ import annotations

import json
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tilth import __version__
from tilth.report.decided import pick
from tilth.report.markup import Markup, el, shown
from tilth.report.parts import NAME, SENTENCE, Paths, as_yaml, fold, note, record, section, table, take

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["made", "quarantine", "samples"]

SAMPLES, EXCERPT = 10, 600
REASONS = 1000  # different reasons that are counted by themselves
SHOWN = 50


def samples(build: Build) -> Markup:
    """A few records that are in the plan and a few that are not."""
    title, pool = "Sample records", build.pool
    if build.goal is None:
        ids = pool.column("id").combine_chunks()
        rows = pick(build, ids, np.ones(len(ids), bool), SAMPLES, "sample")
        return section("samples", title, [record(row, EXCERPT) for row in take(pool, rows, EXCERPT)])
    plan = build.plan
    inside = pick(build, plan.ids, plan.kept, SAMPLES, "in")
    outside = pick(build, plan.ids, ~plan.kept, SAMPLES, "out")
    kept = [
        record(row, EXCERPT, f"read {times} times" if times > 1 else "read once")
        for row, times in zip(take(pool, inside, EXCERPT), plan.repeats[inside].tolist(), strict=True)
    ]
    left = []
    for row, by in zip(take(pool, outside, EXCERPT), plan.dropped_by[outside].tolist(), strict=True):
        why = f"out by {by + 1}. {plan.decisions[by].policy.get('use', '?')}" if by >= 0 else "out"
        left.append(record(row, EXCERPT, why))
    return section(
        "samples", title,
        note("Drawn at random, the same ones each time this report is made. Characters that cannot be seen are "
             "made visible, such as ‹U+0000›."),
        el("h3", f"In the plan: {len(kept)} of {int(plan.kept.sum()):,}"), kept,
        el("h3", f"Not in the plan: {len(left)} of {int((~plan.kept).sum()):,}"), left or note("None."),
    )  # fmt: skip


def quarantine(build: Build, paths: Paths) -> Markup:
    """What could not be read, by reason."""
    title = "Quarantine"
    found: dict[tuple[str, str], list[object]] = {}
    total = 0
    file = build.out / "pool" / "quarantine.jsonl"
    with open(file, encoding="utf-8", errors="replace") if file.exists() else open("/dev/null") as lines:
        for line in lines:
            bad = json.loads(line)
            total += 1
            name, reason = str(bad.get("file") or ""), str(bad.get("reason") or "")
            name, reason = paths.file(name), paths.text(reason.replace(name, paths.file(name)) if name else reason)
            key = (str(bad.get("source") or ""), reason)
            if key not in found and len(found) >= REASONS:
                key = (key[0], "(other reasons)")
            first = [1, f"{name}, line {bad['line']}" if bad.get("line") else name, str(bad.get("excerpt") or "")]
            if key in found:
                found[key][0] = int(str(found[key][0])) + 1
            else:
                found[key] = first
    if not total:
        return section("quarantine", title, el("p", "Every line of every file could be read."))
    order = sorted(found.items(), key=lambda kv: (-int(str(kv[1][0])), kv[0]))[:SHOWN]
    rows = [
        [shown(reason, SENTENCE), shown(source, NAME), count, shown(where, 2 * NAME),
         el("pre", shown(excerpt, 200), dir="auto") if excerpt else None]
        for (source, reason), (count, where, excerpt) in order
    ]  # fmt: skip
    return section(
        "quarantine", title,
        el("p", f"{total:,} lines or files could not be used. They are in pool/quarantine.jsonl, and nowhere else."),
        table(["reason", "source", "lines", "first seen in", "how it begins"], rows, "Quarantine, by reason"),
    )  # fmt: skip


def made(build: Build, paths: Paths) -> Markup:
    """Everything needed to make it again."""
    inputs = [
        [el("bdi", shown(Path(str(file)).name, NAME)), shown(source, NAME), size, el("code", sha)]
        for source, file, size, sha in build.imported.origin["files"]
    ]
    methods = {**build.signals}
    parts = [
        ("signal", [(name, signal.describe()) for name, signal in methods.items()]),
        ("policy", [(p.name(), p.describe()) for p in build.policies]),
        ("proof", [(build.proof.name(), build.proof.describe())] if build.proof else []),
    ]
    described = [
        fold([noun, " ", el("code", shown(name, NAME))], as_yaml(about)) for noun, all_ in parts for name, about in all_
    ]
    goal = build.goal
    facts = [["seed", str(build.recipe.seed)], ["records", f"{build.pool.count:,} of kind {build.pool.kind}"]]
    if goal is not None:
        facts.append(["goal", f"{goal.target.count:,} target items, {goal.holdout.count:,} holdout items"])
        facts.append(["plan", build.plan.fingerprint])
    facts.append(["pool", build.pool.fingerprint])
    facts += [[name, found] for name, found in _versions()]
    recipe = build.recipe.model_dump(mode="json", exclude_unset=True)
    recipe |= {part: paths.files(recipe[part]) for part in ("sources", "goal") if part in recipe}
    return section(
        "made", "How it was made",
        el("h3", "Recipe"), as_yaml(recipe),
        table(["fact", "value"], facts, "Seed, fingerprints and versions"),
        table(["file", "source", "bytes", "sha256"], inputs, "Input files"),
        el("h3", "Methods"), described or note("None."),
    )  # fmt: skip


def _versions() -> list[tuple[str, str]]:
    found = [("tilth", __version__), ("python", platform.python_version())]
    for name in ("numpy", "pyarrow", "pylance", "duckdb"):
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            found.append((name, "not installed"))
    return found
