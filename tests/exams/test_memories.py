from __future__ import annotations

import math
from collections import Counter
from typing import Literal, get_args

import pytest

from tilth.core import Run, World
from tilth.core.errors import DataError
from tilth.probes.memories import UPDATES, Memories, half_life, recall, recognised, rouge

Kind = Literal["sentences", "words", "strings"]
KINDS: tuple[Kind, ...] = get_args(Kind)
SIZE = 300


def texts(world: World, name: str) -> list[str]:
    pool = world.pool if name == "study" else world.more[name]
    found: list[str] = pool.column("text").to_pylist()
    return found


class Letters:
    """Letters given the twelve before them, backing off to fewer: mean bits per letter."""

    def __init__(self, read: list[str]) -> None:
        self.seen: list[Counter[str]] = [Counter() for _ in range(14)]
        for text in read:
            for n, counts in enumerate(self.seen):
                counts.update(("#" * n + text)[i : i + n] for i in range(len(text) + 1))

    def loss(self, text: str) -> float:
        bits = 0.0
        for i, letter in enumerate(text):
            p = 1 / 60
            for n in range(13):
                before = ("#" * n + text)[i : i + n]
                p = (self.seen[n + 1][before + letter] + 2 * p) / (self.seen[n][before] + 2)
            bits -= math.log2(p)
        return bits / len(text)


@pytest.fixture(scope="module", params=KINDS)
def world(request: pytest.FixtureRequest) -> World:
    return Memories(kind=request.param).build(SIZE, Run(seed=5))


def test_item_and_foil_have_the_same_shape_and_no_word_in_common(world: World) -> None:
    fixed = {"the", "near", "on"}
    ids = [pool.column("id").to_pylist() for pool in (world.pool, world.more["foils"])]
    assert [t["pair"] for t in world.pool.column("truth").to_pylist()] == ids[1]
    assert [t["pair"] for t in world.more["foils"].column("truth").to_pylist()] == ids[0]
    for item, foil in zip(texts(world, "study"), texts(world, "foils"), strict=True):
        pairs = [*zip(item.split(), foil.split(), strict=True)]
        assert len(pairs) == 13
        assert all(len(a) == len(b) for a, b in pairs)
        assert sum(a == b for a, b in pairs) <= 4  # the template's own words; two letters may agree by chance
        assert not {a for a, b in pairs if a == b and len(a) > 3} - fixed


def test_no_item_and_no_cue_occurs_twice(world: World) -> None:
    everything = [text for name in ("study", "foils", "stream") for text in texts(world, name)]
    assert [len(texts(world, name)) for name in ("study", "foils", "stream")] == [SIZE, SIZE, 2 * SIZE]
    truth = [t for pool in (world.pool, *world.more.values()) for t in pool.column("truth").to_pylist()]
    assert [f"{t['cue']} {t['rest']}" for t in truth] == everything
    assert len({frozenset(t["cue"].split()) for t in truth}) == len(everything)


def test_chance_without_study_and_certainty_after_it(world: World) -> None:
    probe = Memories()
    before, after = (Letters(texts(world, "stream") + more) for more in ([], texts(world, "study")))
    losses = [[[m.loss(t) for t in texts(world, n)] for n in ("study", "foils")] for m in (before, after)]
    assert abs(probe.grade(world, losses[0]) - 0.5) < 0.09  # 3 standard errors of 300 pairs
    assert probe.grade(world, losses[1]) >= 0.95


def test_foils_that_do_not_match_give_themselves_away() -> None:
    sentences, strings = (Memories(kind=kind).build(SIZE, Run(seed=5)) for kind in KINDS[::2])
    model = Letters(texts(sentences, "stream"))
    losses = [[model.loss(t) for t in texts(w, n)] for w, n in ((sentences, "study"), (strings, "foils"))]
    assert Memories().grade(sentences, losses) > 0.95  # nothing was studied: such foils would measure fluency


def test_words_are_drawn_alike_for_items_and_foils() -> None:
    world = Memories().build(4000, Run(seed=1))
    counts = [Counter(w for t in texts(world, n) for w in t.split()) for n in ("study", "foils")]
    for word in counts[0] | counts[1]:
        a, b = counts[0][word], counts[1][word]
        assert abs(a - b) <= 5 * math.sqrt(a + b), word


def test_the_same_items_in_every_kind() -> None:
    worlds = [Memories(kind=kind).build(40, Run(seed=2)) for kind in KINDS]
    for plain, mixed, letters in zip(*(texts(w, "study") for w in worlds), strict=True):
        assert sorted(plain.split()) == sorted(mixed.split())
        assert [len(w) for w in plain.split()] == [len(w) for w in letters.split()]
    assert sum(a == b for a, b in zip(texts(worlds[0], "study"), texts(worlds[1], "study"), strict=True)) == 0


def test_recall_from_cues() -> None:
    world = Memories().build(50, Run())
    truth = world.pool.column("truth").to_pylist()
    book = {t["cue"]: t["rest"] for t in truth}
    assert all(recall([t["rest"] for t in truth], [book[t["cue"]] + " and" for t in truth]))
    rests = [t["rest"] for t in truth]
    other = rests[1:] + rests[:1]
    assert not any(recall(rests, other))
    assert 0.38 < sum(rouge(rests, other)) / 50 < 0.54
    assert rouge(rests, rests) == [1.0] * 50
    assert recall([""], [""]) == [False]
    assert rouge(["a b c d e"], ["b d x a"]) == pytest.approx([4 / 9])


def test_reading_a_retention_curve() -> None:
    curve = {0: 1.0, 1: 0.9, 2: 0.76, 5: 0.75, 10: 0.6}
    assert half_life(curve, chance=0.5) == 5
    assert half_life(curve) is None
    assert half_life({**curve, 20: 0.5}) == 20
    assert [*UPDATES] == sorted(UPDATES)
    assert recognised([float("nan"), 1.0], [1.0, 1.0]).tolist() == [False, False]


def test_what_cannot_be_done_is_said() -> None:
    world = Memories().build(10, Run())
    with pytest.raises(DataError, match=r"one loss per record of the pool and per foil, 10 each\. Got 10 and 9"):
        Memories().grade(world, ([1.0] * 10, [1.0] * 9))
    with pytest.raises(DataError, match="grades a pair"):
        Memories().grade(world, [1.0] * 10)
    with pytest.raises(DataError, match="different items to study"):
        Memories().build(10**6, Run())
