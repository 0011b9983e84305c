"""Files in, a pool out: fragments written by many processes, committed once, resumed after a crash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tilth.core.errors import BadInput
from tilth.core.method import digest
from tilth.core.pool import column_digest
from tilth.core.records import Kind, render
from tilth.engine.local import Workers, no_space, write_atomic
from tilth.engine.store import StoredPool, commit_import, locked, write_fragment
from tilth.io.detect import Layout
from tilth.io.importer import chunks
from tilth.kernels.hashing import hash_strings
from tilth.marks import of_files

__all__ = ["Files", "import_files"]

FRAGMENT_BYTES = 32 << 20


@dataclass(frozen=True)
class Files:
    """The files of one source, and how to read them."""

    source: str
    paths: tuple[Path, ...]
    layout: Layout
    defaults: Mapping[str, str]


@dataclass(frozen=True)
class _Piece:
    """A few files of one source, about a fragment's worth or one large file."""

    key: str
    files: Files


def import_files(
    sources: Sequence[Files], kind: Kind, folder: Path, workers: Workers, *, strict: bool = False, wait: float = 0.0
) -> StoredPool:
    """Import files into a pool folder, or return the pool that is already there from the same files.

    Bad lines and unreadable files are listed in ``quarantine.jsonl``; with `strict` the first is an error.

    Raises:
        BadInput: in strict mode, or when a source has no readable record at all.
    """
    made_from = digest([kind, [[f.source, of_files(f.paths), str(f.layout), dict(f.defaults)] for f in sources]])
    done = folder / "pool.json"
    if done.exists() and json.loads(done.read_text())["origin"]["made_from"] == made_from:
        return StoredPool(folder)
    with locked(folder, wait):
        done.unlink(missing_ok=True)
        work = folder / "work" / f"import-{made_from}"
        pieces = [piece for files in sources for piece in _pieces(files)]
        results = workers.map(partial(_import_piece, folder, work, kind, strict), pieces, "import", work)
        fragments = [fragment for result in results for fragment in result["fragments"]]
        bad = [line for result in results for line in result["quarantine"]]
        counts: dict[str, int] = {files.source: 0 for files in sources}
        for fragment in fragments:
            counts[fragment["source"]] += fragment["count"]
        for name, count in counts.items():
            if count == 0:
                why = next((b["reason"] for b in bad if b["source"] == name), "its files are empty")
                raise BadInput(f"Source {name!r} has no readable record: {why}. Check its path, kind and fields.")
        fragments, renamed = _unique_ids(folder, kind, fragments, bad, strict)
        lines = "".join(json.dumps(b, ensure_ascii=False, sort_keys=True) + "\n" for b in bad)
        write_atomic(folder / "quarantine.jsonl", lines.encode("utf-8", "backslashreplace"))
        origin = {
            "made_from": made_from,
            "files": [file for result in results for file in result["files"]],
            "records": counts,
            "quarantined": len(bad),
            "renamed_ids": renamed,
        }
        pool = commit_import(folder, kind, fragments, origin, sum(f["bytes"] for f in fragments))
        pool.forget_work(f"import-{made_from}")
    return pool


def _pieces(files: Files) -> Iterator[_Piece]:
    """Group small files; the grouping depends on names and sizes only."""
    group: list[Path] = []
    size = 0
    for path in files.paths:
        bytes_ = sum(mark[1] for mark in of_files([path]))
        if group and size + bytes_ > FRAGMENT_BYTES // 2:
            yield _piece(files, group)
            group, size = [], 0
        group.append(path)
        size += bytes_
    if group:
        yield _piece(files, group)


def _piece(files: Files, group: Sequence[Path]) -> _Piece:
    part = Files(files.source, tuple(group), files.layout, files.defaults)
    return _Piece(digest([files.source, of_files(group), str(files.layout), dict(files.defaults)]), part)


