from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from tilth.core import Goal, Pool, PureSignal, Run, Signal
from tilth.core.errors import BadInput, MissingColumns, NoSpace, PoolCorrupt, PoolError, PoolLocked, WrongColumns
from tilth.engine.apply import apply, signal_state
from tilth.engine.imports import Files, import_files
from tilth.engine.local import Workers, no_space, write_atomic
from tilth.engine.store import StoredPool, locked
from tilth.io.detect import detect

QUIET = Run().progress


class Length(PureSignal):
    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"bytes": pa.int32(), "parity": pa.string()}

    def map(self, batch: pa.RecordBatch, run: Run) -> Mapping[str, Any]:
        size = pc.binary_length(pc.fill_null(batch.column("text"), ""))
        return {"bytes": size, "parity": [None if n % 7 == 0 else "odd" if n % 2 else "even" for n in size.to_pylist()]}


class Mean(Signal[float]):
    """Needs another signal's column; fits over fragments and counts how often it does."""

    log: str = ""

    @property
    def needs(self) -> Sequence[str]:
        return ("length.bytes",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {"above": pa.bool_()}

    def fit(self, pool: Pool, goal: Goal | None, run: Run) -> float:
        sums = run.map(partial(_sum, self.log), pool.fragments(), "sums")
        return float(np.sum(sums)) / pool.count

    def score(self, batch: pa.RecordBatch, state: float, run: Run) -> Mapping[str, Any]:
        return {"above": pc.greater(batch.column("length.bytes"), state)}


class Liar(Length):
    def map(self, batch: pa.RecordBatch, run: Run) -> Mapping[str, Any]:  # breaks its promise
        return {"bytes": [1] * batch.num_rows}


def _sum(log: str, fragment: Any) -> int:
    if log:
        with open(log, "a") as file:
            file.write(f"{fragment.key}\n")
    return sum(int(pc.sum(b.column(0)).as_py() or 0) for b in fragment.batches(["length.bytes"]))


def write(folder: Path, rows: int = 60, files: int = 3) -> Files:
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number in range(files):
        path = folder / f"part{number}.jsonl"
        lines = [json.dumps({"id": f"{number}-{i}", "text": f"record {i} " * (i + 1)}) for i in range(rows)]
        path.write_text("\n".join(lines) + "\n")
        paths.append(path)
    return Files("web", tuple(paths), detect([{"id": "x", "text": "y"}]), {"license": "CC0-1.0"})


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StoredPool:
    monkeypatch.setattr("tilth.engine.imports.FRAGMENT_BYTES", 20_000)  # several fragments of a small pool
    return import_files([write(tmp_path / "in")], "text", tmp_path / "pool", Workers(1, QUIET))


def test_what_goes_in_comes_out(pool: StoredPool) -> None:
    assert pool.count == 180
    assert len(pool.fragments()) > 2
    table = pool.table(["id", "text", "license", "source"])
    assert len(set(table["id"].to_pylist())) == 180
    assert set(table["license"].to_pylist()) == {"CC0-1.0"}
    rows = [170, 3, 3, 60]
    assert pool.take(rows, ["text"])["text"].to_pylist() == [table["text"][r].as_py() for r in rows]


def test_import_is_the_same_for_any_number_of_workers_and_done_once(tmp_path: Path, pool: StoredPool) -> None:
    other = import_files([write(tmp_path / "in")], "text", tmp_path / "two", Workers(2, QUIET))
    del other
    again = import_files([write(tmp_path / "in")], "text", tmp_path / "three", Workers(1, QUIET))
    assert again.fingerprint == pool.fingerprint
    before = (tmp_path / "three" / "pool.json").stat().st_mtime_ns
    import_files([Files("web", again_files(tmp_path), detect([{"text": "y", "id": "1"}]), {"license": "CC0-1.0"})],
                 "text", tmp_path / "three", Workers(1, QUIET))  # fmt: skip
    assert (tmp_path / "three" / "pool.json").stat().st_mtime_ns == before


def again_files(tmp_path: Path) -> tuple[Path, ...]:
    return tuple(sorted((tmp_path / "in").glob("*.jsonl")))


def test_bad_lines_are_quarantined_and_nothing_else_is_lost(tmp_path: Path) -> None:
    files = write(tmp_path / "in", rows=5, files=1)
    path = files.paths[0]
    path.write_text(path.read_text() + '{"text": 5}\nnot json\n' + json.dumps({"id": "z", "text": "last"}) + "\n")
    pool = import_files([files], "text", tmp_path / "pool", Workers(1, QUIET))
    assert pool.count == 6
    bad = [json.loads(line) for line in (tmp_path / "pool" / "quarantine.jsonl").read_text().splitlines()]
    assert [b["line"] for b in bad] == [6, 7]
    assert all(b["reason"] and b["file"].endswith("part0.jsonl") for b in bad)
    with pytest.raises(BadInput, match=r"part0.jsonl"):
        import_files([files], "text", tmp_path / "strict", Workers(1, QUIET), strict=True)


def test_repeated_ids_are_renamed_when_equal_and_quarantined_when_not(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "a.jsonl"
    rows = [("1", "same"), ("2", "other"), ("1", "same"), ("2", "conflict"), ("1", "same")]
    path.write_text("".join(json.dumps({"id": i, "text": t}) + "\n" for i, t in rows))
    files = Files("s", (path,), detect([{"id": "1", "text": "t"}]), {})
    pool = import_files([files], "text", tmp_path / "pool", Workers(1, QUIET))
    table = pool.table(["id", "text"]).to_pydict()
    assert table["text"] == ["same", "other", "same", "same"]
    assert len(set(table["id"])) == 4
    first = table["id"][0]
    assert [table["id"][2], table["id"][3]] == [f"{first}-2", f"{first}-3"]
    (bad,) = [json.loads(x) for x in (tmp_path / "pool" / "quarantine.jsonl").read_text().splitlines()]
    assert "was seen before" in bad["reason"]
    assert bad["excerpt"] == "conflict"


def test_signals_become_columns_once(pool: StoredPool) -> None:
    scored = apply(Length(), pool, name="length")
    assert scored.version > pool.version
    sizes = scored.column("length.bytes").to_pylist()
    assert sizes == [len(t.encode()) for t in scored.column("text").to_pylist()]
    assert scored.column("length.parity").null_count > 0
    assert apply(Length(), scored, name="length").version == scored.version  # asked again: nothing is done
    meaner = apply(Mean(), scored, name="mean")
    assert meaner.column("mean.above").to_pylist() == [n > np.mean(sizes) for n in sizes]
    assert signal_state(meaner, "mean") == pytest.approx(np.mean(sizes))
    assert "mean" not in scored.schema.names  # an older version stays readable


def test_a_changed_input_column_invalidates_what_was_made_from_it(pool: StoredPool) -> None:
    class Doubled(Length):
        def map(self, batch: pa.RecordBatch, run: Run) -> Mapping[str, Any]:
            made = dict(Length().map(batch, run))
            return made | {"bytes": pc.multiply(made["bytes"], 2)}

    first = apply(Mean(), apply(Length(), pool, name="length"), name="mean")
    changed = apply(Doubled(), first, name="length")
    second = apply(Mean(), changed, name="mean")
    assert second.version > changed.version
    assert signal_state(second, "mean") == pytest.approx(2 * np.mean([len(t) for t in pool.column("text").to_pylist()]))


def test_cut_work_resumes_where_it_was(pool: StoredPool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = apply(Length(), pool, name="length")
    log = tmp_path / "log"
    mean = Mean(log=str(log))
    real = StoredPool.with_columns

    def power_cut(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(StoredPool, "with_columns", power_cut)
    with pytest.raises(KeyboardInterrupt):
        apply(mean, pool, name="mean")
    monkeypatch.setattr(StoredPool, "with_columns", real)
    done = log.read_text()
    assert len(done.splitlines()) == len(pool.fragments())
    made = apply(mean, pool, name="mean")
    assert log.read_text() == done, "finished pieces were computed again"
    assert "mean" in made.schema.names
    assert not list((pool.folder / "work").iterdir())


def test_promises_are_checked(pool: StoredPool) -> None:
    with pytest.raises(WrongColumns, match="promised bytes, parity and made bytes"):
        apply(Liar(), pool, name="liar")
    with pytest.raises(MissingColumns, match=r"needs length\.bytes"):
        apply(Mean(), pool, name="mean")


def test_a_half_written_pool_is_not_taken_for_complete(pool: StoredPool) -> None:
    (pool.folder / "pool.json").unlink()
    with pytest.raises(PoolCorrupt, match="no complete pool"):
        StoredPool(pool.folder)


def hold(folder: str, ready: Any) -> None:
    with locked(Path(folder)):
        ready.set()
        time.sleep(30)


def test_two_writers_are_kept_apart_and_a_dead_one_does_not_block(tmp_path: Path) -> None:
    context = multiprocessing.get_context("forkserver")
    ready = context.Event()
    other = context.Process(target=hold, args=(str(tmp_path), ready))
    other.start()
    assert ready.wait(20)
    with pytest.raises(PoolLocked, match=f"process {other.pid}"), locked(tmp_path):
        pass
    assert other.pid is not None
    os.kill(other.pid, signal.SIGKILL)
    other.join()
    with locked(tmp_path, wait=5):
        pass


def die_once(mark: str, item: int) -> int:
    if item == 3 and not Path(mark).exists():
        Path(mark).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return item * item


def die_always(item: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return item


def test_a_killed_worker_is_replaced_and_its_piece_done_again(tmp_path: Path) -> None:
    with Workers(2, QUIET) as workers:
        made = workers.map(partial(die_once, str(tmp_path / "mark")), range(8), "squares", tmp_path / "memory")
    assert made == [i * i for i in range(8)]


def test_workers_that_keep_dying_are_an_error_that_says_so() -> None:
    with Workers(2, QUIET) as workers, pytest.raises(PoolError, match="died 3 times"):
        workers.map(die_always, range(4), "doomed")


def test_a_full_disk_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="free some space"), no_space(tmp_path):
        raise OSError(28, "No space left on device")
    with pytest.raises(NoSpace), no_space(tmp_path):
        raise RuntimeError("LanceError(IO): ... No space left on device (os error 28)")
    with pytest.raises(ZeroDivisionError), no_space(tmp_path):
        _ = 1 / 0
    write_atomic(tmp_path / "a", b"whole")
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


@pytest.mark.parametrize("changed", ["label", "beside"])
def test_other_labels_or_what_stood_beside_the_text_make_another_pool(tmp_path: Path, changed: str) -> None:
    """Plans and trials are remembered by the pool's fingerprint: it must cover everything a signal can read."""

    def imported(value: str) -> StoredPool:
        folder = tmp_path / value
        folder.mkdir()
        rows = [{"id": f"{i}", "text": f"text {i}", "label": "a", "beside": "b"} for i in range(9)]
        rows[4][changed] = value
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        files = Files("s", (folder / "rows.jsonl",), detect(rows), {})
        return import_files([files], "labeled", folder / "pool", Workers(1, QUIET))

    one, same, other = imported("x"), imported("x2"), imported("y")
    assert one.column("text").equals(other.column("text"))
    assert len({one.fingerprint, same.fingerprint, other.fingerprint}) == 3
