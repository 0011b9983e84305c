"""General-purpose in-context learning (Kirsch et al. 2022, arXiv 2212.04458): few tasks are learned by heart, not many.

A task sees scikit-learn's digits through a random projection, and permutes their labels. A decoder of 2 layers reads
the projected images, each with the label of the one before, and tells the label of each; arms differ in how many tasks
they are trained on, at equal updates. Test sequences have new images, of training tasks, of new tasks, and of new
tasks over clusters that are no digits. Beside them stands the nearest neighbour among earlier images. In the control
each test sequence shows the labels of another. Three seeds draw tasks, weights and order. Here are 2 digits and 8
dimensions, where the paper has 10 classes and whole images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tilth.claims import _lab as lab
from tilth.core import Run, World
from tilth.models.optim import Options, precision_of
from tilth.models.train import threads
from tilth.probes.gpicl import TESTS, Gpicl, examples, regime

__all__ = ["PAPER", "run", "statements"]

PAPER = "generalpurpose_incontext_learning_by_metalearning_transformers"
SEEDS = 3
Read = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
REGIMES = ("memorises", "identifies", "learns")
KINDS = {"seen": "training tasks", "new": "new tasks", "other": "new tasks, no digits"}


@dataclass(frozen=True)
class Scale:
    """The tasks, by arm how many are trained on, and the training; `size` is what images are projected to."""

    tasks: tuple[int, ...] = (16, 256, 4096)
    classes: int = 2
    size: int = 8
    length: int = 20
    tests: int = 400
    depth: int = 2
    steps: int = 2000
    batch: int = 32


@dataclass(frozen=True)
class Found:
    """Shares of right labels by test: at the first place, and in the last quarter.

    Attributes:
        nearest: in the last quarter of new tasks, of the label of the nearest image before.
        dealt: in the last quarter of new tasks, where each sequence shows the labels of another.
        regime: what the curves say.
    """

    first: Mapping[str, float]
    late: Mapping[str, float]
    nearest: float
    dealt: float
    regime: str


def run(data: Path | None) -> list[dict[str, Any]]:
    """One row per statement: what the paper found, mean and 95 % interval here, whether it holds. Needs no data."""
    del data
    scale = Scale()
    found = {tasks: [measured(tasks, Run(seed=seed), scale) for seed in range(SEEDS)] for tasks in scale.tasks}
    return statements(found, 1 / scale.classes)


def statements(found: Mapping[int, Sequence[Found]], chance: float) -> list[dict[str, Any]]:
    """The paper's statements, judged on what `measured` gives of each seed by number of tasks."""

    def late(tasks: int, test: str) -> Floats:
        return np.array([f.late[test] for f in found[tasks]])

    few, many = min(found), max(found)
    # With 10 digits "few fail" means at most 0.2, "many learn" at least 0.6: here the same way from chance to 1.
    low, high = (round(chance + (limit - 0.1) / 0.9 * (1 - chance), 2) for limit in (0.2, 0.6))
    bad, good = f"about chance (here: at most {low})", f"far above chance (here: at least {high})"
    known = np.array([f.first["seen"] for f in found[few]])
    rise = late(many, "new") - np.array([f.first["new"] for f in found[many]])
    gain = late(many, "new") - late(few, "new")
    dealt = np.array([f.dealt for f in found[many]])
    return [
        lab.row(f"{few} tasks: new tasks; chance is {chance:.2f}", bad, late(few, "new"),
                late(few, "new").mean() <= low),
        lab.row(f"{few} tasks: training tasks, first place (told by heart)", good, known,
                known.mean() >= high),
        lab.row(f"{many} tasks: new tasks", good, late(many, "new"), late(many, "new").mean() >= high),
        lab.row(f"{many} tasks: new tasks, last quarter less first place", "above 0", rise, lab.mean(rise)[1] > 0),
        lab.row(f"new tasks: {many} tasks less {few}", "above 0", gain, lab.mean(gain)[1] > 0),
        lab.row(f"{many} tasks: new tasks over clusters that are no digits", good, late(many, "other"),
                late(many, "other").mean() >= high),
        lab.row(f"control: {many} tasks, new tasks, each sequence shows the labels of another",
                bad, dealt, dealt.mean() <= low),
        lab.row("new tasks: nearest neighbour", "", [f.nearest for f in found[many]], None),
        *(lab.row(f"{tasks} tasks: {name}, {place}", "", [getattr(f, field)[test] for f in some], None)
          for tasks, some in found.items() for test, name in KINDS.items()
          for field, place in (("first", "first place"), ("late", "last quarter"))),
        *(lab.row(f"{tasks} tasks: share of seeds whose model {name}", "", [np.mean([f.regime == name for f in some])],
                  None) for tasks, some in found.items() for name in REGIMES),
    ]  # fmt: skip


