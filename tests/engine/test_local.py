"""Workers: they end with the process that started them, and remember what they are asked to."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tilth.core import Run
from tilth.engine.local import Workers

SECONDS = 30.0


def told_then_asleep(folder: Path) -> None:
    """Say who is at work, then be busy for longer than the test may last."""
    (folder / str(os.getpid())).touch()
    time.sleep(10 * SECONDS)


def keep_busy(folder: Path) -> None:
    with Workers(2, Run().progress) as workers:
        workers.map(told_then_asleep, [folder] * 4, "waiting")


def gone(pid: int) -> bool:
    """Whether a process has ended; one whose exit nobody has asked for yet has ended too."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="asks Linux for the state of processes")
def test_workers_do_not_outlive_a_parent_that_was_killed_alone(tmp_path: Path) -> None:
    code = f"from pathlib import Path; from {__name__} import keep_busy; keep_busy(Path({str(tmp_path)!r}))"
    command = [sys.executable, "-c", f"if __name__ == '__main__': {code}"]
    parent = subprocess.Popen(
        command, cwd=Path(__file__).parents[2], env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    )
    until = time.monotonic() + SECONDS
    while len(found := [int(p.name) for p in tmp_path.iterdir()]) < 2:
        assert time.monotonic() < until, "the workers did not start"
        time.sleep(0.05)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until = time.monotonic() + SECONDS
    while not all(gone(pid) for pid in found) and time.monotonic() < until:
        time.sleep(0.05)
    left = [pid for pid in found if not gone(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left, f"{len(left)} of {len(found)} workers went on without their parent"


def test_only_what_is_worth_it_is_remembered(tmp_path: Path) -> None:
    workers = Workers(1, Run().progress)
    calls: list[int] = []

    def halved(value: int) -> int | str:
        calls.append(value)
        return value // 2 if value % 2 == 0 else "odd"

    def is_number(value: object) -> bool:
        return isinstance(value, int)

    for _ in range(2):
        assert workers.map(halved, [4, 5, 6], "halves", tmp_path, keep=is_number) == [2, "odd", 3]
    assert calls == [4, 5, 6, 5]


def test_nothing_of_a_pool_is_left_when_its_work_is_done_and_a_failure_does_not_wait() -> None:
    with Workers(2, Run().progress) as workers:
        assert workers.map(abs, [-1, -2, -3], "work") == [1, 2, 3]
        own: Any = vars(workers._start())["_executor_manager_thread"]
        assert own.is_alive()
    assert not own.is_alive()
    workers = Workers(2, Run().progress)
    sleeping = [workers._start().submit(time.sleep, 5) for _ in range(2)]
    while not all(future.running() for future in sleeping):
        time.sleep(0.01)
    began = time.monotonic()
    workers.__exit__(ZeroDivisionError, None, None)
    assert time.monotonic() - began < 4, "what is still at work is abandoned"
