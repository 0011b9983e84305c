from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from tilth.core.errors import BadInput
from tilth.io.reader import Row, open_reader


def test_round_trip_and_damage(tmp_path: Path) -> None:
    import lance

    path = tmp_path / "a.lance"
    lance.write_dataset(pa.table({"text": ["eins", None, "drei"]}), str(path))
    assert list(open_reader(path)(path)) == [Row(i, {"text": t}) for i, t in enumerate(("eins", None, "drei"), 1)]
    for file in (path / "data").iterdir():
        file.write_bytes(file.read_bytes()[:40])
    with pytest.raises(BadInput, match="no whole Lance dataset"):
        list(open_reader(path)(path))
    (tmp_path / "b.lance").mkdir()
    with pytest.raises(BadInput, match="no whole Lance dataset"):
        list(open_reader(tmp_path / "b.lance")(tmp_path / "b.lance"))
