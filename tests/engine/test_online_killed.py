"""A proof of a plan that an online policy steers, killed with all its processes in the middle and resumed."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tilth.core import Plan, Run
from tilth.engine.local import Workers
from tilth.engine.prove import prove
from tilth.policies.mix.natural import Natural
from tilth.policies.mix.steered import Steered
from tilth.probes.planted_mixture import PlantedMixture
from tilth.proofs.tiny_lm import TinyLm

SECONDS = 60.0
SEEDS = 2
PROBE = PlantedMixture(items=10, length=30)
PROOF = TinyLm(depth=1, tokens=3200, vocab=300, context=16, batch=2, points=100)
"""100 steps, so every step's own loss is kept; it is saved after the 50th."""


def proved(folder: Path, workers: int) -> None:
    """The same proof whoever calls it; it goes on where an earlier call was cut."""
    made = PROBE.build(1200, Run())
    assert made.goal is not None
    start, goal = Plan.everything(made.pool, made.goal.budget), made.goal
    plan = Steered(policy="dga", every=4).revise(start, made.pool, goal.blind(), Run())
    rivals = {"natural": Natural().revise(start, made.pool, goal.blind(), Run())}
    with Workers(workers, Run().progress) as pool:
        prove(PROOF, plan, rivals, made.pool, goal, folder, seeds=SEEDS, workers=pool)


def left(folder: Path) -> tuple[dict[str, bytes], dict[str, list[Any]]]:
    """The files of decisions, and of each trial every loss that was kept."""
    logs = {file.name: file.read_bytes() for file in (folder / "shares").iterdir()}
    losses = {}
    for file in (folder / "trials").iterdir():
        outcome = pickle.loads(file.read_bytes())
        arrays = (outcome.losses, outcome.curve.losses, outcome.curve.tokens, outcome.curve.training)
        losses[file.name] = [a.tobytes() for a in arrays] + [a.shape for a in arrays]
    return logs, losses


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], dict[str, list[Any]]]:
    folder = tmp_path_factory.mktemp("whole")
    proved(folder, 1)
    return left(folder)


def killed_in_the_middle(folder: Path, workers: int) -> list[tuple[int, int]]:
    """Kill the proof, and every process of it, as soon as a steered trial has saved itself.

    Returns:
        Of each trial that was cut after it had saved itself: the step, and how many decisions there were till then.
    """
    code = f"from pathlib import Path; from {__name__} import proved; proved(Path({str(folder)!r}), {workers})"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(
        [sys.executable, "-c", f"if __name__ == '__main__': {code}"],
        cwd=Path(__file__).parents[2],
        env=environment,
        start_new_session=True,
    )
    until = time.monotonic() + SECONDS
    while not cut(folder):
        assert process.poll() is None, "the proof ended before it was killed"
        assert time.monotonic() < until, "no steered trial saved itself"
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    return cut(folder)


def cut(folder: Path) -> list[tuple[int, int]]:
    """Of each steered trial that has saved itself and not ended."""
    found = []
    for file in (folder / "unfinished").glob("*.checkpoint"):
        try:
            kept = torch.load(file, weights_only=False)
        except FileNotFoundError:  # that trial has ended since
            continue
        if len(kept["carried"]) > 1:  # the curve, and what an online policy carries
            found.append((kept["step"], len(kept["carried"][1][1])))
    return found


@pytest.mark.parametrize(("first", "then"), [(2, 1), (1, 2)])
def test_it_decides_and_reads_the_same_on_another_number_of_workers(
    first: int, then: int, whole: tuple[dict[str, bytes], dict[str, list[Any]]], tmp_path: Path
) -> None:
    found = killed_in_the_middle(tmp_path, first)
    assert found
    assert all(step == 50 and decisions == 13 for step, decisions in found)
    done = len(list((tmp_path / "trials").glob("*.pkl")))
    assert done < 4 * SEEDS, "it was killed too late"
    proved(tmp_path, then)
    logs, losses = left(tmp_path)
    assert len(logs) == 2 * SEEDS
    assert logs == whole[0]
    assert losses == whole[1]
    assert not (tmp_path / "unfinished").exists()
    steps = [json.loads(text) for text in logs.values()]
    assert all(len(told["shares"]) > 10 and told["shares"][0][1] != told["shares"][-1][1] for told in steps)
