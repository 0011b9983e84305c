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
    ("name", "kind", "records", "bad"),
    [
        ("A_text/languages_udhr.jsonl.zst", "text", 387, 1),
        ("B_instruction/dolly_subset.jsonl.zst", "instruction", 5200, 0),
        ("C_labeled/weak_votes_sms.jsonl.zst", "labeled", 5502, 0),
        ("D_retrieval/limit_small", "retrieval", 2000, 0),
        ("F_preference/hh_harmless.jsonl.zst", "preference", 1156, 0),
    ],
)
def test_rows_become_records_with_their_own_ids(name: str, kind: str, records: int, bad: int) -> None:
    path = DATA / name
    layout = detect(sample(path))
    assert layout.kind == kind
    (chunk,) = chunks(path, layout, "s", {})
    assert len(chunk.quarantine) == bad  # one language of udhr has no text
    assert len(chunk.table) == len(set(chunk.table["id"].to_pylist())) == records
