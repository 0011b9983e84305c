from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tilth.core.errors import NoSpace
from tilth.io.files import replacing
from tilth.io.manifest import write_manifest


def test_lists_every_file_with_its_hash(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.bin").write_bytes(b"abc")
    (tmp_path / "b.txt").write_bytes(b"")
    (tmp_path / "c.txt.tmp").write_bytes(b"left by a crash")
    path = write_manifest(tmp_path, {"seed": 3, "requested": {"web": 0.5}, "realised": {"web": 0.5}})
    first = path.read_bytes()
    assert json.loads(first) == {
        "files": {
            "b.txt": {"bytes": 0, "sha256": hashlib.sha256(b"").hexdigest()},
            "data/a.bin": {"bytes": 3, "sha256": hashlib.sha256(b"abc").hexdigest()},
        },
        "realised": {"web": 0.5},
        "requested": {"web": 0.5},
        "seed": 3,
    }
    write_manifest(tmp_path, {"realised": {"web": 0.5}, "requested": {"web": 0.5}, "seed": 3})
    assert path.read_bytes() == first


def test_a_file_appears_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "a.txt"
    with replacing(path) as file:
        file.write(b"new")
        assert not path.exists()
    assert path.read_bytes() == b"new"
    with pytest.raises(TypeError), replacing(path) as file:
        file.write("half")  # type: ignore[call-overload]
    assert path.read_bytes() == b"new"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_full_disk_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(NoSpace, match="disk is full"), replacing(tmp_path / "a"):
        raise OSError(28, "No space left on device")
