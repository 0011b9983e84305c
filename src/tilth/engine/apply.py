"""Score a pool with a signal: promises checked, columns stored once, work resumed fragment by fragment."""

from __future__ import annotations

import json
import pickle
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tilth.core.errors import UsageError, WrongColumns
from tilth.core.goal import Goal
from tilth.core.method import digest
from tilth.core.pool import Fragment, Pool, TablePool
from tilth.core.run import Run
from tilth.core.signal import Signal
from tilth.engine.local import Workers, write_atomic
from tilth.engine.store import StoredPool, locked

__all__ = ["apply", "column_fingerprint", "score_in_memory", "signal_state"]

SMALL = 24 << 20  # bytes of text below which starting processes costs more than it saves


def column_fingerprint(signal: Signal[Any], pool: StoredPool, goal: Goal | None, run: Run) -> str:
    """What the signal's column would be made from: method, needed columns, goal, seed, records."""
    inputs = {name: pool.column_fingerprint(name) or "missing" for name in signal.needs}
    parts = [getattr(goal, part).fingerprint for part in signal.goal_parts] if goal else []
    return digest([signal.fingerprint(), inputs, parts, run.seed, pool.fingerprint])


def apply(
    signal: Signal[Any],
    pool: StoredPool,
    goal: Goal | None = None,
    run: Run | None = None,
    workers: Workers | None = None,
    name: str | None = None,
) -> StoredPool:
    """The pool with this signal's column; nothing is done when the same column is already there.

    Args:
        name: the column's name; the signal's own name unless two uses of one signal must be told apart.

    Raises:
        MissingColumns: when the pool lacks a column the signal needs.
        UsageError: when the signal needs a goal and there is none.
        WrongColumns: when the signal breaks its promise.
    """
    run = (run or Run()).at("signal", name or signal.name())
    name = name or signal.name()
    check_ready(signal, pool, goal)
    made_from = column_fingerprint(signal, pool, goal, run)
    if pool.column_fingerprint(name) == made_from:
        return pool
    workers = workers or Workers(1, run.progress)
    if pool.text_bytes < SMALL and not any(training.dear for training in signal.training.values()):
        workers = Workers(1, workers.progress)
    with locked(pool.folder):
        work = pool.work(made_from)
        scratch = work / "scratch"
        scratch.mkdir(parents=True, exist_ok=True)

        def resumed(func: Callable[[Any], Any], items: Sequence[Any], label: str) -> list[Any]:
            return workers.map(func, items, f"{name}: {label}", work / digest([label, len(items)]))

        run = replace(run, scratch=scratch, shared=pool.folder / "shared", mapper=resumed)
        saved = work / "state.pkl"
        if saved.exists():
            state = pickle.loads(saved.read_bytes())
        else:
            state = signal.fit(pool, goal if signal.goal_parts else None, run)
            write_atomic(saved, pickle.dumps(state, protocol=5))
        task = partial(_score_fragment, signal, saved, replace(run, mapper=Run().mapper, progress=Run().progress), work)
        parts = dict(
            zip(
                [f.key for f in pool.fragments()],
                workers.map(task, pool.fragments(), f"{name}: score", work / "parts"),
                strict=True,
            )
        )
        about = {"tilth:fingerprint": made_from, "tilth:method": json.dumps(signal.describe())}
        write_atomic(_state_file(pool, name), saved.read_bytes())
        new = pool.with_columns(name, signal.makes, lambda f: _read(work / parts[f.key]), about)
        new.forget_work(made_from)
    return new


def _state_file(pool: StoredPool, name: str) -> Path:
    return pool.folder / "states" / f"{name}.pkl"


def signal_state(pool: StoredPool, name: str) -> Any:
    """What the signal behind a column learnt when it was fitted."""
    return pickle.loads(_state_file(pool, name).read_bytes())


def check_ready(signal: Signal[Any], pool: Pool, goal: Goal | None) -> None:
    """Raise the error that says what is missing before anything is computed."""
    pool.require(signal.needs, signal.name())
    if signal.goal_parts and goal is None:
        raise UsageError(
            f"{signal.name()} compares records with the goal's {' and '.join(signal.goal_parts)}, and there is no "
            f"goal. State `goal: {{target: ..., holdout: ..., budget: ...}}` in the recipe."
        )
    if signal.goal_parts and goal is not None and goal.target.kind not in signal.target_kinds:
        raise UsageError(
            f"{signal.name()} learns from a target of kind {' or '.join(signal.target_kinds)}. Got {goal.target.kind}."
        )


def score_in_memory(
    signal: Signal[Any], pool: TablePool, goal: Goal | None = None, run: Run | None = None
) -> TablePool:
    """`apply` for a pool in memory: for probes, examples and tests."""
    run = (run or Run()).at("signal", signal.name())
    check_ready(signal, pool, goal)
    with tempfile.TemporaryDirectory() as shared:  # models are trained once here, too
        here = run if run.shared is not None else replace(run, shared=Path(shared))
        state = signal.fit(pool, goal if signal.goal_parts else None, here)
    tables = [_scored(signal, state, batch, run) for f in pool.fragments() for batch in f.batches(signal.needs)]
    kind = pa.struct([pa.field(n, t) for n, t in signal.makes.items()])
    chunks = [
        pa.StructArray.from_arrays([t.column(n).combine_chunks() for n in signal.makes], fields=list(kind))
        for t in tables
    ]
    return pool.with_column(signal.name(), pa.chunked_array(chunks, kind))


_states: dict[Path, Any] = {}  # a worker scores many fragments with one state


def _score_fragment(signal: Signal[Any], saved: Path, run: Run, work: Path, fragment: Fragment) -> str:
    if saved not in _states:
        _states.clear()
        _states[saved] = pickle.loads(saved.read_bytes())
    tables = [_scored(signal, _states[saved], batch, run) for batch in fragment.batches(signal.needs)]
    table = pa.concat_tables(tables) if tables else pa.table({n: pa.array([], t) for n, t in signal.makes.items()})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    file = f"{fragment.key}.arrow"
    write_atomic(work / file, sink.getvalue())
    return file


def _scored(signal: Signal[Any], state: Any, batch: pa.RecordBatch, run: Run) -> pa.Table:
    columns = signal.score(batch, state, run)
    if columns.keys() != signal.makes.keys():
        raise WrongColumns(
            f"{signal.name()} promised {', '.join(signal.makes)} and made {', '.join(columns)}. This is a bug in it."
        )
    arrays = []
    for name, kind in signal.makes.items():
        values = columns[name]
        array = values if isinstance(values, (pa.Array, pa.ChunkedArray)) else pa.array(values, from_pandas=False)
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        array = array if array.type == kind else pc.cast(array, kind)
        if len(array) != batch.num_rows:
            raise WrongColumns(
                f"{signal.name()}.{name} has {len(array)} values for {batch.num_rows} records. This is a bug in it."
            )
        arrays.append(array)
    return pa.Table.from_arrays(arrays, names=list(signal.makes))


def _read(file: Path) -> pa.Table:
    with pa.memory_map(str(file)) as source:
        return pa.ipc.open_file(source).read_all()
