"""What five signals cost together, next to the dearest of them alone; and the memory that a million records take.

    python benchmarks/shared_training.py --data ../shared/data
    python benchmarks/shared_training.py --data ../shared/data --records 1000000

cartography, el2n, grand, tracin and influence_average watch one training of the linear model on CLINC150 (150 classes,
intents of one sentence). Each is scored on a fresh pool, then all on one, then all again. The peer is the same code
that does not share. With --records the set is repeated, each copy with a word of its own, and only the five together
are scored; memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from tilth.core import Budget, Goal, Run, Signal, TablePool
from tilth.engine.apply import apply
from tilth.engine.imports import Files, import_files
from tilth.engine.local import Workers
from tilth.engine.store import StoredPool
from tilth.io.detect import detect
from tilth.io.streams import blocks, lines
from tilth.signals.difficulty.cartography import Cartography
from tilth.signals.difficulty.el2n import El2n
from tilth.signals.difficulty.grand import Grand
from tilth.signals.influence.influence_average import InfluenceAverage
from tilth.signals.influence.tracin import Tracin

SIGNALS: tuple[Signal[Any], ...] = (Cartography(), El2n(), Grand(), Tracin(), InfluenceAverage())
GOAL = 1000  # records that are the target, not in the pool


def read(data: Path) -> tuple[list[dict[str, str]], Goal]:
    rows = [orjson.loads(line) for _, line, _ in lines(blocks(data / "C_labeled" / "clinc150.jsonl.zst"))]
    rows = [{"text": row["text"], "label": row["label"]} for row in rows]
    order = np.random.default_rng(0).permutation(len(rows))
    rows = [rows[i] for i in order]
    target = TablePool(pa.Table.from_pylist([row | {"id": f"t{i}"} for i, row in enumerate(rows[:GOAL])]), "labeled")
    return rows[GOAL:], Goal(target, target, Budget(1, "records"))


def stored(rows: list[dict[str, str]], count: int, folder: Path) -> StoredPool:
    """A pool of `count` records: the set again and again, each copy with a word of its own."""
    file = folder / "rows.jsonl"
    with open(file, "wb") as sink:
        for i in range(count):
            copy, row = i // len(rows), rows[i % len(rows)]
            text = row["text"] + (f" copy{copy}" if copy else "")
            sink.write(orjson.dumps({"id": str(i), "text": text, "label": row["label"]}) + b"\n")
    with open(file) as source:
        layout = detect([orjson.loads(line) for line in islice(source, 100)])
    return import_files([Files("a", (file,), layout, {})], "labeled", folder / "pool", Workers(1, Run().progress))


def seconds(signals: Sequence[Signal[Any]], pool: StoredPool, goal: Goal, workers: int) -> tuple[float, StoredPool]:
    began = time.monotonic()
    for signal in signals:
        pool = apply(signal, pool, goal, Run(), Workers(workers, Run().progress))
    return time.monotonic() - began, pool


def say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--records", type=int, default=0, help="score this many records, and tell the memory")
    parser.add_argument("--repeats", type=int, default=3, help="of every timing; the least counts")
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    rows, goal = read(args.data)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.records:
            (folder / "large").mkdir()
            pool = stored(rows, args.records, folder / "large")
            took, pool = seconds(SIGNALS, pool, goal, args.workers)
            most = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
            disk = sum(f.stat().st_size for f in (pool.folder / "shared").iterdir()) / 1e6
            say(f"{pool.count:,} records: {took:.0f} s, {most / 1024:,.0f} MB at most, {disk:,.0f} MB of models kept")
            return
        (folder / "warm").mkdir()
        seconds(SIGNALS, stored(rows, 500, folder / "warm"), goal, args.workers)  # compiles kernels
        alone: dict[str, float] = {}
        together, again = [], []
        for repeat in range(args.repeats):
            for signal in SIGNALS:
                (where := folder / f"{signal.name()}{repeat}").mkdir()
                took, _ = seconds([signal], stored(rows, len(rows), where), goal, args.workers)
                alone[signal.name()] = min(took, alone.get(signal.name(), took))
            (where := folder / f"all{repeat}").mkdir()
            took, pool = seconds(SIGNALS, stored(rows, len(rows), where), goal, args.workers)
            together.append(took)
            again.append(seconds(SIGNALS, pool, goal, args.workers)[0])
        for signal_name, took in alone.items():
            say(f"{signal_name:<20} alone {took:6.2f} s")
        dearest = max(alone.values())
        say(f"together {min(together):.2f} s: {min(together) / dearest:.2f}x the dearest alone, "
            f"{min(together) / sum(alone.values()):.2f}x their sum; a second call {min(again):.2f} s")  # fmt: skip


if __name__ == "__main__":
    main()
