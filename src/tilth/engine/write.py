"""Write new records with a transform: promises checked, lineage, licence and maker stamped on each."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from tilth.core.errors import BadInput, UsageError, WrongColumns
from tilth.core.pool import Pool, TablePool
from tilth.core.records import FIELDS, make_id, schema
from tilth.core.run import Run
from tilth.core.transform import Transform

__all__ = ["write"]


def write(transform: Transform, pool: Pool, run: Run | None = None) -> TablePool:
    """What the transform writes from a pool, as a pool in memory; the records read are not in it.

    A record's source and maker are the transform's name; its licence holds those of all its parents, and is unknown
    where one of theirs is.

    Raises:
        BadInput: when a fragment holds more than a batch can.
        MissingColumns: when the pool lacks a column the transform needs.
        UsageError: when it reads no pools of this kind.
        WrongColumns: when the transform breaks its promise.
    """
    name = transform.name()
    if pool.kind not in transform.reads:
        raise UsageError(f"{name} reads pools of kind {' or '.join(transform.reads)}. Got {pool.kind}.")
    pool.require(transform.needs, name)
    run = (run or Run()).at("transform", name)
    named = "license" in pool.schema.names
    made: dict[str, dict[str, Any]] = {}
    for fragment in pool.fragments():
        batches = list(fragment.batches([*dict.fromkeys(("id", *transform.needs, *(["license"] if named else [])))]))
        if not batches:
            continue
        whole = pa.Table.from_batches(batches).combine_chunks().to_batches()
        if len(whole) > 1:
            raise BadInput(
                f"A fragment of the pool has more text than one batch can hold, and {name} looks at a fragment as a "
                f"whole. Import the pool in smaller files."
            )
        batch = whole[0] if whole else batches[0]
        ids = batch.column("id").to_pylist()
        licenses = dict(zip(ids, batch.column("license").to_pylist(), strict=True)) if named else dict.fromkeys(ids)
        for record in transform.apply(batch.select([*transform.needs]), run):
            stamped = _stamped(record, name, transform, licenses)
            if stamped["id"] in made:
                raise WrongColumns(
                    f"{name} wrote the same record twice from {stamped['parents']}. This is a bug in it."
                )
            made[stamped["id"]] = stamped
    return TablePool(pa.Table.from_pylist([*made.values()], schema=schema(transform.writes)), transform.writes)


def _stamped(
    record: Mapping[str, Any], name: str, transform: Transform, licenses: Mapping[str, str | None]
) -> dict[str, Any]:
    fields = {*FIELDS[transform.writes], "parents"}
    if {*record} != fields:
        raise WrongColumns(f"{name} promised {', '.join(sorted(fields))}, wrote {', '.join(sorted(record))}.")
    parents = record["parents"]
    if not parents or not all(parent in licenses for parent in parents):
        raise WrongColumns(f"{name} names parents {parents}, which it was not given. This is a bug in it.")
    key = json.dumps(record, sort_keys=True, ensure_ascii=False)
    return {**record, "id": make_id(name, key), "source": name, "made_by": name, "license": _joined(parents, licenses)}


def _joined(parents: Sequence[str], licenses: Mapping[str, str | None]) -> str | None:
    """The licences of all parents, as an SPDX expression; None where one is unknown."""
    held = {licenses[parent] for parent in parents}
    known = sorted(one for one in held if one is not None)
    if len(known) < len(held):
        return None
    # AND binds more tightly than OR
    return " AND ".join(f"({one})" if " " in one and len(known) > 1 else one for one in known)
