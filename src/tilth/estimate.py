"""What a build will take, before anything runs: tokens, minutes, memory, disk."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.goal import Goal
from tilth.core.plan import Plan
from tilth.core.policy import Policy
from tilth.core.pool import Pool, TablePool
from tilth.core.proof import Proof
from tilth.core.records import render, schema
from tilth.core.run import Run
from tilth.core.signal import Training
from tilth.engine.apply import SMALL, score_in_memory
from tilth.engine.prove import reason
from tilth.io.importer import chunks

if TYPE_CHECKING:
    from tilth.build import Build

__all__ = ["Forecast", "estimate", "trial_seconds"]

SAMPLE = 256 << 10  # bytes of text read of each source
FEW = 96 << 10  # bytes of text on which trainings are tried
PROCESS_MB = 350  # a process with Lance, Arrow and the kernels loaded
FRAGMENT_MB = 4 * 32  # a fragment's text, its scores and what reading holds
RECORD_BYTES = 160  # ids, plan and state per record in the main process
IMPORT_MB_S = 40.0  # parsing and writing, per process
HALVINGS, FIRST = 6, 4  # of the proof's scale at most; of the first trial that is timed
ENOUGH = 2.0  # seconds of trials of different scales, after which no larger one is tried


@dataclass(frozen=True)
class Forecast:
    """What a build will take. Sizes come from a sample of each source, times from running each step on it.

    Attributes:
        proof_scale: the largest part of the proof's scale that was tried; its time is extrapolated from there.
        untimed: what failed on the sample, with the reason; its time is missing from `minutes`.
    """

    records: int
    tokens: int | None
    plan_tokens: int | None
    text_mb: float
    minutes: float
    steps: dict[str, float]
    peak_memory_mb: int
    disk_mb: int
    proof_scale: float = 1.0
    untimed: dict[str, str] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data for ``--json``."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        steps = ", ".join(f"{name} {_duration(minutes)}" for name, minutes in self.steps.items())
        tokens = "" if self.tokens is None else f", about {self.tokens:,} tokens; the plan reads {self.plan_tokens:,}"
        scaled = f"the proof's time from trials of up to 1/{1 / self.proof_scale:.0f} of its scale, to about twice it\n"
        return (
            f"pool     about {self.records:,} records, {self.text_mb:,.0f} MB of text{tokens}\n"
            f"time     about {_duration(self.minutes)} ({steps})\n"
            f"memory   about {self.peak_memory_mb:,} MB at most, all processes together\n"
            f"disk     about {self.disk_mb:,} MB under the output folder\n"
            f"nothing was run; estimates come from a sample of each source and are good to about a factor of 1.5"
            + (f";\n{scaled}" if self.proof_scale < 1 else "")
            + "".join(f"\nnot in it {name}, which failed on the sample: {why}" for name, why in self.untimed.items())
        )


def _duration(minutes: float) -> str:
    return f"{minutes:.1f} min" if minutes >= 1 else f"{minutes * 60:.1f} s"


def estimate(
    job: Build, policies: Mapping[str, Policy] | None = None, trials: float = 0.0, prove: bool = True
) -> Forecast:
    """Read a sample of each source, time each step on it and scale up.

    Args:
        prove: whether the proof and the exports are part of it, or the signals only.
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
    at_once = workers if text_bytes >= SMALL else 1
    steps = {"import": text_bytes / 1e6 / IMPORT_MB_S / workers / 60}
    column_bytes = kept_bytes = 0.0
    untimed: dict[str, str] = {}
    run = Run(seed=job.recipe.seed, device=job.device)
    models: dict[Training, str] = {}  # what is trained, once whoever asks -> the step's name
    for name, signal in job.signals.items():
        if not all(c in sample.column_names() for c in signal.needs):
            continue
        part, times = sample, scale
        if signal.training:  # models are tried small and on few records
            rows = _few(sample, run)
            part = TablePool(sample.table(sample.schema.names).take(pa.array(rows)), job.kind)
            times = scale * sample.count / rows.size
        try:
            with tempfile.TemporaryDirectory() as folder:
                here = replace(run, shared=Path(folder))
                for learner in signal.training.values():
                    learner.forecast(part, times, run)  # imports, compiles kernels
                    seconds, kept = learner.forecast(part, times, here)
                    if learner not in models:
                        models[learner] = f"train {learner.told}" + " again" * (f"train {learner.told}" in steps)
                        steps[models[learner]] = seconds / (workers if learner.dear else at_once) / 60
                        kept_bytes += kept
                small = signal.model_copy(update={field: value.small() for field, value in signal.training.items()})
                score_in_memory(small, part, job.goal, here)  # compiles kernels and fills caches
                began = time.monotonic()
                made = score_in_memory(small, part, job.goal, here)
                took = time.monotonic() - began
        except Exception as error:  # the build leaves such a signal out too, and says so
            if job.must_have(name):
                raise
            untimed[name] = reason(error)
            continue
        steps[name] = took * times / (1 if signal.training else at_once) / 60
        column = made.table([signal.name()]).column(0)
        column_bytes += column.nbytes * times
        if part is not sample:  # the other records' values are unknown
            place = np.full(sample.count, -1)
            place[rows] = np.arange(rows.size)
            column = column.take(pa.array(place, mask=place < 0))
        sample = sample.with_column(name, column)
    tokens = plan_tokens = None
    if job.goal is not None and job.goal.budget.unit == "tokens":
        count = float(np.nansum(sample.column("tokens.count").to_numpy()))
        tokens = round(count * scale)
        plan_tokens = min(job.goal.budget.amount, tokens * 4)
    proof_scale = 1.0
    if prove and job.proof is not None and job.goal is not None and job.recipe.proof is not None:
        plan = Plan.everything(sample, job.goal.budget)
        once, proof_scale = trial_seconds(job.proof, plan, sample, job.goal, job.recipe.proof.seeds, run)
        # Every plan is tried at full and at half scale, and a trial of half the scale costs half.
        count = 1.5 * (len(job.recipe.proof.against) + 1) if policies is None else trials
        steps["proof"] = once * count * job.recipe.proof.seeds / workers / 60
        for name, policy in (policies or {}).items():
            try:
                steps[f"plan of {name}"] = _planning(policy, plan, sample, job) * scale / 60
            except Exception as error:  # the tournament names such a policy and goes on without it
                untimed[f"plan of {name}"] = reason(error)
    exports = (plan_tokens or 0) / max(tokens or 1, 1) * text_bytes * len(job.recipe.export) * prove
    disk = text_bytes + column_bytes + kept_bytes + exports
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
        proof_scale=proof_scale,
        untimed=untimed,
    )


