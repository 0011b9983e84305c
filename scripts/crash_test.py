"""Kill a build with SIGKILL at random instants, resume it, and compare the result with an undisturbed one.

Several kills hit one build before it is allowed to finish. Compared byte by byte: plan, verdict, report, exports,
quarantine, and every column of the pool (Lance names its files at random, so the pool is compared by content).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RECIPE = Path(__file__).parents[1] / "recipes" / "quickstart.yaml"
CHANGES = ["proof.seeds=2", "plan.1.trials=16"]  # the same stages, less waiting


def start(recipe: Path, out: Path, workers: int, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", "from tilth.cli import main; main()", "build", str(recipe), *CHANGES]
    command += ["--out", str(out), "--workers", str(workers)]
    with open(log, "ab") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)


def digest(out: Path) -> dict[str, str]:
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
    rng = np.random.default_rng(args.seed)
    folder = Path(tempfile.mkdtemp(prefix="tilth-crash-"))
    log = folder / "log"
    for _ in range(2):  # the first build compiles kernels, the second tells how long a build takes
        shutil.rmtree(folder / "whole", ignore_errors=True)
        began = time.monotonic()
        if start(args.recipe, folder / "whole", args.workers, log).wait() != 0:
            sys.stdout.write(log.read_text()[-2000:])
            return 1
        took = time.monotonic() - began
    wanted = digest(folder / "whole")
    kills, early, builds, broken = 0, 0, 0, 0
    while kills < args.kills:
        out = folder / f"killed{builds}"
        builds += 1
        for _ in range(min(args.per_build, args.kills - kills)):
            process = start(args.recipe, out, args.workers, log)
            try:
                process.wait(timeout=float(rng.uniform(0.2, took)))
                early += 1  # it finished before its time came
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                kills += 1
        finish = start(args.recipe, out, args.workers, log)
        code = finish.wait()
        got = digest(out) if code == 0 else {}
        differ = [name for name in {*wanted, *got} if wanted.get(name) != got.get(name)]
        broken += bool(differ)
        sys.stdout.write(f"build {builds}: exit {code}, {kills} kills so far, {len(differ)} differences {differ[:5]}\n")
        sys.stdout.flush()
        if code != 0:
            sys.stdout.write(log.read_text()[-2000:])
        shutil.rmtree(out)
    sys.stdout.write(
        f"{kills} kills over {builds} builds of {took:.1f} s ({early} came too late): {builds - broken} ended "
        f"byte-identical to the undisturbed build ({len(wanted)} things compared), {broken} did not\n"
    )
    shutil.rmtree(folder)
    return int(broken > 0)


if __name__ == "__main__":
    sys.exit(main())
