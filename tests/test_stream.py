"""What docs/stream.md promises is run, the script killed and resumed too."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from tilth.cli import app
from tilth.core import Budget, Plan, TablePool
from tilth.engine.stream import Stream
from tilth.models.tokenizer import Tokenizer
from tilth.stream import describe

PAGE = (Path(__file__).parents[1] / "docs" / "stream.md").read_text()
LOOP, TRAINER = re.findall(r"```python\n(.*?)```", PAGE, flags=re.S)
WORDS = ["soil", "seed", "field", "plough", "rain", "root", "leaf", "grain"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sources and a recipe, built."""
    place = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    for name, count in (("notes", 120), ("letters", 60)):
        rows = [json.dumps({"text": " ".join(rng.choice(WORDS, rng.integers(5, 60)))}) for _ in range(count)]
        (place / f"{name}.jsonl").write_text("\n".join(rows))
    for part, some in (("target", "oak elm ash"), ("holdout", "owl jay wren")):
        rows = [json.dumps({"text": " ".join(rng.choice(some.split(), 9))}) for _ in range(4)]
        (place / f"{part}.jsonl").write_text("\n".join(rows))
    goal = "{target: target.jsonl, holdout: holdout.jsonl, budget: 5000 tokens}"
    recipe = f"sources: {{notes: notes.jsonl, letters: letters.jsonl}}\ngoal: {goal}\nplan: [stratified]\n"
    (place / "mine.yaml").write_text(recipe)
    done = subprocess.run(
        [sys.executable, "-m", "tilth", "plan", "mine.yaml"], cwd=place, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return place


def test_the_loop_of_the_page_is_short_and_resumes_to_the_same_weights(folder: Path) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    assert len(LOOP.strip().splitlines()) <= 25
    ends = []
    for name, kills in (("whole", 0), ("killed", 2)):
        place = folder / name
        place.mkdir()
        (place / "build").symlink_to(folder / "build")
        (place / "loop.py").write_text(LOOP)
        while True:
            job = subprocess.Popen([sys.executable, "loop.py"], cwd=place, stderr=subprocess.PIPE, env=_quiet())
            if kills:
                kills -= 1
                before = _step(torch, place)
                while job.poll() is None and _step(torch, place) < before + 3:
                    time.sleep(0.02)
                assert job.poll() is None, "it ended before it was killed"
                job.send_signal(signal.SIGKILL)
                job.communicate()
                continue
            _, error = job.communicate()
            assert job.returncode == 0, error.decode()
            break
        ends.append(torch.load(place / "last.pt", weights_only=False))
    whole, killed = ends
    assert whole["stream"] == killed["stream"]
    assert all(torch.equal(weights, killed["model"][name]) for name, weights in whole["model"].items())


def test_the_model_of_the_page_keeps_records_apart(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    monkeypatch.chdir(folder)
    names: dict[str, Any] = {}
    exec(LOOP[: LOOP.index("optimizer =")], names)
    assert TRAINER.count("use_cache=False") == 1
    batch = names["stream"].at(0)
    ids, places = torch.from_numpy(batch.input_ids), torch.from_numpy(batch.position_ids)
    first = torch.from_numpy(batch.segment_ids == 0)
    assert first.any()
    assert not first.all()
    with torch.no_grad():
        told = names["model"](input_ids=ids, position_ids=places).logits
        other = names["model"](input_ids=torch.where(first, (ids + 7) % 300, ids), position_ids=places).logits
    assert not torch.equal(told[first], other[first])
    assert torch.equal(told[~first], other[~first])


def _step(torch, place: Path) -> int:  # type: ignore[no-untyped-def]
    if not (place / "last.pt").exists():
        return 0
    return int(torch.load(place / "last.pt", weights_only=False)["stream"]["step"])


def _quiet() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.mark.parametrize(("epochs", "steps", "at"), [(1, 6, 3), (2, 18, 15)])
def test_a_trainer_resumes_where_it_was(folder: Path, tmp_path: Path, epochs: int, steps: int, at: int) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("transformers")
    (tmp_path / "build").symlink_to(folder / "build")
    setting = LOOP[: LOOP.index("optimizer =")]
    code = "\n".join(
        [
            setting,
            "losses = []",
            TRAINER.replace("trainer.train()", "torch.manual_seed(0)\ntrainer.train(resume_from_checkpoint=RESUME)"),
            "assert stream.epoch == EPOCHS - 1",
            "print('WEIGHTS', sum(float(p.double().abs().sum()) for p in model.parameters()), stream.step)",
        ]
    )
    told = []
    code = code.replace("context=64)", f"context=64, epochs={epochs})").replace("EPOCHS", str(epochs))
    code = code.replace('"max_steps": 6, "save_steps": 3', f'"max_steps": {steps}, "save_steps": {at}')
    for resume in (None, f"run/checkpoint-{at}"):
        (tmp_path / "train.py").write_text(f"RESUME = {resume!r}\n{code}")
        done = subprocess.run([sys.executable, "train.py"], cwd=tmp_path, capture_output=True, text=True, env=_quiet())
        assert done.returncode == 0, done.stderr
        told.append(float(re.findall(r"WEIGHTS (\S+)", done.stdout)[0]))
    assert told[0] == told[1]
    assert torch is not None


def test_records_that_count_nothing_are_described(tmp_path: Path) -> None:
    pool = TablePool(pa.table({"text": ["", None, "soil"], "tokens": [{"count": 0}] * 3}))
    plan = Plan.everything(pool, Budget(10))
    tokenizer = Tokenizer.train(WORDS * 9, vocab=300)
    facts, text = describe(Stream(plan, pool, tokenizer, batch=2, context=8, cache=tmp_path), plan)
    assert facts["sources"] == []
    assert "of 3 readings" in text
    assert facts["left_out"] == 2


def test_the_command_says_what_a_model_reads(folder: Path) -> None:
    arguments = ["stream", str(folder / "mine.yaml"), "--out", str(folder / "build/mine"), "--context", "64", "--json"]
    told = json.loads(CliRunner().invoke(app, arguments, catch_exceptions=False).stdout)
    assert {row["source"]: round(row["read"], 1) for row in told["sources"]} == {"letters": 0.5, "notes": 0.5}
    assert told["steps"] == -(-told["windows"] // 8)
    assert told["padding"] < 0.05
    shown = CliRunner().invoke(app, [*arguments[:-1], "--show", "2"], catch_exceptions=False).stdout
    assert shown.count("window ") == 2


def test_the_command_shows_windows_of_many_lengths(folder: Path) -> None:
    arguments = ["stream", str(folder / "mine.yaml"), "--out", str(folder / "build/mine"), "--context", "8", "--json"]
    told = json.loads(CliRunner().invoke(app, [*arguments, "--packing", "buckets"], catch_exceptions=False).stdout)
    assert told["padding"] == 0.0  # a window is full of one record
    assert told["tokens_left_out"] > 0  # what is left of a record when not even the shortest window is
    refused = CliRunner().invoke(app, [*arguments, "--packing", "boxes"])
    assert refused.exit_code != 0
    assert "buckets" in str(refused.exception)
