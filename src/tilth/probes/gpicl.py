"""Gpicl: real digits seen through a random projection and with shuffled labels, a new task for every pair of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import Field

from tilth.core import Probe, Run, TablePool, World
from tilth.core.errors import DataError

__all__ = ["TESTS", "Gpicl", "examples", "regime"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Regime = Literal["fails", "memorises", "identifies", "learns"]
TESTS: Final = ("seen", "new", "other")
PIXELS: Final = 64
DIGITS: Final = 10
TEST_SHARE: Final = 0.2


class Gpicl(Probe):
    """Does a sequence model learn to learn, or does it memorise its tasks? That depends on how many it was given.

    A task is a pair: a random matrix with entries of variance 1/64 that every image is multiplied by, and a permutation
    of the labels. The pool is the set of training tasks, `size` of them (kind ``text``; the text is the permutation,
    ``truth.key`` the number from which `task` makes the pair). ``more["base"]`` holds the examples (kind ``labeled``,
    64 pixels and a digit), each on one side (``truth.side``): train, test, or other, which are clusters that are no
    digits at all. ``more["seen"]``, ``["new"]`` and ``["other"]`` are test sequences with examples that are not trained
    on: of training tasks, of new tasks, and of new tasks over the other examples; ``truth.rows`` and ``truth.labels``
    say which examples and which labels.

    `batch` draws training sequences and `arrays` makes those of a test: a token is the projected image with the label
    of the example *before* it, and each label is to be predicted. (With its own label beside each image a model would
    copy.) `easy` is the share of training sequences that keep the labels as they are, which starts in-context learning
    sooner. `grade` takes for each sequence of ``more["new"]`` a string of predicted labels and returns the share that
    is right in the last quarter; `curve` has it for each place and test, and `regime` names what the curves say.
    **Chance** is 1 / `classes`; nearest neighbours among the earlier examples get about 0.79 at the defaults.
    Trap: a loss that lies flat for thousands of steps is a plateau, not a failure; and no input may be normalised per
    task, or the projection leaks. Cost: a second; images are scikit-learn's digits, which come with it.
    Source: arXiv 2212.04458; the other examples are ours.

    >>> from tilth.core import Run
    >>> probe = Gpicl(classes=4, length=8, tests=20)
    >>> world = probe.build(64, Run())
    >>> world.pool.count, world.pool.column("text")[0].as_py()
    (64, '0 2 3 1')
    >>> x, y = probe.arrays(world, "new")
    >>> x.shape, y.shape, bool((x[:, 1:, 64:].argmax(2) == y[:, :-1]).all()), float(x[:, 0, 64:].sum())
    ((20, 8, 68), (20, 8), True, 0.0)
    >>> probe.grade(world, ["".join(map(str, row)) for row in y])
    1.0
    """

    paper: ClassVar[str] = "generalpurpose_incontext_learning_by_metalearning_transformers"

    classes: int = Field(DIGITS, ge=2, le=DIGITS, description="digits used, from 0 on")
    length: int = Field(50, ge=2, le=1000, description="examples of a sequence; the paper uses 100")
    tests: int = Field(200, ge=1, le=100_000, description="sequences of each test")
    easy: float = Field(0.0, ge=0, le=1, description="share of training sequences with unpermuted labels")

    def build(self, size: int, run: Run) -> World:
        base = self._base(run)
        keys = [run.number("gpicl", "seen", i) >> 1 for i in range(size)]
        fresh = [run.number("gpicl", "new", i) >> 1 for i in range(self.tests)]
        if set(keys) & set(fresh):
            raise DataError("gpicl drew the same task twice, once to train and once to test; take another seed.")
        seen = [keys[i] for i in run.rng("gpicl", "tests").integers(0, size, self.tests).tolist()]
        tests = {
            name: self._sequences(chosen, base, side, run.rng("gpicl", "tests", name))
            for name, chosen, side in (("seen", seen, "test"), ("new", fresh, "test"), ("other", fresh, "other"))
        }
        tasks = [{"key": key, "rows": None, "labels": None} for key in keys]
        pool = self._pool("task", tasks)
        return World(pool, more={"base": base, **{name: self._pool(name, rows) for name, rows in tests.items()}})

    def grade(self, world: World, answer: Any) -> float:
        return float(self.curve(world, "new", answer)[-max(1, self.length // 4) :].mean())

    def curve(self, world: World, test: str, answer: Sequence[str]) -> npt.NDArray[np.float64]:
        """Share of a test's sequences whose label is right, for each place in the sequence."""
        truth = [t["labels"] for t in world.more[test].column("truth").to_pylist()]
        given = [str(a) for a in answer]
        if [len(a) for a in given] != [len(t) for t in truth]:
            raise DataError(
                f"gpicl grades {len(truth)} strings of {self.length} labels. Got {len(given)}, the first with "
                f"{len(given[0]) if given else 0}."
            )
        rows = [[a == b for a, b in zip(g, t, strict=True)] for g, t in zip(given, truth, strict=True)]
        return np.asarray(np.mean(rows, 0), np.float64)

    def task(self, key: int) -> tuple[Floats, Ints]:
        """The projection and the permutation of a task."""
        rng = Run(seed=key).rng("gpicl")
        permutation: Ints = rng.permutation(self.classes)
        return rng.normal(0, PIXELS**-0.5, (PIXELS, PIXELS)).astype(np.float32), permutation

    def arrays(self, world: World, test: str) -> tuple[Floats, Ints]:
        """Inputs (sequences, length, 64 + classes) and labels (sequences, length) of a test."""
        images, _ = examples(world)
        rows = world.more[test].column("truth").to_pylist()
        x = np.stack([images[r["rows"]] @ self.task(r["key"])[0].T for r in rows])
        return self._tokens(x, np.array([[*map(int, r["labels"])] for r in rows], np.int64))

    def batch(self, world: World, count: int, run: Run) -> tuple[Floats, Ints]:
        """Training sequences, of training tasks and training examples, drawn by the run's place."""
        images, labels = examples(world)
        rng = run.rng("gpicl", "batch")
        rows = np.flatnonzero(np.array([t["side"] == "train" for t in world.more["base"].column("truth").to_pylist()]))
        keys = [t["key"] for t in world.pool.column("truth").to_pylist()]
        x = np.empty((count, self.length, PIXELS), np.float32)
        y = np.empty((count, self.length), np.int64)
        for i in range(count):
            projection, permutation = self.task(keys[int(rng.integers(len(keys)))])
            chosen = rng.choice(rows, self.length)
            x[i] = images[chosen] @ projection.T
            y[i] = labels[chosen] if rng.random() < self.easy else permutation[labels[chosen]]
        return self._tokens(x, y)

    def _tokens(self, x: Floats, y: Ints) -> tuple[Floats, Ints]:
        before = np.zeros((*y.shape, self.classes), np.float32)
        before[:, 1:] = np.eye(self.classes, dtype=np.float32)[y[:, :-1]]
        return np.concatenate([x, before], 2), y

    def _base(self, run: Run) -> TablePool:
        from sklearn.datasets import load_digits

        images, labels = load_digits(return_X_y=True)
        images, labels = images[labels < self.classes].astype(int), labels[labels < self.classes]
        rng = run.rng("gpicl", "base")
        sides = np.where(rng.permutation(len(labels)) < round(TEST_SHARE * len(labels)), "test", "train")
        # The other examples: as many pixels, values in the same range, clusters with centres of their own.
        centres = rng.integers(0, 17, (self.classes, PIXELS))
        others = np.arange(TEST_SHARE * len(labels)).astype(int) % self.classes
        drawn = np.clip(np.rint(centres[others] + rng.normal(0, 4, (others.size, PIXELS))), 0, 16).astype(int)
        rows = [
            *zip(images, labels, sides, strict=True),
            *((x, y, "other") for x, y in zip(drawn, others, strict=True)),
        ]
        return TablePool(
            pa.table(
                {
                    "id": [f"base{i}" for i in range(len(rows))],
                    "text": [" ".join(map(str, x.tolist())) for x, _, _ in rows],
                    "label": [str(y) for _, y, _ in rows],
                    "truth": pa.array([{"side": str(side)} for _, _, side in rows], pa.struct([("side", pa.string())])),
                }
            ),
            "labeled",
        )

    def _sequences(
        self, keys: Sequence[int], base: TablePool, side: str, rng: np.random.Generator
    ) -> list[dict[str, Any]]:
        table = base.table(["label", "truth"]).to_pylist()
        rows = np.array([i for i, row in enumerate(table) if row["truth"]["side"] == side])
        found = []
        for key in keys:
            chosen = rng.choice(rows, self.length).tolist()
            permutation = self.task(key)[1].tolist()
            labels = "".join(str(permutation[int(table[i]["label"])]) for i in chosen)
            found.append({"key": key, "rows": chosen, "labels": labels})
        return found

    def _pool(self, name: str, rows: Sequence[dict[str, Any]]) -> TablePool:
        truth = pa.struct([("key", pa.int64()), ("rows", pa.list_(pa.int32())), ("labels", pa.string())])
        texts = [" ".join(map(str, self.task(row["key"])[1].tolist())) for row in rows]
        ids = [f"{name}{i}" for i in range(len(rows))]
        return TablePool(pa.table({"id": ids, "text": texts, "truth": pa.array(rows, truth)}))


