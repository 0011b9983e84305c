"""Write the pictures of a finished tournament as SVG files that stand alone, for a page outside the report.

    python scripts/plots.py build/tournament docs/plots

Reads `tournament/tournament.json` of the build's folder; draws with the report's own code.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

import tilth.report
from tilth.report import charts
from tilth.report.markup import el

WIDTH, MARGIN = 760, 16
DRAWN = (
    ":root",
    "  color",
    "  --",
    "  :root",
    "    --",
    "  }",
    "}",
    "@media (prefers",
    "svg",
    ".line",
    ".span",
    ".zero",
)


def standalone(figure: str) -> str:
    """The picture of a chart with the style it needs, on a page of its own."""
    found = re.search(r"<svg.*</svg>", figure, re.DOTALL)
    assert found, "a chart without a picture"
    height = float(re.search(r'height="([\d.]+)"', found[0])[1])  # type: ignore[index]
    sheet = (Path(tilth.report.__file__).parent / "style.css").read_text()
    style = "\n".join(line for line in sheet.splitlines() if line.startswith((*DRAWN, ".axis")))
    inner = found[0].replace("<svg ", f'<svg x="{MARGIN}" y="{MARGIN}" ', 1)
    inner = inner.replace('width="100%"', f'width="{WIDTH - 2 * MARGIN}"', 1)
    tall = height + 2 * MARGIN
    outer = el("svg", "PICTURE", xmlns="http://www.w3.org/2000/svg", width=WIDTH, height=f"{tall:g}")
    ground = f'<style>{style}</style><rect width="{WIDTH}" height="{tall:g}" style="fill: var(--page)"/>'
    return outer.replace("PICTURE", ground + inner) + "\n"


def pictures(told: Mapping[str, Any]) -> dict[str, str]:
    rows = [
        charts.Interval(r["name"], r["effect"], r["low"], r["high"], r["it_is"]) for r in told["table"] if "effect" in r
    ]
    curves = {n: (np.array(c["tokens"], float), np.array(c["loss"])) for n, c in told["curves"].items()}
    unit, reference = told["unit"], told["reference"]
    found = {
        "gains": charts.forest(
            "Each candidate against the best uninformed baseline",
            rows, unit, f"{reference} is better", "candidate is better", before="",
        )
    }  # fmt: skip
    if curves:
        found["curves"] = charts.lines("Loss over tokens read", curves, "tokens read", unit, rows[0].name, reference)
    return {name: standalone(figure) for name, figure in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build", type=Path, help="a build's folder with a finished tournament")
    parser.add_argument("out", type=Path, help="folder for the pictures")
    args = parser.parse_args()
    told = json.loads((args.build / "tournament" / "tournament.json").read_text())
    args.out.mkdir(parents=True, exist_ok=True)
    for name, picture in pictures(told).items():
        path = args.out / f"{name}.svg"
        path.write_text(picture)
        print(path)


if __name__ == "__main__":
    main()
