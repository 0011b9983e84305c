"""What a build will take, before anything runs: tokens, minutes, memory, disk."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.plan import Plan
from tilth.core.policy import Policy
from tilth.core.pool import TablePool
from tilth.core.records import render, schema
from tilth.core.run import Run
from tilth.engine.apply import score_in_memory
from tilth.io.importer import chunks

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["Forecast", "estimate"]

SAMPLE = 256 << 10  # bytes of text read of each source
PROCESS_MB = 350  # a process with Lance, Arrow and the kernels loaded
FRAGMENT_MB = 4 * 32  # a fragment's text, its scores and what reading holds
RECORD_BYTES = 160  # ids, plan and state per record in the main process
IMPORT_MB_S = 40.0  # parsing and writing, per process


@dataclass(frozen=True)
class Forecast:
    """What a build will take. Sizes come from a sample of each source, times from running each step on it."""

    records: int
    tokens: int | None
    plan_tokens: int | None
    text_mb: float
    minutes: float
    steps: dict[str, float]
    peak_memory_mb: int
    disk_mb: int

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        steps = ", ".join(f"{name} {minutes:.1f}" for name, minutes in self.steps.items())
        tokens = "" if self.tokens is None else f", about {self.tokens:,} tokens; the plan reads {self.plan_tokens:,}"
        return (
            f"pool     about {self.records:,} records, {self.text_mb:,.0f} MB of text{tokens}\n"
            f"time     about {self.minutes:.1f} minutes ({steps})\n"
            f"memory   about {self.peak_memory_mb:,} MB at most, all processes together\n"
            f"disk     about {self.disk_mb:,} MB under the output folder\n"
            f"nothing was run; estimates come from a sample of each source and are good to about a factor of 1.5"
        )


def estimate(job: Build, policies: Mapping[str, Policy] | None = None, trials: float = 0.0) -> Forecast:
    """Read a sample of each source, time each step on it and scale up.

    Args:
        policies: candidates of a tournament, each of which is planned and tried in place of the recipe's plan.
        trials: how many trials of full scale the tournament costs per seed.
    """
    tables, text_bytes, records = [], 0.0, 0.0
    for files in job.files:
        part = _sample(files.paths[0], files, job)
        size = pc.sum(pc.binary_length(render(job.kind, part))).as_py() or 1
        whole = sum(_text_size(path, part, size) for path in files.paths)
        text_bytes += whole
        records += len(part) * whole / size
        tables.append(part)
    sample = TablePool(pa.concat_tables(tables), job.kind)
    sample_bytes = sum(pc.sum(pc.binary_length(render(job.kind, t))).as_py() or 0 for t in tables)
    scale = text_bytes / max(sample_bytes, 1)
    workers = job.workers.count
    steps = {"import": text_bytes / 1e6 / IMPORT_MB_S / workers / 60}
    column_bytes = 0
    run = Run(seed=job.recipe.seed)
    for name, signal in job.signals.items():
        if not all(c in sample.column_names() for c in signal.needs):
            continue
        try:
            score_in_memory(signal, sample, job.goal, run)  # compiles kernels and fills caches
        except Exception:
            if job.must_have(name):
                raise
            continue
        began = time.monotonic()
        made = score_in_memory(signal, sample, job.goal, run)
        steps[name] = (time.monotonic() - began) * scale / workers / 60
        column = made.table([signal.name()]).column(0)
        column_bytes += column.nbytes
        sample = sample.with_column(name, column)
    tokens = plan_tokens = None
    if job.goal is not None and job.goal.budget.unit == "tokens":
        count = float(np.nansum(sample.column("tokens.count").to_numpy()))
        tokens = round(count * scale)
        plan_tokens = min(job.goal.budget.amount, tokens * 4)
    if job.proof is not None and job.goal is not None and job.recipe.proof is not None:
        plan = Plan.everything(sample, job.goal.budget)
        job.proof.trial(plan, sample, job.goal, run)
        began = time.monotonic()
        job.proof.trial(plan, sample, job.goal, run)
        once = time.monotonic() - began
        # Every plan is tried at full and at half scale, and a trial of half the scale costs half.
        count = 1.5 * (len(job.recipe.proof.against) + 1) if policies is None else trials
        steps["proof"] = once * count * job.recipe.proof.seeds / workers / 60
        for name, policy in (policies or {}).items():
            steps[f"plan of {name}"] = _planning(policy, plan, sample, job) * scale / 60
    exports = (plan_tokens or 0) / max(tokens or 1, 1) * text_bytes * len(job.recipe.export)
    disk = text_bytes + column_bytes * scale + exports
    memory = PROCESS_MB * (1 + workers) + FRAGMENT_MB * workers + RECORD_BYTES * records / 1e6
    return Forecast(
        records=round(records),
        tokens=tokens,
        plan_tokens=plan_tokens,
        text_mb=text_bytes / 1e6,
        minutes=sum(steps.values()),
        steps=steps,
        peak_memory_mb=round(memory),
        disk_mb=round(disk / 1e6),
    )


def _planning(policy: Policy, plan: Plan, sample: TablePool, job: Build) -> float:
    """Seconds to plan the sample; 0 for a policy that fails on it, which a tournament names and leaves out."""
    assert job.goal is not None
    began = time.monotonic()
    try:
        policy.revise(plan, sample, job.goal.blind(), Run(seed=job.recipe.seed))
    except Exception:
        return 0.0
    return time.monotonic() - began


def _sample(path: Path, files: Any, job: Build) -> pa.Table:
    found = chunks(path, files.layout, files.source, files.defaults, SAMPLE)
    parts = [chunk.table for chunk in islice(found, 1)]
    return pa.concat_tables(parts) if parts else schema(job.kind).empty_table()


def _text_size(path: Path, part: pa.Table, sample_bytes: int) -> float:
    """Bytes of text in a file: its uncompressed size, less what is not text in the sample's records."""
    size = float(path.stat().st_size) if path.is_file() else float(sum(p.stat().st_size for p in path.rglob("*")))
    share = sample_bytes / max(part.nbytes, 1)
    return float(size * _expansion(path) * min(share, 1.0))


def _expansion(path: Path) -> float:
    """Uncompressed bytes per byte on disk, from the first few megabytes of a compressed file."""
    if path.suffix == ".zst":
        import zstandard

        with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as stream:
            out = len(stream.read(8 << 20))
            if len(stream.read(1)) == 0:
                return out / max(path.stat().st_size, 1)
            return out / max(file.tell(), 1)
    if path.suffix == ".gz":
        import gzip

        with open(path, "rb") as file, gzip.open(file) as stream:
            out = len(stream.read(8 << 20))
            return out / max(min(file.tell(), path.stat().st_size), 1)
    if path.suffix == ".parquet":
        import pyarrow.parquet as pq

        meta = pq.ParquetFile(path).metadata
        groups = [meta.row_group(i) for i in range(meta.num_row_groups)]
        return float(sum(g.total_byte_size for g in groups) / max(path.stat().st_size, 1))
    return 1.0
