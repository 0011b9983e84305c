"""Kill a build with SIGKILL at random instants, resume it, and compare the result with an undisturbed one.

Several kills hit one build before it is allowed to finish. Compared byte by byte: plan, verdict, report, exports,
quarantine, and every column of the pool (Lance names its files at random, so the pool is compared by content).
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from killing import Digest, tilth, torture

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
CHANGES = ["proof.seeds=2", "plan.1.trials=16"]  # the same stages, less waiting


def digest(out: Path) -> Digest:
    """What a user can see of a build, hashed: name -> hash."""
    from tilth.engine.store import StoredPool

    told = {}
    for path in sorted(p for p in out.rglob("*") if p.is_file()):
        name = path.relative_to(out).as_posix()
        seen = name in ("report.html", "proof/verdict.json", "pool/pool.json", "pool/quarantine.jsonl")
        if seen or name.startswith(("plan/", "export/")):
            told[name] = hashlib.sha256(path.read_bytes().replace(str(out).encode(), b"OUT")).hexdigest()
        assert not name.endswith(".tmp"), f"half-written file left behind: {name}"
    pool = StoredPool(out / "pool")
    for column in pool.schema.names:
        values = pool.column(column)
        told[f"pool/{column}"] = hashlib.sha256(repr((str(values.type), values.to_pylist())).encode()).hexdigest()
    return told


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--per-build", type=int, default=5, help="kills before a build may finish")
    parser.add_argument("--recipe", type=Path, default=RECIPE)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="tilth-crash-"))
    log = folder / "log"
    command = ["build", str(args.recipe), *CHANGES]
    for _ in range(2):  # the first build compiles kernels, the second tells how long a build takes
        shutil.rmtree(folder / "whole", ignore_errors=True)
        began = time.monotonic()
        if tilth(command, folder / "whole", args.workers, log).wait() != 0:
            sys.stdout.write(log.read_text()[-2000:])
            return 1
        took = time.monotonic() - began
    wanted = digest(folder / "whole")
    toll = torture(
        lambda out: tilth(command, out, args.workers, log), digest, wanted, folder, log,
        kills=args.kills, per_run=args.per_build, took=took, rng=np.random.default_rng(args.seed),
    )  # fmt: skip
    sys.stdout.write(
        f"{toll.kills} kills over {toll.runs} builds of {took:.1f} s ({toll.early} came too late): "
        f"{toll.runs - toll.broken} ended byte-identical to the undisturbed build ({len(wanted)} things compared), "
        f"{toll.broken} did not\n"
    )
    shutil.rmtree(folder)
    return int(toll.broken > 0)


if __name__ == "__main__":
    sys.exit(main())
