"""Mixtures outside tilth: tables of runs and their losses, and weights in the forms that trainers read."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from tilth.core.errors import BadInput
from tilth.core.files import write_atomic

__all__ = ["FORMS", "Form", "Table", "read_table", "render", "write_table"]

Floats = npt.NDArray[np.float64]
Form = Literal["json", "megatron", "open-instruct", "levanter"]
FORMS: tuple[Form, ...] = get_args(Form)
RUN = ("run", "index", "name", "id", "")  # what the column of the runs' names is called


@dataclass(frozen=True)
class Table:
    """Numbers of runs, one row a run.

    Attributes:
        runs: names of the runs.
        columns: what is in the columns: domains or metrics.
        values: (runs, columns).
    """

    runs: tuple[str, ...]
    columns: tuple[str, ...]
    values: Floats


def read_table(path: Path) -> Table:
    """A CSV with a header: a column of names (``run``, ``index``, ``name`` or the unnamed first one), and numbers.

    Without a column of names the runs are called by their row, from 0.

    Raises:
        BadInput: naming file, line and column of what is not a finite number, of a repeated run or column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"Cannot read {path}: {error}. Give a CSV in UTF-8 with one row per run.") from None
    rows = [row for row in csv.reader(io.StringIO(text)) if row]
    if len(rows) < 2:
        raise BadInput(f"{path} has no runs: a header and one row per run are needed.")
    head = [name.strip() for name in rows[0]]
    at = next((i for i, name in enumerate(head) if name.lower() in RUN), None)
    columns = [i for i in range(len(head)) if i != at]
    names = tuple(head[i] for i in columns)
    if len(set(names)) < len(names) or not names:
        raise BadInput(f"{path}: every column needs a name of its own. Its header is {', '.join(head)}.")
    values, runs = np.zeros((len(rows) - 1, len(columns))), []
    for number, row in enumerate(rows[1:]):
        if len(row) != len(head):
            raise BadInput(f"{path}, line {number + 2}: {len(row)} cells under a header of {len(head)}.")
        runs.append(str(number) if at is None else row[at].strip())
        for place, i in enumerate(columns):
            try:
                values[number, place] = float(row[i])
            except ValueError:
                values[number, place] = np.nan
            if not np.isfinite(values[number, place]):
                raise BadInput(
                    f"{path}, line {number + 2}, column {head[i]!r}: {row[i]!r} is not a finite number. Remove the "
                    f"run, or the column if it is not one."
                )
    if len(set(runs)) < len(runs):
        twice = next(run for run in runs if runs.count(run) > 1)
        raise BadInput(f"{path}: the run {twice!r} occurs twice. Give every run a name of its own.")
    return Table(tuple(runs), names, values)


def write_table(path: Path, table: Table) -> None:
    """Write what `read_table` reads."""
    sink = io.StringIO()
    writer = csv.writer(sink, lineterminator="\n")
    writer.writerow(["run", *table.columns])
    for run, row in zip(table.runs, table.values.tolist(), strict=True):
        writer.writerow([run, *(f"{value:.10g}" for value in row)])
    write_atomic(path, sink.getvalue().encode())


def render(shares: Mapping[str, float], form: Form, prefix: str = "") -> str:
    """A mixture as text: shares that sum to 1, those of 0 left out.

    Args:
        form: ``json``; ``megatron``, pairs of weight and path for ``--train-data-path``; ``open-instruct``, the mapping
            for ``dataset_mixer``; ``levanter``, ``train_weights`` in YAML.
        prefix: put before each name where a path is wanted.
    """
    total = sum(shares.values())
    used = {prefix + name: share / total for name, share in shares.items() if share > 0}
    if form == "megatron":
        for name in used:
            if any(c.isspace() for c in name):
                raise BadInput(f"Megatron separates weights and paths by blanks, and {name!r} has one. Rename it.")
        return " ".join(f"{share:.8g} {name}" for name, share in used.items()) + "\n"
    if form == "levanter":
        import yaml

        rounded = {name: float(f"{share:.8g}") for name, share in used.items()}
        return str(yaml.safe_dump({"train_weights": rounded}, sort_keys=False, allow_unicode=True))
    rounded = {name: float(f"{share:.8g}") for name, share in used.items()}
    return json.dumps({"dataset_mixer": rounded} if form == "open-instruct" else rounded, indent=1) + "\n"
