"""The engine writes what a transform promises, and says so where it breaks its promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import ClassVar

import pyarrow as pa
import pytest

from tilth.core import Kind, Record, Run, TablePool, Transform
from tilth.core.errors import WrongColumns
from tilth.engine.write import write


class Toy(Transform):
    """Repeats each text; `broken` says how it breaks its promise."""

    reads: ClassVar[tuple[Kind, ...]] = ("text",)
    writes: ClassVar[Kind] = "text"
    broken: str = ""

    @property
    def needs(self) -> Sequence[str]:
        return ("id", "text")

    def apply(self, batch: pa.RecordBatch, run: Run) -> Iterator[Record]:
        for row in batch.to_pylist():
            made = {"text": row["text"] * 2, "parents": ["x"] if self.broken == "parents" else [row["id"]]}
            yield made | ({"label": "a"} if self.broken == "fields" else {})
            if self.broken == "twice":
                yield made


POOL = TablePool(pa.table({"text": ["a", "b", "c"]}), fragment=2)


def test_writes_from_every_fragment_and_stamps() -> None:
    made = write(Toy(), POOL)
    assert made.column("text").to_pylist() == ["aa", "bb", "cc"]
    assert made.column("parents").to_pylist() == [[i] for i in POOL.column("id").to_pylist()]
    assert len({*made.column("id").to_pylist(), *POOL.column("id").to_pylist()}) == 6
    assert made.column("license").to_pylist() == [None] * 3
    other = write(Toy(), TablePool(pa.table({"text": ["c", "b", "a"], "id": ["r00000002", "r00000001", "r00000000"]})))
    assert {*other.column("id").to_pylist()} == {*made.column("id").to_pylist()}, "ids come from content"


@pytest.mark.parametrize(
    ("broken", "said"), [("fields", "promised parents, text"), ("parents", "not given"), ("twice", "twice")]
)
def test_broken_promises_are_told(broken: str, said: str) -> None:
    with pytest.raises(WrongColumns, match=said):
        write(Toy(broken=broken), POOL)
