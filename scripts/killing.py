"""What the crash tests share: start a command, kill its process group at random, compare what it ends with."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

Digest = dict[str, str]
"""What is compared: name -> hash."""


@dataclass
class Toll:
    """How it went: kills that hit, those that came too late, runs, and runs that ended differently."""

    kills: int = 0
    early: int = 0
    runs: int = 0
    broken: int = 0


def tilth(arguments: Sequence[str], out: Path, workers: int, log: Path) -> subprocess.Popen[bytes]:
    """Start a tilth command in a process group of its own."""
    command = [sys.executable, "-c", "from tilth.cli import main; main()", *arguments]
    command += ["--out", str(out), "--workers", str(workers)]
    with open(log, "ab") as sink:
        return subprocess.Popen(command, stdout=sink, stderr=sink, start_new_session=True)


def killed(process: subprocess.Popen[bytes], seconds: float) -> bool:
    """Wait, then kill the process and all its workers; False when it ended before its time came."""
    try:
        process.wait(timeout=seconds)
        return False
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return True


def torture(
    start: Callable[[Path], subprocess.Popen[bytes]],
    digest: Callable[[Path], Digest],
    wanted: Digest,
    folder: Path,
    log: Path,
    *,
    kills: int,
    per_run: int,
    took: float,
    rng: np.random.Generator,
    begin: Callable[[Path], object] = lambda out: None,
    dead: Callable[[Path], object] = lambda out: None,
) -> Toll:
    """Kill runs at random instants, let each finish after `per_run` kills, and compare what it ends with.

    Args:
        start: starts a run in a folder, or resumes it.
        begin: prepares a folder.
        dead: looks at a folder whose run was just killed.
    """
    toll = Toll()
    while toll.kills < kills:
        out = folder / f"killed{toll.runs}"
        begin(out)
        toll.runs += 1
        for _ in range(min(per_run, kills - toll.kills)):
            if not killed(start(out), float(rng.uniform(0.2, took))):
                toll.early += 1
                break
            toll.kills += 1
            dead(out)
        code = start(out).wait()
        got = digest(out) if code == 0 else {}
        differ = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
        toll.broken += bool(differ)
        sys.stdout.write(
            f"run {toll.runs}: exit {code}, {toll.kills} kills so far, {len(differ)} differences {differ[:5]}\n"
        )
        sys.stdout.flush()
        if code != 0:
            sys.stdout.write(log.read_text()[-2000:])
        shutil.rmtree(out)
    return toll
