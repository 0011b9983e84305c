from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tilth.core import Run, World
from tilth.core.errors import DataError
from tilth.probes.gpicl import TESTS, Gpicl, regime


@pytest.fixture(scope="module")
def world() -> World:
    return Gpicl().build(64, Run(seed=8))


def truth(world: World, name: str) -> list[dict[str, Any]]:
    pool = world.pool if name == "pool" else world.more[name]
    found: list[dict[str, Any]] = pool.column("truth").to_pylist()
    return found


def nearest(x: Any, y: Any) -> list[str]:
    """Each label from the nearest earlier example of the sequence, whose label the next token holds."""
    classes = x.shape[2] - 64
    answers = []
    for tokens in x:
        labels, images = tokens[1:, -classes:].argmax(1), tokens[:, :64]
        found = [0]
        for t in range(1, len(tokens)):
            found.append(int(labels[((images[:t] - images[t]) ** 2).sum(1).argmin()]))
        answers.append("".join(map(str, found)))
    return answers


def test_labels_and_inputs_are_the_tasks(world: World) -> None:
    probe = Gpicl()
    base = world.more["base"].table(["text", "label"]).to_pylist()
    for name in TESTS:
        x, y = probe.arrays(world, name)
        assert x.shape == (200, 50, 74)
        for row, tokens, labels in zip(truth(world, name)[:20], x, y, strict=False):
            projection, permutation = probe.task(row["key"])
            assert sorted(permutation.tolist()) == [*range(10)]
            for t, number in enumerate(row["rows"]):
                assert labels[t] == permutation[int(base[number]["label"])]
                image = np.array([*map(float, base[number]["text"].split())])
                image = (image - image.mean()) / image.std()
                np.testing.assert_allclose(tokens[t, :64], projection @ image, atol=1e-3)
                shown = np.zeros(10)
                if t:
                    shown[labels[t - 1]] = 1  # the label before, never its own
                assert (tokens[t, 64:] == shown).all()
    matrices = np.stack([probe.task(row["key"])[0] for row in truth(world, "pool")])
    assert abs(matrices.mean()) < 0.001
    assert matrices.var() == pytest.approx(1 / 64, rel=0.01)


def test_nothing_leaks_between_sides(world: World) -> None:
    keys = {name: {row["key"] for row in truth(world, name)} for name in ("pool", *TESTS)}
    assert len(keys["pool"]) == world.pool.count == 64
    assert keys["seen"] <= keys["pool"]
    assert not keys["pool"] & (keys["new"] | keys["other"])
    sides = [t["side"] for t in truth(world, "base")]
    assert {sides[i] for name in ("seen", "new") for row in truth(world, name) for i in row["rows"]} == {"test"}
    assert {sides[i] for row in truth(world, "other") for i in row["rows"]} == {"other"}
    images = world.more["base"].column("text").to_pylist()
    assert not {t for t, s in zip(images, sides, strict=True) if s == "train"} & {
        t for t, s in zip(images, sides, strict=True) if s != "train"
    }
    assert sides.count("test") == pytest.approx(0.2 * 1797, abs=1)


def test_labels_are_balanced_and_the_first_place_is_chance(world: World) -> None:
    y = Gpicl().arrays(world, "new")[1]
    shares = np.bincount(y.ravel(), minlength=10) / y.size
    assert np.abs(shares - 0.1).max() < 0.015
    first = np.bincount(y[:, 0], minlength=10) / len(y)
    assert first.max() < 0.1 + 4 * np.sqrt(0.09 / 200)


@pytest.mark.parametrize("name", ["new", "other"])
def test_neighbours_in_context_solve_new_tasks_but_not_their_first_place(world: World, name: str) -> None:
    probe = Gpicl()
    x, y = probe.arrays(world, name)
    curve = probe.curve(world, name, nearest(x, y))
    assert curve[0] < 0.2
    assert curve[-12:].mean() > 0.75
    assert regime(curve, curve, chance=0.1) == "learns"
    if name == "new":
        assert probe.grade(world, nearest(x, y)) == pytest.approx(curve[-12:].mean())


def origins(probe: Gpicl, world: World, x: Any) -> list[tuple[int, list[int]]]:
    """For each sequence the training task and the base examples that its inputs were made of, found by trying all."""
    texts = world.more["base"].column("text").to_pylist()
    images = np.array([[*map(float, text.split())] for text in texts])
    images = (images - images.mean(1, keepdims=True)) / images.std(1, keepdims=True)
    seen = [images @ probe.task(row["key"])[0].T for row in truth(world, "pool")]
    found = []
    for tokens in x[:, :, :64]:
        far = [((made[None] - tokens[:, None]) ** 2).sum(2) for made in seen]
        fits = [i for i, f in enumerate(far) if f.min(1).max() < 1e-2]
        assert len(fits) == 1
        found.append((fits[0], far[fits[0]].argmin(1).tolist()))
    return found


@pytest.mark.parametrize("easy", [0.0, 1.0])
def test_batches_are_training_tasks_and_training_examples(easy: float) -> None:
    probe = Gpicl(length=6, tests=5, easy=easy)
    world = probe.build(2, Run())
    x, y = probe.batch(world, 20, Run().at("step", 0))
    assert (probe.batch(world, 20, Run().at("step", 0))[0] == x).all()
    assert not (probe.batch(world, 20, Run().at("step", 1))[0] == x).all()
    sides = [t["side"] for t in truth(world, "base")]
    digits = [int(label) for label in world.more["base"].column("label").to_pylist()]
    permutations = [np.arange(10) if easy else probe.task(row["key"])[1] for row in truth(world, "pool")]
    found = origins(probe, world, x)
    assert {task for task, _ in found} == {0, 1}
    for (task, rows), labels in zip(found, y, strict=True):
        assert {sides[i] for i in rows} == {"train"}
        assert [permutations[task][digits[i]] for i in rows] == labels.tolist()


def test_regimes_and_errors(world: World) -> None:
    noise = Run().rng("noise").normal(0.1, 0.02, 40)
    assert regime(noise, noise, chance=0.1) == "fails"
    assert regime(noise + 0.7, noise, chance=0.1) == "memorises"
    assert regime(np.linspace(0.1, 0.9, 40), noise, chance=0.1) == "identifies"
    assert regime(np.full(40, 0.9), np.linspace(0.1, 0.6, 40), chance=0.1) == "learns"
    with pytest.raises(DataError, match=r"grades 200 strings of 50 labels\. Got 1, the first with 3"):
        Gpicl().grade(world, ["012"])
