"""Does a run know its device, and does asking cost nothing until somebody asks?"""

from __future__ import annotations

import subprocess
import sys

import pytest

from tilth.core import Run


@pytest.mark.parametrize("found", [True, False])
def test_auto_is_the_gpu_where_there_is_one(found: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: found)
    run = Run(device="auto")
    assert run.device == ("cuda" if found else "cpu")
    assert run.at("somewhere").device == run.device
    assert Run().device == "cpu"
    assert Run(device="cuda").device == "cuda"


def test_auto_is_the_cpu_without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Run(device="auto").device == "cpu"


def test_nothing_heavy_is_loaded_before_it_is_needed() -> None:
    code = (
        "import sys; from tilth import cli, catalog; from tilth.core import Run; Run(); catalog.find('tiny_lm'); "
        "print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert made.stdout.strip() == "[]"