def trial_seconds(proof: Proof, plan: Plan, pool: Pool, goal: Goal, seeds: int, run: Run) -> tuple[float, float]:
    """Seconds of one trial at full scale, and the largest part of the scale that was tried to know them.

    From 1/16 of the scale up, until two trials are long enough to be measured or the sample too short for a larger one.
    What a trial takes is a part that does not depend on its scale, such as measuring the holdout, and one in proportion
    to it: two scales tell them apart. (Far smaller ones mislead: a run of two steps measures the holdout twice only.)

    Args:
        plan: all of the sample.
    """
    sizes = [proof]
    while len(sizes) <= HALVINGS and (half := sizes[-1].smaller()).fingerprint() != sizes[-1].fingerprint():
        sizes.append(half)
    # A seed reads its piece of the plan, and of that no more than the proof's own limit.
    read = min(goal.budget.amount / seeds, proof.describe().get(goal.budget.unit, float("inf")))
    scales: list[float] = []
    times: list[float] = []

    def piece(halvings: int) -> Plan:
        return plan.part(0, max(1, int(plan.amount * 2**halvings / read)), run.at("estimate"))

    deepest = len(sizes) - 1
    sizes[-1].trial(piece(deepest), pool, goal, run)  # imports, compiles kernels, fills caches
    for halvings in sorted({*range(min(FIRST, deepest), -1, -2), 0}, reverse=True):
        if times and (read / 2**halvings > plan.amount or (len(times) > 1 and sum(times) > ENOUGH)):
            break
        began = time.monotonic()
        sizes[halvings].trial(piece(halvings), pool, goal, run)
        times.append(time.monotonic() - began)
        scales.append(0.5**halvings)
    if len(times) == 1:
        return times[0] / scales[0], scales[0]
    slope = max(times[-1] - times[0], 0.0) / (scales[-1] - scales[0])
    return min(times[-1] + slope * (1 - scales[-1]), times[-1] / scales[-1]), scales[-1]


def _few(sample: TablePool, run: Run) -> npt.NDArray[np.int64]:
    """Records at random, in the sample's order, of `FEW` bytes of text together."""
    order = run.rng("few").permutation(sample.count)
    size = pc.fill_null(pc.binary_length(sample.column("text")), 0).to_numpy()[order]
    return np.sort(order[: max(2, int(np.searchsorted(np.cumsum(size), FEW)))])


def _planning(policy: Policy, plan: Plan, sample: TablePool, job: Build) -> float:
    """Seconds to plan the sample."""
    assert job.goal is not None
    began = time.monotonic()
    policy.revise(plan, sample, job.goal.blind(), Run(seed=job.recipe.seed))
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
