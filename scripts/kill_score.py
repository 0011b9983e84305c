"""Kill the scoring of five signals that share trainings at random instants, resume it, and compare every column.

The signals watch the same training of a linear model, and of a small transformer; a pool with planted wrong labels is
imported once. Only `tilth score` is killed, with its workers, and every start draws its number of workers anew. All
columns are compared value by value. Nothing half-written may be left behind.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from killing import Digest, tilth, torture

from tilth.core import Run
from tilth.engine.store import StoredPool
from tilth.probes.label_noise import LabelNoise

NAMES = ("cartography", "el2n", "grand", "tracin", "influence_average")
LEARNERS = {"linear": {"seeds": 3, "passes": 6}, "encoder": {"model": "encoder", "seeds": 2, "passes": 2, "depth": 1}}
RECORDS = 6000
WORKERS = (1, 2, 3)


def digest(out: Path) -> Digest:
    """Every column of the pool, hashed: name -> hash."""
    assert not list(out.rglob("*.tmp")), "half-written files left behind"
    pool = StoredPool(out / "pool")
    told = {}
    for name in pool.schema.names:
        column = pool.column(name)
        told[name] = hashlib.sha256(repr((str(column.type), column.to_pylist())).encode()).hexdigest()
    return told


def prepare(folder: Path) -> Path:
    """Records, target, holdout and recipe."""
    for name, seed, count in (("rows", 0, RECORDS), ("target", 1, 100), ("holdout", 2, 100)):
        table = LabelNoise(flip=0.1).build(count, Run(seed=seed)).pool.table(["text", "label"])
        lines = [json.dumps(row | {"id": f"{name}{i}"}) for i, row in enumerate(table.to_pylist())]
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    signals = [{"use": name, "as": f"{name}_{kind}", "learner": fields}
               for name in NAMES for kind, fields in LEARNERS.items()]  # fmt: skip
    goal = {"target": "target.jsonl", "holdout": "holdout.jsonl", "budget": "1000 records"}
    recipe = {"sources": {"rows": "rows.jsonl"}, "goal": goal, "signals": signals, "decontaminate": False}
    (folder / "recipe.yaml").write_text(json.dumps(recipe))
    return folder / "recipe.yaml"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--per-pool", type=int, default=4, help="kills before a scoring may finish")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tilth-kill-"))
    log, ready = folder / "log", folder / "ready"
    recipe = str(prepare(folder))
    rng = np.random.default_rng(args.seed)
    if tilth(["import", recipe], ready, 2, log).wait() != 0:
        sys.stdout.write(log.read_text()[-2000:])
        return 1

    def begin(out: Path) -> None:
        shutil.copytree(ready, out)

    def start(out: Path) -> subprocess.Popen[bytes]:
        return tilth(["score", recipe], out, int(rng.choice(WORKERS)), log)

    for _ in range(2):  # the first compiles kernels, the second tells how long it takes
        shutil.rmtree(folder / "whole", ignore_errors=True)
        begin(folder / "whole")
        began = time.monotonic()
        if start(folder / "whole").wait() != 0:
            sys.stdout.write(log.read_text()[-2000:])
            return 1
        took = time.monotonic() - began
    wanted = digest(folder / "whole")
    toll = torture(
        start, digest, wanted, folder, log,
        kills=args.kills, per_run=args.per_pool, took=took, rng=np.random.default_rng(args.seed), begin=begin,
    )  # fmt: skip
    sys.stdout.write(
        f"{toll.kills} kills over {toll.runs} scorings of {took:.1f} s ({toll.early} came too late): "
        f"{toll.runs - toll.broken} ended with identical columns ({len(wanted)} compared), {toll.broken} did not\n"
    )
    shutil.rmtree(folder)
    return int(toll.broken > 0)


if __name__ == "__main__":
    sys.exit(main())
