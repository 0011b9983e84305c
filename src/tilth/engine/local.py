"""Independent work in a pool of processes, remembered item by item so that a killed run resumes."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import cache
from multiprocessing.connection import wait as wait_for
from pathlib import Path
from typing import Any

from tilth.core.errors import PoolError
from tilth.core.files import no_space, write_atomic
from tilth.core.run import Progress

__all__ = ["Workers", "no_space", "write_atomic"]

ATTEMPTS = 3
TRIM_EVERY = 1.0
"""Seconds between two returns of freed memory by a process: each makes the pages that follow be mapped anew, which on
pieces of a few milliseconds costs a third of the time."""


@dataclass
class Workers:
    """A process pool that is started when first needed and lives until `close`.

    Attributes:
        count: processes; 1 runs everything in this process.
        progress: how progress is shown.
    """

    count: int
    progress: Progress
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        self.close(wait=failed is None)

    def close(self, wait: bool = False) -> None:
        """Stop the processes; unfinished work is abandoned.

        Args:
            wait: until they are gone. Where all work is done this takes a moment, and an interpreter that ends in that
                moment trips over the pool's half-closed pipe and prints a traceback.
        """
        if self._pool is not None:
            self._pool.shutdown(wait=wait, cancel_futures=True)
            self._pool = None

    def map(
        self,
        func: Callable[[Any], Any],
        items: Sequence[Any],
        label: str,
        memory: Path | None = None,
        keep: Callable[[Any], bool] = lambda value: True,
    ) -> list[Any]:
        """`func` of every item, in order.

        Args:
            memory: a folder where each finished result is kept under its item's ``key`` (or its position);
                results already there are not computed again. None remembers nothing.
            keep: whether a result is worth remembering.
        """
        results: dict[int, Any] = {}
        files = [memory / f"{getattr(item, 'key', f'{i:06d}')}.pkl" if memory else None for i, item in enumerate(items)]
        todo = []
        for i, file in enumerate(files):
            if file is not None and file.exists():
                results[i] = pickle.loads(file.read_bytes())
            else:
                todo.append(i)

        def finished() -> Iterator[None]:
            for i, value in self._run(func, [(i, items[i]) for i in todo]):
                if (file := files[i]) is not None and keep(value):
                    write_atomic(file, pickle.dumps(value, protocol=5))
                results[i] = value
                yield

        for _ in self.progress(finished(), label, len(todo)):
            pass
        _give_back()
        return [results[i] for i in range(len(items))]

    def _run(self, func: Callable[[Any], Any], work: list[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        if self.count <= 1 or len(work) <= 1:
            for i, item in work:
                yield i, func(item)
            return
        for attempt in range(1, ATTEMPTS + 1):
            done: set[int] = set()
            try:
                for i, value in self._submit(func, work):
                    done.add(i)
                    yield i, value
                return
            except BrokenProcessPool:
                self.close()
                work = [pair for pair in work if pair[0] not in done]
                if attempt == ATTEMPTS:
                    raise PoolError(
                        f"A worker process died {ATTEMPTS} times with {len(work)} pieces of work left: most likely "
                        f"it ran out of memory. Try fewer processes (`--workers 1`); finished pieces are kept."
                    ) from None

    def _submit(self, func: Callable[[Any], Any], work: list[tuple[int, Any]]) -> Iterator[tuple[int, Any]]:
        """Keep a few items per process in flight, so that results waiting here stay few."""
        pool = self._start()
        queue = iter(work)
        pending: dict[Future[Any], int] = {}
        while True:
            while len(pending) < 2 * self.count and (nxt := next(queue, None)) is not None:
                pending[pool.submit(_tidy, func, nxt[1])] = nxt[0]
            if not pending:
                return
            for future in wait(pending, return_when=FIRST_COMPLETED).done:
                yield pending.pop(future), future.result()

    def _start(self) -> ProcessPoolExecutor:
        if self._pool is None:
            os.environ.setdefault("MALLOC_ARENA_MAX", "2")  # or each of Lance's threads keeps memory of its own
            context = multiprocessing.get_context("forkserver")
            self._pool = ProcessPoolExecutor(self.count, mp_context=context, initializer=_quiet_worker)
        return self._pool


def _tidy(func: Callable[[Any], Any], item: Any) -> Any:
    """Run a piece of work and return what memory it freed to the system: workers live long and take many pieces."""
    value = func(item)
    if time.monotonic() - _given.get("back", 0.0) > TRIM_EVERY:
        _give_back()
    return value


_given: dict[str, float] = {}  # when this process last gave memory back


def _give_back() -> None:
    import pyarrow as pa

    _given["back"] = time.monotonic()
    pa.default_memory_pool().release_unused()
    if (trim := _malloc_trim()) is not None:
        trim(0)


@cache
def _malloc_trim() -> Callable[[int], int] | None:
    """glibc's, where there is one."""
    found: Callable[[int], int] | None = getattr(ctypes.CDLL(None), "malloc_trim", None)
    return found


def _quiet_worker() -> None:
    """Workers leave Ctrl-C to the parent, do not outlive it and do not oversubscribe the cores."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    os.environ.setdefault("LANCE_CPU_THREADS", "1")
    os.environ.setdefault("RAYON_NUM_THREADS", "1")


def _end_with_parent() -> None:
    """A parent that is killed alone tells nobody: its workers would finish their piece and then wait for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None, "this process has no parent that started it"
    wait_for([parent.sentinel])
    os._exit(1)
