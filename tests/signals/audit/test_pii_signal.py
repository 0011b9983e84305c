"""pii: offsets, hostile input, and work that grows with the text and not faster."""

from __future__ import annotations

import time
from typing import Any

import pyarrow as pa
import pytest

from tilth.core import Run
from tilth.kernels.pii import windows
from tilth.signals.audit.pii import Pii, find


def spans(texts: list[str | None]) -> list[list[dict[str, Any]]]:
    made = Pii().map(pa.record_batch({"text": pa.array(texts, pa.string())}), Run())
    found: list[list[dict[str, Any]]] = made["spans"].to_pylist()
    return found


def test_offsets_are_characters_across_windows() -> None:
    text = "é漢🙂" * 100 + " a@b.de " + "ß" * 500 + " +49 30 901820 " + "\x00" * 300 + "c@d.org"
    found = [(text[s["start"] : s["end"]], s["type"]) for s in spans([text])[0]]
    assert found == [("a@b.de", "email"), ("+49 30 901820", "phone"), ("c@d.org", "email")]


def test_nothing_in_nothing() -> None:
    assert spans([]) == []
    assert spans([None, "", "\x00", "é" * 1000]) == [[]] * 4


def test_slices_of_a_batch_agree_with_the_whole() -> None:
    texts = ["none", "a@b.de", "é a@b.de and 84.232.78.51", None, "(202) 966-2664"]
    batch = pa.record_batch({"text": texts})
    parts = [Pii().map(batch.slice(i, 1), Run())["spans"].to_pylist()[0] for i in range(5)]
    assert parts == spans(texts)


@pytest.mark.parametrize(
    "unit", ["1 2 3 4 ", "1a", "a@", "x", ":", "+1 ", "DE89", "9", "a-", "1.", "+1(1)", "+49 30 901820, ", "a.b@c.de "]
)
def test_hostile_repetition_is_linear(unit: str) -> None:
    spans(["warm 1@up.de"])
    start = time.process_time()
    spans([unit * (300_000 // len(unit)) + "@"])
    assert time.process_time() - start < 3


def test_windows_hold_whole_characters_and_stay_apart() -> None:
    text = "漢" * 200 + "@" + "漢" * 200 + "1234567" + "漢" * 10
    rows = windows(pa.array([text, "plain"]))
    raw = text.encode()
    assert len(rows) == 2
    for t, start, stop in rows.tolist():
        assert t == 0
        assert raw[start:stop].decode()
    assert rows[0, 2] < rows[1, 1]


def test_one_place_one_type() -> None:
    assert [t for _, _, t in find("NO9386011117947 and 4111111111111111")] == ["iban", "card"]
