"""Who may import whom: core knows no method, a method knows no engine, the engine names no method."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SRC = Path(__file__).parents[1] / "src" / "tilth"
METHODS = ("signals", "policies", "transforms", "proofs", "probes")

FORBIDDEN = {
    "kernels": ("core", "engine", "io", "models", "report", "catalog", "recipe", "cli", "build", "contest", *METHODS),
    "core": ("engine", "io", "models", "report", "recipe", "cli", "build", "contest", *METHODS),
    "models": ("engine", "io", "report", "recipe", "cli", "build", "contest", *METHODS),
    "signals": ("engine", "io", "report", "recipe", "cli", "build", "contest", "policies", "proofs", "probes"),
    "policies": ("engine", "io", "report", "recipe", "cli", "build", "contest", "probes"),
    "proofs": ("engine", "io", "report", "recipe", "cli", "build", "contest", "policies", "probes"),
    "probes": ("engine", "io", "report", "recipe", "cli", "build", "contest"),
    "engine": ("report", "recipe", "cli", "build", "contest", "catalog", *METHODS),
    "io": ("engine", "report", "recipe", "cli", "build", "contest", "catalog", *METHODS),
}
FILES = sorted(SRC.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """The tilth packages and modules that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{a.name}" for a in node.names if node.module == "tilth")]
        elif isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        else:
            continue
        found |= {n.split(".")[1] for n in names if n.startswith("tilth.")}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SRC)))
def test_layers(path: Path) -> None:
    layer = path.relative_to(SRC).parts[0]
    broken = imports(path) & set(FORBIDDEN.get(layer, ()))
    assert not broken, f"{path.relative_to(SRC)} must not import {broken}"


def test_the_rule_can_fail(tmp_path: Path) -> None:
    bad = tmp_path / "bad.py"
    bad.write_text("from tilth import engine\nimport tilth.report.page\nfrom tilth.io.jsonl import read\n")
    assert imports(bad) == {"engine", "report", "io"}
