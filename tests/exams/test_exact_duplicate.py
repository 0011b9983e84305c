"""exact_duplicate: agrees with a dictionary of texts, keeps the copy it is told to, whatever the order and batches."""

from __future__ import annotations

import pickle
from collections import defaultdict
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory
from tilth.engine.local import Workers
from tilth.signals.duplicates.exact_duplicate import ExactDuplicate


def scored(texts: list[str | None], signal: ExactDuplicate | None = None, **columns: object) -> list[dict[str, Any]]:
    pool = TablePool(pa.table({"text": pa.array(texts, pa.string()), **columns}), fragment=7)
    rows: list[dict[str, Any]] = score_in_memory(signal or ExactDuplicate(), pool).column("exact_duplicate").to_pylist()
    return rows


def test_agrees_with_a_dictionary_of_texts() -> None:
    rng = Run(seed=3).rng("exam")
    texts = [" ".join(rng.choice(["a", "b", "A", "\x00z", "é", "e\u0301"], rng.integers(1, 5))) for _ in range(800)]
    groups: dict[str, list[int]] = defaultdict(list)
    for i, text in enumerate(texts):
        groups[text].append(i)
    rows = scored(list(texts))
    alone = [members[0] for members in groups.values() if len(members) == 1]
    assert len(alone) > 20
    assert len(groups) - len(alone) > 20
    for text, members in groups.items():
        assert [rows[i]["duplicate"] for i in members] == [False] + [True] * (len(members) - 1), repr(text)
        assert {rows[i]["copies"] for i in members} == {len(members)}
        assert len({rows[i]["cluster"] for i in members}) == 1
    assert all(rows[i] == {"cluster": None, "duplicate": False, "copies": 1} for i in alone)
    clusters = [rows[members[0]]["cluster"] for members in groups.values() if len(members) > 1]
    assert sorted(clusters) == list(range(len(clusters)))


def test_one_changed_byte_is_another_text() -> None:
    rng = Run(seed=4).rng("exam")
    base = "".join(chr(c) for c in rng.integers(97, 123, 300))
    texts = [base[:i] + "!" + base[i + 1 :] for i in range(300)] + [base[:i] for i in range(1, 300)]
    assert not any(row["duplicate"] for row in scored(list(texts)))


def test_empty_texts_and_nulls_are_never_duplicates() -> None:
    rows = scored(["", None, "", None, "x", "x"])
    assert [row["duplicate"] for row in rows] == [False, False, False, False, False, True]
    loose = scored(["", " \t", "\r\n", "\u3000", " x", "X\n"], ExactDuplicate(normalise="whitespace_case"))
    assert [row["duplicate"] for row in loose] == [False, False, False, False, False, True]
    assert [row["copies"] for row in loose] == [1, 1, 1, 1, 2, 2]


def test_white_space_and_case_are_unicode() -> None:
    texts: list[str | None] = ["Äpfel\u00a0und  Birnen", "äPFEL und\r\nbirnen ", "äpfel undbirnen"]
    rows = scored(texts, ExactDuplicate(normalise="whitespace_case"))
    assert [row["duplicate"] for row in rows] == [False, True, False]
    assert not any(row["duplicate"] for row in scored(texts))


@pytest.mark.parametrize(
    ("values", "high", "kept"),
    [
        ([None, 2.0, 5.0, 5.0, float("nan"), 1.0], True, 2),
        ([None, 2.0, 5.0, 5.0, float("nan"), 1.0], False, 5),
        ([None, float("nan"), None, None, None, None], True, 0),
        (["2020", "2024", None, "2023-01", "2024", "1999"], True, 1),
        (["2020", "2024", None, "2023-01", "2024", "1999"], False, 5),
        ([False, False, True, True, None, False], True, 2),
    ],
)
def test_keeps_the_copy_it_is_told_to(values: list[object], high: bool, kept: int) -> None:
    rows = scored(["", *["same"] * 6, "other"], ExactDuplicate(keep="by", keep_high=high), by=[9, *values, 9]
                  if isinstance(values[-1], float) else [None, *values, None])  # fmt: skip
    assert [i for i, row in enumerate(rows[1:7]) if not row["duplicate"]] == [kept]


def test_processes_and_batches_change_nothing() -> None:
    rng = Run(seed=5).rng("exam")
    texts = [f"text {n}" for n in rng.integers(0, 300, 600)]
    signal, run = ExactDuplicate(), Run()
    whole = TablePool(pa.table({"text": texts}))
    pieces = TablePool(pa.table({"text": texts}), fragment=37)
    with Workers(2, run.progress) as workers:
        state = signal.fit(pieces, None, Run(mapper=lambda f, items, label: workers.map(f, items, label)))
    one = signal.fit(whole, None, run)
    for name, values in vars(one).items():
        assert np.array_equal(values, getattr(state, name)), name
    assert len(pickle.dumps(one)) < 30 * len(texts)


def test_nothing_in_nothing_out() -> None:
    empty = TablePool(pa.table({"text": pa.array([], pa.string())}))
    assert score_in_memory(ExactDuplicate(keep="source"), empty).count == 0
