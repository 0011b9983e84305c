"""A run: its device, its randomness by place, and what happens when one part of it is varied."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pyarrow as pa
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


def test_varying_a_name_changes_its_places_and_no_other() -> None:
    run = Run(seed=3).at("trial", 1)
    varied = run.vary(init=2)
    assert varied.number("init") != run.number("init")
    assert varied.at("init").number("layer", 4) != run.at("init").number("layer", 4)
    assert varied.number("order") == run.number("order")
    assert varied.number("initial") == run.number("initial")  # a name is a whole word of the path
    ids = pa.array(["a", "b"])
    assert (varied.uniform(ids, "order") == run.uniform(ids, "order")).all()
    assert (varied.uniform(ids, "init") != run.uniform(ids, "init")).all()


def test_draws_differ_and_combine_and_do_not_depend_on_how_they_were_set() -> None:
    run = Run()
    numbers = {run.vary(init=k).number("init") for k in range(20)} | {run.number("init")}
    assert len(numbers) == 21
    both = run.vary(init=1, order=2)
    assert both == run.vary(order=2).vary(init=1) == run.vary(init=0).vary(order=2, init=1)
    assert both.number("init") == run.vary(init=1).number("init")
    assert both.number("init", "order") != run.vary(init=1).number("init", "order")
    assert pickle.loads(pickle.dumps(both)).number("init") == both.number("init")


def test_a_run_that_varies_nothing_draws_what_it_always_drew() -> None:
    assert Run(seed=1).at("a").number("b") == 1547353538175762612
    assert Run(seed=1).vary(c=5).at("a").number("b") == 1547353538175762612
