"""The tests are tested: seven faults of the kind people make, each of which must be caught."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from tests import test_contract as contract

from tilth import catalog
from tilth.core import World

ROOT = Path(__file__).parents[1]

HEAD = '''
"""A signal with a fault."""
from collections.abc import Mapping, Sequence
from typing import Any
import numpy as np
import pyarrow as pa
from tilth.core import PureSignal, Run


class {cls}(PureSignal):
    """Counts bytes, wrongly."""

    @property
    def needs(self) -> Sequence[str]:
        return ("text",)

    @property
    def makes(self) -> Mapping[str, pa.DataType]:
        return {{"value": pa.float64()}}

    def map(self, batch: pa.RecordBatch, run: Run) -> Mapping[str, Any]:
        sizes = np.array([len(t or "") for t in batch.column("text").to_pylist()], float)
        {body}
'''


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Write a faulty signal to a file and put it into the catalog."""

    def planted(name: str, body: str, cls: str = "") -> None:
        path = tmp_path / f"{name}.py"
        path.write_text(HEAD.format(cls=cls or name.capitalize(), body=body))
        module = f"tilth.signals.{name}"
        spec = importlib.util.spec_from_file_location(module, path)
        assert spec is not None
        assert spec.loader is not None
        loaded = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, module, loaded)
        spec.loader.exec_module(loaded)
        monkeypatch.setattr(catalog, "names", lambda: {name: module})

    return planted


world = contract.world


def test_sound_signal_passes(plant: Callable[..., None], world: World) -> None:
    """The control: without a fault the same checks are silent."""
    plant("sound", 'return {"value": sizes}')
    contract.test_named_after_its_file("sound")
    contract.test_signal_keeps_its_promises("sound", world)


def test_fault_1_score_depends_on_its_batch(plant: Callable[..., None], world: World) -> None:
    plant("batchy", 'return {"value": sizes - (sizes.mean() if sizes.size else 0)}')
    with pytest.raises(AssertionError, match="depends on its"):
        contract.test_signal_keeps_its_promises("batchy", world)


def test_fault_2_unseeded_generator(plant: Callable[..., None], world: World) -> None:
    plant("moody", 'return {"value": sizes + np.random.default_rng().random()}')
    with pytest.raises(AssertionError):
        contract.test_signal_keeps_its_promises("moody", world)


def test_fault_3_undeclared_column(plant: Callable[..., None], world: World) -> None:
    plant("chatty", 'return {"value": sizes, "extra": sizes}')
    with pytest.raises(AssertionError):
        contract.test_signal_keeps_its_promises("chatty", world)


def test_fault_4_class_not_named_after_its_file(plant: Callable[..., None]) -> None:
    plant("misnamed", 'return {"value": sizes}', cls="Other")
    with pytest.raises(AssertionError):
        contract.test_named_after_its_file("misnamed")


def exam_of_mutant(tmp_path: Path, file: str, old: str, new: str, exam: str) -> int:
    """Copy the project, put the fault in, run the method's exam; returns pytest's exit code."""
    shutil.copytree(ROOT / "src", tmp_path / "src")
    shutil.copytree(ROOT / "tests", tmp_path / "tests")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    target = tmp_path / "src" / "tilth" / file
    source = target.read_text()
    assert old in source, f"the line to spoil is gone from {file}: choose another"
    target.write_text(source.replace(old, new))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", f"tests/exams/{exam}"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "src")},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), textwrap.shorten(done.stdout + done.stderr, 2000)
    return done.returncode


def test_fault_5_score_with_its_sign_turned(tmp_path: Path) -> None:
    old = "self._log_shares(target) - self._log_shares(source)"
    new = "self._log_shares(source) - self._log_shares(target)"
    assert exam_of_mutant(tmp_path, "signals/target/importance.py", old, new, "test_importance.py") == 1


def test_fault_6_policy_that_maximises_the_loss(tmp_path: Path) -> None:
    old, new = "np.argsort(predict(fresh)", "np.argsort(-predict(fresh)"
    assert exam_of_mutant(tmp_path, "policies/mix/regmix.py", old, new, "test_regmix.py") == 1


def test_fault_7_global_seed_in_a_method(tmp_path: Path) -> None:
    """No test can see it, so the linter forbids it."""
    bad = tmp_path / "src" / "bad.py"
    bad.parent.mkdir()
    bad.write_text('"""A method."""\n\nimport numpy as np\n\nnp.random.seed(0)\n')
    ruff = [sys.executable, "-m", "ruff", "check", "--no-cache", "--config", str(ROOT / "pyproject.toml"), str(bad)]
    done = subprocess.run(ruff, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "run.rng" in done.stdout
