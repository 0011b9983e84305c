"""What README and the recipes promise is run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tilth import catalog
from tilth.recipe import load

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.S)


@pytest.mark.parametrize("path", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda p: p.stem)
def test_recipes_are_valid_and_name_methods_that_exist(path: Path) -> None:
    recipe = load(path)
    for spec in [*recipe.signals, *recipe.plan, *([recipe.proof.method] if recipe.proof else [])]:
        catalog.build({k: v for k, v in spec.items() if k != "as"})


def test_the_recipe_shown_is_the_recipe_shipped() -> None:
    shown = next(yaml.safe_load(code) for kind, code in BLOCKS if kind == "yaml")
    shipped = yaml.safe_load((ROOT / "recipes" / "quickstart.yaml").read_text())
    assert {k: v for k, v in shown.items() if k != "sources"} == {k: v for k, v in shipped.items() if k != "sources"}
    assert shown["sources"].items() <= shipped["sources"].items()


def test_the_python_example_runs_and_ends_with_a_verdict(tmp_path: Path) -> None:
    code = next(code for kind, code in BLOCKS if kind == "python")
    code = code.replace('Path("build/python")', f"Path({str(tmp_path)!r})")
    script = tmp_path / "example.py"
    script.write_text("\n".join(["if __name__ == '__main__':", *(f"    {line}" for line in code.splitlines())]))
    done = subprocess.run([sys.executable, str(script)], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("BETTER than the best baseline"), done.stdout


def test_every_command_named_exists() -> None:
    from tilth.cli import app

    known = {c.name or (c.callback.__name__ if c.callback else "") for c in app.registered_commands}
    named = set(re.findall(r"tilth (\w+)", "\n".join(code for _, code in BLOCKS))) | {"why", "diff", "list", "show"}
    assert named - {"decides", "is", "will"} <= known
    assert "build" in named