def _import_piece(folder: Path, work: Path, kind: Kind, strict: bool, piece: _Piece) -> dict[str, Any]:
    """Read the files of a piece and write their fragments; a fragment already written is not written again."""
    files, bad = [], []
    fragments: list[dict[str, Any]] = []
    held: list[pa.Table] = []

    def flush() -> None:
        table = pa.concat_tables(held)
        held.clear()
        mark = work / f"{piece.key}.{len(fragments):05d}.json"
        if not mark.exists():
            text = render(kind, table)
            about = {
                "key": _contents(table),
                "count": len(table),
                "bytes": int(pa.compute.sum(pa.compute.binary_length(text)).as_py() or 0),
                "source": piece.files.source,
                "lance": write_fragment(folder, table, kind),
                "ids": hash_strings(table.column("id")).tobytes().hex(),
            }
            write_atomic(mark, json.dumps(about).encode())
        fragments.append(json.loads(mark.read_text()))

    for path in piece.files.paths:
        try:
            for chunk in chunks(path, piece.files.layout, piece.files.source, piece.files.defaults, FRAGMENT_BYTES):
                bad += [{"source": piece.files.source, **line} for line in chunk.quarantine]
                if chunk.table.num_rows:
                    held.append(chunk.table)
                if sum(t.nbytes for t in held) >= FRAGMENT_BYTES:
                    flush()
        except BadInput as error:
            bad.append(
                {"source": piece.files.source, "file": str(path), "line": 0, "reason": str(error), "excerpt": ""}
            )
        if strict and bad:
            raise BadInput(
                f"{bad[0]['file']}, line {bad[0]['line']}: {bad[0]['reason']}. Mend it, or import without --strict to "
                f"set such lines aside in quarantine.jsonl."
            )
        files += [[piece.files.source, path.name, *mark[1:2], _sha256(Path(mark[0]))] for mark in of_files([path])]
    if held:
        flush()
    return {"fragments": fragments, "quarantine": bad, "files": files}


def _contents(table: pa.Table) -> str:
    """A function of everything the records hold: labels, answers and what the input had beside them, too."""
    return digest([len(table), *([name, column_digest(table.column(name))] for name in table.column_names)])


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unique_ids(
    folder: Path, kind: Kind, fragments: list[dict[str, Any]], bad: list[dict[str, Any]], strict: bool
) -> tuple[list[dict[str, Any]], int]:
    """Make ids unique: a repeated id with the same text is a natural duplicate and is renamed ``id-2``; one with
    other text is a conflict and is quarantined. Only fragments with repeated ids are written again."""
    ids_of = [np.frombuffer(bytes.fromhex(f["ids"]), np.uint64) for f in fragments]
    hashes = np.concatenate(ids_of)
    values, counts = np.unique(hashes, return_counts=True)
    again = values[counts > 1]
    repeated = set(again.tolist())
    renamed = 0
    if repeated:
        import lance
        from lance.fragment import FragmentMetadata

        from tilth.engine.store import storage_schema

        keep = [FragmentMetadata.from_json(json.dumps(f["lance"])) for f in fragments]
        with no_space(folder):
            dataset = lance.LanceDataset.commit(
                str(folder / "records.lance"), lance.LanceOperation.Overwrite(storage_schema(kind), keep)
            )
        seen: dict[str, tuple[str, int]] = {}
        for number, stored in enumerate(dataset.get_fragments()):
            if not np.isin(ids_of[number], again).any():
                continue
            table = stored.to_table()
            ids = table.column("id").to_pylist()
            texts = hash_strings(render(kind, table)).tolist()
            keep_rows = np.ones(len(ids), bool)
            changed = False
            for row, (name, h) in enumerate(zip(list(ids), ids_of[number].tolist(), strict=True)):
                if h not in repeated:
                    continue
                text, times = seen.get(name, (texts[row], 0))
                if text == texts[row]:
                    seen[name] = (text, times + 1)
                    if times:
                        ids[row] = f"{name}-{times + 1}"
                        renamed, changed = renamed + 1, True
                else:
                    keep_rows[row] = False
                    changed = True
                    bad.append(
                        {
                            "source": fragments[number]["source"],
                            "file": "",
                            "line": 0,
                            "reason": f"id {name} was seen before with another text; give records distinct ids",
                            "excerpt": str(render(kind, table.slice(row, 1))[0].as_py())[:200],
                        }
                    )
                    if strict:
                        raise BadInput(f"Source {bad[-1]['source']!r}: {bad[-1]['reason']}.")
            if changed:
                table = table.set_column(table.schema.get_field_index("id"), "id", pa.array(ids, pa.string()))
                table = table.filter(pa.array(keep_rows))
                text = render(kind, table)
                fragments[number] |= {
                    "key": _contents(table),
                    "count": len(table),
                    "bytes": int(pa.compute.sum(pa.compute.binary_length(text)).as_py() or 0),
                    "lance": write_fragment(folder, table, kind),
                }
    return [f for f in fragments if f["count"]], renamed
