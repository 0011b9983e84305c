"""Keep the records for which an SQL condition over columns holds."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cache, partial
from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field, field_validator

from tilth.core.errors import BadField, DataError
from tilth.core.goal import Goal
from tilth.core.plan import Plan
from tilth.core.policy import Policy
from tilth.core.pool import Fragment, Pool
from tilth.core.run import Run

__all__ = ["Keep", "explain"]

States = npt.NDArray[np.int8]
_FALSE, _TRUE, _UNKNOWN = 0, 1, 2
_ALLOWED = {"COLUMN_REF", "CONSTANT", "COMPARISON", "CONJUNCTION", "OPERATOR", "FUNCTION", "CAST", "BETWEEN", "CASE"}


class Keep(Policy):
    """Keeps the records for which a condition over columns holds: where thresholds live.

    In a recipe: ``- keep: "quality.rps_doc_word_count >= 50 and not minhash.duplicate"``. The condition is one SQL
    expression (DuckDB's dialect) that is true or false for each record by itself: no subqueries, aggregates or
    random numbers, and it cannot reach a file. Columns of signals are written ``signal.output``.

    SQL is three-valued: a condition on a column that is null is neither true nor false. Such records are *unknown*:
    counted per condition, and dropped unless you say otherwise.

    Cost: a few million records a second; only the columns named are read. Trap: ``not x`` is unknown, not true,
    where x is null; write ``not coalesce(x, false)`` if you mean that.

    >>> import pyarrow as pa
    >>> from tilth.core import Budget, Goal, Plan, Run, TablePool
    >>> words = pa.StructArray.from_arrays([pa.array([3, 80, None, 200])], ["words"])
    >>> pool = TablePool(pa.table({"text": ["a", "b", "c", "d"], "size": words}))
    >>> budget = Budget(10, "records")
    >>> plan = Plan.everything(pool, budget)
    >>> plan = Keep(where="size.words >= 50 and text <> 'd'").revise(plan, pool, Goal(pool, pool, budget), Run())
    >>> plan.kept.tolist()
    [False, True, False, False]
    >>> plan.decisions[0].note
    "size.words >= 50 and text <> 'd': 1 of 4 records hold, 2 do not, 1 unknown (dropped)"
    """

    where: str = Field(
        description="the condition, as SQL over columns", examples=["length(text) >= 20 and source is not null"]
    )
    unknown: Literal["keep", "drop", "error"] = Field("drop", description="what to do where the condition is null")

    @field_validator("where")
    @classmethod
    def _readable(cls, where: str) -> str:
        _conjuncts(where)
        return where

    @property
    def needs(self) -> Sequence[str]:
        """The columns the condition names, found by parsing it."""
        return tuple(dict.fromkeys(c for part in _conjuncts(self.where) for c in part.columns))

    def revise(self, plan: Plan, pool: Pool, goal: Goal, run: Run) -> Plan:
        pool.require(self.needs, f"keep: {self.where!r}")
        parts = _conjuncts(self.where)
        pieces = run.map(partial(_fragment_states, self.where), pool.fragments(), "keep")
        states = np.concatenate([np.zeros((len(parts), 0), np.int8), *pieces], axis=1)[:, plan.kept]
        # SQL's AND: one false makes it false, else one unknown makes it unknown.
        overall = np.where((states == _FALSE).any(0), _FALSE, np.where((states == _UNKNOWN).any(0), _UNKNOWN, _TRUE))
        holds, unknown = int((overall == _TRUE).sum()), int((overall == _UNKNOWN).sum())
        if unknown and self.unknown == "error":
            empty = [p.text for p, row in zip(parts, states, strict=True) if (row == _UNKNOWN).any()]
            raise DataError(
                f"keep: {unknown:,} of {overall.size:,} records leave {' and '.join(empty)} unknown, because a column "
                f"is null there, and unknown is 'error'. Score the missing column, or choose unknown: keep or drop."
            )
        keep = np.zeros(len(plan), bool)
        keep[plan.kept] = (overall == _TRUE) | ((overall == _UNKNOWN) & (self.unknown == "keep"))
        counts = [f"{holds:,} of {overall.size:,} records hold"]
        if holds < overall.size - unknown:
            counts.append(f"{overall.size - unknown - holds:,} do not")
        if unknown:
            counts.append(f"{unknown:,} unknown ({'kept' if self.unknown == 'keep' else 'dropped'})")
        if keep.sum() == overall.size:
            counts.append("drops nothing")
        return plan.revised(
            self.describe(),
            f"{self.where}: {', '.join(counts)}",
            keep=keep,
            reason=f"not ({self.where})",
            details={
                "conjuncts": [
                    {"where": p.text, "false": int((row == _FALSE).sum()), "unknown": int((row == _UNKNOWN).sum())}
                    for p, row in zip(parts, states, strict=True)
                ]
            },
        )

    def worst(self) -> Self:
        """Itself: a condition keeps what is fit to be read, and a control reads fit text too."""
        return self


def explain(where: str, row: Mapping[str, Any]) -> list[tuple[str, bool | None, dict[str, Any]]]:
    """Each condition joined by AND, whether it holds for one record (None = unknown), and the values it looked at.

    Args:
        row: column name -> value, for every column the condition names.

    >>> explain("a.n > 5 and not b", {"a.n": 3, "b": None})
    [('(a.n > 5)', False, {'a.n': 3}), ('(NOT b)', None, {'b': None})]
    """
    parts = _conjuncts(where)
    names = dict.fromkeys(c for part in parts for c in part.columns)
    one = {name: pa.array([row[name]]) for name in names} or {"nothing": pa.nulls(1)}
    states = _states(where, pa.RecordBatch.from_pydict(one))[:, 0]
    said = {_FALSE: False, _TRUE: True, _UNKNOWN: None}
    return [(p.text, said[int(s)], {c: row[c] for c in p.columns}) for p, s in zip(parts, states, strict=True)]


class _Conjunct:
    """One of the conditions joined by AND: for people, its columns, and SQL with each column as one quoted name."""

    def __init__(self, node: dict[str, Any], plain: dict[str, Any]) -> None:
        self.text = _sql(node, plain)
        refs = [n for n in _walk(node) if n.get("class") == "COLUMN_REF"]
        self.columns = tuple(dict.fromkeys(".".join(ref["column_names"]) for ref in refs))
        for name in {part for ref in refs for part in ref["column_names"]}:  # DuckDB quotes words such as "text"
            self.text = self.text.replace(f'"{name}"', name)
        for ref in refs:
            ref["column_names"] = [".".join(ref["column_names"])]
        self.sql = _sql(node, plain)


@cache
def _connection() -> Any:
    """A private DuckDB that can reach neither files nor the network nor Python's variables."""
    import duckdb

    return duckdb.connect(
        ":memory:",
        config={
            "enable_external_access": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "threads": 1,
            "lock_configuration": "true",
        },
    )


def _ask(query: str, value: str) -> str:
    (row,) = _connection().execute(query, [value]).fetchall()
    return str(row[0])


@cache
def _conjuncts(where: str) -> tuple[_Conjunct, ...]:
    """Parse a condition; anything but one boolean expression over single records is refused."""

    def refuse(why: str) -> BadField:
        return BadField(f"one condition such as 'a.x >= 5 and not b.y' was expected, and this one {why}")

    tree = json.loads(_ask("SELECT json_serialize_sql(?)", f"SELECT {where}"))
    if tree["error"]:
        raise refuse(f"cannot be read as SQL: {tree['error_message']}")
    plain = json.loads(_ask("SELECT json_serialize_sql(?)", "SELECT 1"))
    chosen = tree["statements"][0]["node"].get("select_list", [])
    # All but the expression itself must read as in "SELECT 1": no FROM, no second statement, no LIMIT.
    if len(chosen) != 1 or _bare(_with(plain, chosen[0])) != _bare(tree):
        raise refuse("is more than one expression")
    root = chosen[0]
    for part in _walk(root):
        kind = part.get("class")
        if kind in (None, "TYPE"):
            continue
        if kind not in _ALLOWED:
            raise refuse(f"uses {str(kind).lower().replace('_', ' ')}, which is not a fact about one record")
        if kind == "FUNCTION" and part["function_name"] not in _functions():
            near = get_close_matches(part["function_name"], _functions(), n=1, cutoff=0.8)
            raise refuse(
                f"calls {part['function_name']}, which is not a function of one record's values alone"
                + (f" (did you mean {near[0]}?)" if near else "")
            )
    return tuple(_Conjunct(part, plain) for part in _split(root))


@cache
def _functions() -> frozenset[str]:
    """Functions whose result depends on their arguments alone: no aggregates, clocks or random numbers."""
    rows = _connection().execute(
        "SELECT function_name FROM duckdb_functions() GROUP BY 1 "
        "HAVING bool_and(function_type = 'scalar' AND stability = 'CONSISTENT')"
    )
    return frozenset(name for (name,) in rows.fetchall())


def _walk(node: Any) -> Iterator[dict[str, Any]]:
    if isinstance(node, dict):
        yield node
        for value in node.values():
            yield from _walk(value)
    elif isinstance(node, list):
        for value in node:
            yield from _walk(value)


def _split(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if node.get("type") == "CONJUNCTION_AND":
        for child in node["children"]:
            yield from _split(child)
    else:
        yield node


def _bare(value: Any) -> Any:
    """A parse tree without the positions in the text."""
    if isinstance(value, dict):
        return {k: _bare(v) for k, v in value.items() if not k.startswith("query_location")}
    return [_bare(v) for v in value] if isinstance(value, list) else value


def _with(plain: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The tree of ``SELECT 1`` with another expression in place of the 1."""
    statement = plain["statements"][0]
    return {**plain, "statements": [{**statement, "node": {**statement["node"], "select_list": [node]}}]}


def _sql(node: dict[str, Any], plain: dict[str, Any]) -> str:
    """The expression as SQL text, written by DuckDB from the parse tree, so nothing can hide in it."""
    return _ask("SELECT json_deserialize_sql(?)", json.dumps(_with(plain, {**node, "alias": ""}))).removeprefix(
        "SELECT "
    )


def _fragment_states(where: str, fragment: Fragment) -> States:
    parts = _conjuncts(where)
    columns = list(dict.fromkeys(c for part in parts for c in part.columns))
    # A condition without columns still has one answer per record.
    pieces = [_states(where, batch) for batch in fragment.batches(columns or ["id"])]
    return np.concatenate([np.zeros((len(parts), 0), np.int8), *pieces], axis=1)


def _states(where: str, batch: pa.RecordBatch) -> States:
    """False, true or unknown, (conjuncts, records)."""
    import duckdb

    parts = _conjuncts(where)
    con = _connection()
    con.register("batch", pa.Table.from_batches([batch]))
    try:
        chosen = ", ".join(f"({part.sql}) AS c{i}" for i, part in enumerate(parts))
        table = con.sql(f"SELECT {chosen} FROM batch").to_arrow_table()
    except duckdb.Error as error:
        raise BadField(f"keep cannot evaluate {where!r}: {str(error).splitlines()[0]}") from None
    finally:
        con.unregister("batch")
    out = np.empty((len(parts), batch.num_rows), np.int8)
    for i, part in enumerate(parts):
        column = table.column(i)
        if not (pa.types.is_boolean(column.type) or column.null_count == len(column)):
            raise BadField(f"keep: {part.text} is a {column.type}, not true or false. Compare it with something.")
        out[i] = column.cast(pa.int8()).fill_null(_UNKNOWN).to_numpy()
    return out
