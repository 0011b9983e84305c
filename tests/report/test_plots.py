"""Do the pictures of a page outside the report stand alone?"""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

ROOT = Path(__file__).parents[2]
SVG = "{http://www.w3.org/2000/svg}"


def test_a_tournament_becomes_two_pictures_that_stand_alone(tmp_path: Path) -> None:
    told = {
        "unit": "bits per byte",
        "reference": "natural",
        "table": [
            {"name": "a & <b>", "effect": 0.5, "low": 0.25, "high": 0.75, "it_is": "better"},
            {"name": "natural"},
        ],
        "curves": {
            "a & <b>": {"tokens": [10, 100], "loss": [3.0, 2.0]},
            "natural": {"tokens": [10, 100], "loss": [3.0, 2.5]},
        },
    }
    (tmp_path / "tournament").mkdir()
    (tmp_path / "tournament" / "tournament.json").write_text(json.dumps(told))
    command = [sys.executable, str(ROOT / "scripts" / "plots.py"), str(tmp_path), str(tmp_path / "out")]
    made = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert [Path(path).name for path in made] == ["gains.svg", "curves.svg"]
    for path in made:
        root = ET.parse(path).getroot()
        assert root.tag == f"{SVG}svg"
        assert "%" not in (root.get("width") or "%")
        style = root.findtext(f"{SVG}style") or ""
        assert "--page" in style
        assert style.count("{") == style.count("}")
    gains = ET.parse(made[0]).getroot()
    (dot,) = gains.iter(f"{SVG}circle")
    assert dot.get("class") == "dot good"
    assert "a & <b>" in "".join(gains.itertext())


def test_the_page_about_signals_shows_the_pictures_it_describes() -> None:
    import re

    page = (ROOT / "docs" / "signals.md").read_text()
    found = [ROOT / "docs" / name for name in re.findall(r"!\[.+?\]\((.+?)\)", page)]
    assert [path.name for path in found] == ["map.svg", "correlations.svg"]
    points, cells = (
        [e for e in ET.parse(path).getroot().iter() if (e.get("class") or "").startswith(which) and len(e)]
        for path, which in zip(found, ("mark", "cell"), strict=True)
    )
    assert len(points) == 400
    assert "hard and 12 ambiguous" in page
    assert len(cells) == 10 * 9 // 2


def test_the_page_about_proofs_shows_pictures_and_commands_that_exist() -> None:
    import re

    page = (ROOT / "docs" / "proofs.md").read_text()
    pictures = re.findall(r"!\[.+?\]\((.+?)\)", page)
    assert len(pictures) >= 2
    for picture in pictures:
        assert ET.parse(ROOT / "docs" / picture).getroot().tag == f"{SVG}svg"
    files = re.findall(r"`?(?:python )?((?:scripts|benchmarks|recipes)/\w+\.\w+)", page)
    assert files
    assert all((ROOT / file).exists() for file in files)
