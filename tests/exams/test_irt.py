"""irt: finds planted difficulty where shares of right answers mislead, from outcomes as files have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.special import expit
from scipy.stats import spearmanr

from tilth.core import Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.io.detect import detect
from tilth.io.importer import chunks, sample
from tilth.signals.difficulty.irt import Irt

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "irt.json").read_text(encoding="utf-8"))
Row = list[int | None]


def world(systems: int = 40, items: int = 600, seed: int = 0) -> tuple[Any, list[Row]]:
    """Difficulties, and outcomes where the able were mostly asked what is hard."""
    rng = np.random.default_rng(seed)
    able, hard = rng.normal(size=systems), rng.normal(size=items)
    right = rng.random((items, systems)) < expit(able - hard[:, None])
    asked = rng.random((items, systems)) < expit(2 * able * hard[:, None])
    return hard, [[int(r) if a else None for r, a in zip(*row, strict=True)] for row in zip(right, asked, strict=True)]


def pool_of(meta: list[Any]) -> TablePool:
    texts = [None if row is None else json.dumps(row) for row in meta]
    return TablePool(pa.table({"text": ["..."] * len(meta), "meta": pa.array(texts, pa.string())}))


def column(signal: Irt, pool: TablePool, name: str = "difficulty") -> list[Any]:
    return list(score_in_memory(signal, pool, run=Run()).column(f"irt.{name}").to_pylist())


def test_beats_the_share_of_right_answers() -> None:
    hard, rows = world()
    pool = pool_of([{"outcomes": row} for row in rows])
    found = spearmanr(column(Irt(), pool), hard).statistic
    naive = spearmanr(column(Irt(), pool, "share_right"), -hard).statistic
    assert found > 0.85
    assert found > naive + 0.1
    z = (np.array(column(Irt(), pool)) - hard) / np.array(column(Irt(), pool, "difficulty_error"))
    assert np.mean(np.abs(z) < 1.96) > 0.88


def test_golden() -> None:
    pool = pool_of([{"outcomes": row} for row in GOLDEN["outcomes"]])
    for parameters in (1, 2):
        scored = score_in_memory(Irt(parameters=parameters), pool)
        for name, want in GOLDEN[f"parameters {parameters}"].items():
            got = scored.column(f"irt.{name}").to_pylist()
            assert [v if v is None else pytest.approx(v, abs=1e-4) for v in want] == got, name


def test_outcomes_may_be_a_list_or_a_field_for_each_system_or_a_column() -> None:
    _, rows = world(12, 80)
    wanted = column(Irt(), pool_of([{"outcomes": row, "lang": "en"} for row in rows]))
    named = [{f"model_{s}": r for s, r in enumerate(row) if r is not None} | {"lang": 1} for row in rows]
    assert column(Irt(systems=("model_*",)), pool_of(named)) == wanted
    assert column(Irt(systems=tuple(f"model_{s}" for s in range(12))), pool_of(named)) == wanted
    listed = TablePool(pa.table({"text": ["..."] * 80, "right": pa.array(rows, pa.list_(pa.int8()))}))
    assert column(Irt(column="right"), listed) == wanted


@pytest.mark.parametrize("kind", ["jsonl", "parquet", "csv"])
def test_outcomes_come_in_with_the_import(kind: str, tmp_path: Path) -> None:
    _, rows = world(12, 60)
    file = tmp_path / f"items.{kind}"
    table = [
        {"id": i, "question": f"item {i}", **{f"m{s}": r for s, r in enumerate(row)}} for i, row in enumerate(rows)
    ]
    if kind == "jsonl":
        file.write_text("".join(json.dumps(row) + "\n" for row in table))
    elif kind == "parquet":
        schema = pa.schema([("id", pa.int64()), ("question", pa.string()), *((f"m{s}", pa.int8()) for s in range(12))])
        pq.write_table(pa.Table.from_pylist(table, schema), file)
    else:
        lines = [",".join("" if v is None else str(v) for v in row.values()) for row in table]
        file.write_text("\n".join([",".join(table[0]), *lines]) + "\n")
    layout = detect(sample(file), "text", {"text": "question"})
    (chunk,) = chunks(file, layout, "items", {})
    assert not chunk.quarantine
    found = column(Irt(systems=("m*",)), TablePool(chunk.table))
    assert found == column(Irt(), pool_of([{"outcomes": row} for row in rows]))


def test_records_without_outcomes_are_unknown() -> None:
    _, rows = world(12, 50)
    pool = pool_of([None, {}, {"outcomes": None}, {"outcomes": [None] * 12}, *({"outcomes": row} for row in rows)])
    scored = score_in_memory(Irt(), pool)
    for name in ("difficulty", "difficulty_error", "share_right", "extreme"):
        assert scored.column(f"irt.{name}").to_pylist()[:4] == [None] * 4
        assert None not in scored.column(f"irt.{name}").to_pylist()[4:]
    assert scored.column("irt.answers").to_pylist()[:4] == [0] * 4
    assert column(Irt(), pool)[4:] == column(Irt(), pool_of([{"outcomes": row} for row in rows]))


def test_what_all_got_right_is_flagged_and_finite() -> None:
    _, rows = world(12, 50)
    rows[0], rows[1] = [1] * 12, [0] * 12
    scored = score_in_memory(Irt(), pool_of([{"outcomes": row} for row in rows]))
    assert scored.column("irt.extreme").to_pylist()[:2] == [True, True]
    easy, hard = scored.column("irt.difficulty").to_pylist()[:2]
    assert -5 < easy < -1 < 1 < hard < 5
    assert min(scored.column("irt.difficulty_error").to_pylist()[:2]) > 0.4


def test_auto_gives_items_their_own_discrimination_only_with_many_systems() -> None:
    for systems, own in ((199, False), (200, True)):
        _, rows = world(systems, 20)
        values = set(column(Irt(), pool_of([{"outcomes": row} for row in rows]), "discrimination"))
        assert (len(values) > 1) is own


def test_what_cannot_be_read_is_told() -> None:
    with pytest.raises(UsageError, match=r"irt found no outcomes in meta\. It looks for fields named outcomes"):
        score_in_memory(Irt(), pool_of([{"results": [1, 0]}]))
    with pytest.raises(UsageError, match=r"expected outcomes of 1 .* got 0\.5 of system 1"):
        score_in_memory(Irt(), pool_of([{"outcomes": [1, 0.5]}]))
