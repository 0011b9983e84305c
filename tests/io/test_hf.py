from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tilth.core.errors import BadInput
from tilth.io.hf import is_saved, read, read_table
from tilth.io.reader import Row, open_reader

ROWS: list[dict[str, Any]] = [
    {"text": "eins", "n": 1, "tags": ["a"]},
    {"text": "zwei", "n": 2, "tags": []},
    {"text": "drei", "n": 3, "tags": ["b", "c"]},
]


def values(items: Any) -> list[dict[str, Any]]:
    return [item.value for item in items if isinstance(item, Row)]


def save(folder: Path, rows: list[dict[str, Any]], shards: int = 2) -> None:
    """The layout `save_to_disk` writes, by hand, so that the test needs no `datasets`."""
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{shards:05d}.arrow" for i in range(shards)]
    for i, name in enumerate(names):
        table = pa.Table.from_pylist(rows[i::shards])
        with pa.OSFile(str(folder / name), "wb") as file, pa.ipc.new_stream(file, table.schema) as out:
            out.write_table(table)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": n} for n in names], "_split": "train"}))
    (folder / "dataset_info.json").write_text("{}")


def test_saved_folder(tmp_path: Path) -> None:
    save(tmp_path / "set", ROWS)
    assert is_saved(tmp_path / "set")
    got = list(open_reader(tmp_path / "set")(tmp_path / "set"))
    assert [item.number for item in got] == [1, 2, 3]
    assert values(got) == [ROWS[0], ROWS[2], ROWS[1]]


def test_saved_splits_and_single_files(tmp_path: Path) -> None:
    save(tmp_path / "set" / "train", ROWS, shards=1)
    save(tmp_path / "set" / "test", ROWS[:1], shards=1)
    (tmp_path / "set" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    assert values(read(tmp_path / "set")) == [*ROWS, ROWS[0]]
    assert values(read(tmp_path / "set" / "test" / "data-00000-of-00001.arrow")) == ROWS[:1]


def test_random_access_arrow_file(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as out:
        out.write_table(table)
    assert values(read(tmp_path / "a.arrow")) == ROWS


def test_bad_folders(tmp_path: Path) -> None:
    save(tmp_path / "set", ROWS, shards=1)
    file = tmp_path / "set" / "data-00000-of-00001.arrow"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(BadInput, match="no whole Arrow file"):
        list(read(tmp_path / "set"))
    state = tmp_path / "set" / "state.json"
    for text, reason in [
        ("[]", "is not a JSON object"),
        ("{", "cannot be read"),
        ('{"_data_files": [{"filename": "../../secret.arrow"}]}', "no file of this folder"),
        ('{"_indices_data_files": [{"filename": "i.arrow"}]}', "flatten_indices"),
        ('{"_data_files": [{"filename": "gone.arrow"}]}', "no whole Arrow file"),
    ]:
        state.write_text(text)
        with pytest.raises(BadInput, match=reason):
            list(read(tmp_path / "set"))


def test_tables_in_memory() -> None:
    table = pa.Table.from_pylist(ROWS)
    assert values(read_table(table)) == ROWS
    assert values(read_table(pa.RecordBatchReader.from_batches(table.schema, table.to_batches()))) == ROWS
    with pytest.raises(BadInput, match="Got list"):
        list(read_table(ROWS))


def test_pandas() -> None:
    pandas = pytest.importorskip("pandas")
    assert values(read_table(pandas.DataFrame({"text": ["a", None], "n": [1, 2]}))) == [
        {"text": "a", "n": 1},
        {"text": None, "n": 2},
    ]


def test_datasets(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    assert values(read_table(made)) == ROWS
    assert values(read_table(made.select([2, 0]))) == [ROWS[2], ROWS[0]]
    datasets.disable_progress_bars()
    made.select([1, 2]).save_to_disk(str(tmp_path / "set"))
    assert values(read(tmp_path / "set")) == ROWS[1:]
    datasets.DatasetDict({"train": made, "test": made}).save_to_disk(str(tmp_path / "both"))
    assert values(read(tmp_path / "both")) == ROWS + ROWS