def examples(world: World) -> tuple[Floats, Ints]:
    """The base examples, each scaled to the same size, and their labels."""
    base = world.more["base"].table(["text", "label"])
    images = np.array([[*map(int, text.split())] for text in base.column("text").to_pylist()], np.float32)
    images -= images.mean(1, keepdims=True)
    images /= np.sqrt((images**2).mean(1, keepdims=True)) + np.float32(1e-6)
    return images, np.array([int(label) for label in base.column("label").to_pylist()], np.int64)


def regime(seen: npt.ArrayLike, new: npt.ArrayLike, chance: float, margin: float = 0.15) -> Regime:
    """What accuracy by place says, on seen and on new tasks, both with examples that were not trained on.

    Rising on new tasks is learning; rising on seen tasks only is telling which task it is; being right on seen tasks
    from the first place on is memorising; the rest fails. The last quarter is compared with the first place.

    >>> rising, flat, low = [0.1, 0.4, 0.7, 0.8], [0.8, 0.8, 0.8, 0.8], [0.1, 0.1, 0.1, 0.1]
    >>> [regime(*curves, chance=0.1) for curves in ((rising, rising), (rising, low), (flat, low), (low, low))]
    ['learns', 'identifies', 'memorises', 'fails']
    """
    starts, ends = [], []
    for curve in (np.asarray(seen, float), np.asarray(new, float)):
        starts.append(curve[0])
        ends.append(curve[-max(1, curve.size // 4) :].mean())
    if ends[1] - starts[1] >= margin and ends[1] - chance >= margin:
        return "learns"
    if ends[0] - starts[0] >= margin and ends[0] - chance >= margin:
        return "identifies"
    return "memorises" if starts[0] - chance >= margin and ends[0] - chance >= margin else "fails"
