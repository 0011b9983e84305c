"""What docs/evidence.md shows is run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[3] / "docs" / "evidence.md").read_text()
FOLDER = Path(__file__).parents[3] / "src" / "tilth" / "engine" / "evidence"


def test_the_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
    exec(compile(code, "evidence.md", "exec"), {})
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("Forecast(value=92.7")
    assert shown[1] == "None"
    assert float(shown[2]) == pytest.approx(0.116, abs=0.001)


def test_every_file_has_its_question() -> None:
    files = {f.stem for f in FOLDER.glob("[!_]*.py")} - {"gathered"}
    assert files == set(re.findall(r"\| .*? `(\w+)` \|", PAGE)), "docs/evidence.md names every file once"
