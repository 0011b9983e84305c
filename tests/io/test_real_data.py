"""Published sets, as their makers laid them out. Needs the folder that TILTH_DATA names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tilth.io.detect import detect
from tilth.io.importer import chunks, sample

DATA = Path(os.environ.get("TILTH_DATA", ""))


@pytest.mark.skipif("TILTH_DATA" not in os.environ, reason="TILTH_DATA is not set")
@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("A_text/languages_udhr.jsonl.zst", "text", 388),
        ("B_instruction/dolly_subset.jsonl.zst", "instruction", 5200),
        ("C_labeled/weak_votes_sms.jsonl.zst", "labeled", 5502),
        ("D_retrieval/limit_small", "retrieval", 2000),
        ("F_preference/hh_harmless.jsonl.zst", "preference", 1156),
    ],
)
def test_every_row_becomes_a_record_with_its_own_id(name: str, kind: str, records: int) -> None:
    path = DATA / name
    layout = detect(sample(path))
    assert layout.kind == kind
    (chunk,) = chunks(path, layout, "s", {})
    assert chunk.quarantine == []
    assert len(chunk.table) == len(set(chunk.table["id"].to_pylist())) == records