def measured(tasks: int, run: Run, scale: Scale) -> Found:
    """Train on sequences of so many tasks, and be tested on images that were not trained on."""
    probe = Gpicl(classes=scale.classes, length=scale.length, tests=scale.tests)
    world = probe.build(tasks, run)
    with threads(1):
        model = lab.Reader(scale.depth, scale.size + scale.classes, scale.classes, scale.length, run)
        options = Options(rate=model.decoder.config.rate, batch=scale.batch, precision=precision_of("auto"))
        lab.learn(model, batches(probe, world, scale, run), scale.steps, options)
        x, y = {}, {}
        for test in TESTS:
            pixels, y[test] = probe.arrays(world, test)
            x[test] = seen(pixels[:, :, : scale.size], y[test], scale.classes)  # fewer rows are a smaller projection
        curves = {test: (lab.labels(model, x[test]) == y[test]).mean(0) for test in TESTS}
        images = x["new"][:, :, : scale.size]
        false = seen(images, np.roll(y["new"], 1, 0), scale.classes)
        lost = (lab.labels(model, false) == y["new"]).mean(0)
    quarter = slice(-max(1, scale.length // 4), None)
    return Found(
        {test: float(curve[0]) for test, curve in curves.items()},
        {test: float(curve[quarter].mean()) for test, curve in curves.items()},
        float((nearest(images, y["new"]) == y["new"])[:, quarter].mean()),
        float(lost[quarter].mean()),
        regime(curves["seen"], curves["new"], 1 / scale.classes),
    )


def batches(probe: Gpicl, world: World, scale: Scale, run: Run) -> lab.Batches:
    """Training sequences as `Gpicl.batch` draws them, of the projection's first rows; every task is made once."""
    sides = np.array([t["side"] for t in world.more["base"].column("truth").to_pylist()])
    images, digits = (some[sides == "train"] for some in examples(world))
    made = [probe.task(t["key"]) for t in world.pool.column("truth").to_pylist()]
    inward = np.stack([projection[: scale.size].T for projection, _ in made])
    permuted = np.stack([permutation for _, permutation in made])
    rng = run.rng("batches")
    while True:
        task = rng.integers(0, len(made), scale.batch)
        chosen = rng.integers(0, len(images), (scale.batch, scale.length))
        y = np.take_along_axis(permuted[task], digits[chosen], 1)
        yield seen(images[chosen] @ inward[task], y, scale.classes), y


def seen(x: Read, y: Ints, classes: int) -> Read:
    """What the model reads: the projected image, and which label the image before it has."""
    before = np.zeros((*y.shape, classes), np.float32)
    before[:, 1:] = np.eye(classes, dtype=np.float32)[y[:, :-1]]
    return np.concatenate([x, before], 2)


def nearest(x: Read, y: Ints) -> Ints:
    """The label of the nearest image earlier in the sequence, for each place; the first place gets 0."""
    said = np.zeros_like(y)
    for place in range(1, y.shape[1]):
        apart = ((x[:, :place] - x[:, place : place + 1]) ** 2).sum(2)
        said[:, place] = np.take_along_axis(y, apart.argmin(1)[:, None], 1)[:, 0]
    return said
