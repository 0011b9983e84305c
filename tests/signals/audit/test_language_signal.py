"""language: what it does with nothing to read, long texts and batches."""

from __future__ import annotations

import pyarrow as pa
import pytest

from tilth.core import Run
from tilth.core.errors import BadField
from tilth.signals.audit.language import Language


def codes(texts: list[str | None], **fields: int) -> list[str | None]:
    made = Language(**fields).map(pa.record_batch({"text": pa.array(texts, pa.string())}), Run())
    assert [c is None for c in made["code"].to_pylist()] == [p is None for p in made["confidence"].to_pylist()]
    found: list[str | None] = made["code"].to_pylist()
    return found


def test_nothing_to_read_is_unknown() -> None:
    assert codes(["", "  \n", "\x00", "a", None]) == [None] * 5
    assert codes([]) == []


def test_torture_does_not_fail() -> None:
    assert len(codes(["🙂\u0301", "\u202eabc", "x" * 1_000_000, "\r\n", "12 34"])) == 5


def test_reads_the_beginning_only() -> None:
    text = "Der Regen fällt heute auf die Felder. " * 3 + "The rain is falling on all of the fields today. " * 200
    assert codes([text], characters=100) == ["de"]
    assert codes([text], characters=9000) == ["en"]
    with pytest.raises(BadField, match="characters"):
        Language(characters=5)
