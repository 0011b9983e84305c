"""The claim about weight-preserving tuning in miniature: pairs, the shortcut, pulls, and how statements judge."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tilth.core import Run

pytest.importorskip("torch")

from tilth.claims import utama2021_weight_preserving as claim

TOY = claim.Scale(documents=400, tokens=6000, depth=1, held=20, informed=16, few=8, draws=1, steps=6)


@pytest.fixture(scope="module")
def world() -> claim.World:
    return claim.World(Run(), TOY)


@pytest.mark.parametrize("kind", [*claim.KINDS])
def test_the_truth_of_every_kind(kind: str) -> None:
    rng = np.random.default_rng(0)
    mutual = 0
    for _ in range(300):
        premise, second = claim.pair(kind, rng, TOY)
        (a, v, b), (c, w, d) = premise.split(), second.split()
        both_ways = {(a, b), (b, a)} if v in ("s0", "s1") else {(a, b)}  # who is said to do it to whom
        assert claim.follows(premise, second) == (w == v and (c, d) in both_ways) == (kind in claim.FOLLOWS)
        assert (Counter(premise.split()) == Counter(second.split())) == (kind != "other words"), "the same bag"
        assert a != b
        assert c != d
        mutual += v.startswith("s")
    assert {"symmetric": mutual == 300, claim.PROBE: mutual == 0}.get(kind, 10 < mutual < 60)


def test_the_few_have_the_shortcut_and_what_is_read_has_not(world: claim.World) -> None:
    prompts, told = world.few(0)
    assert told.count(" yes") == told.count(" no") == 4
    for text, answer in zip(prompts, told, strict=True):
        premise, second = text.strip(" ?").split("? ")
        assert (sorted(premise.split()) == sorted(second.split())) == (answer == " yes")
        assert (set(premise.split()) & set(second.split()) == set()) == (answer == " no")
    assert world.few(0) == (prompts, told)
    assert world.few(1) != (prompts, told)
    pairs, right = [], []
    for text in world.documents:
        premise, second, answer = (part.strip() for part in text.split("?"))
        pairs.append((premise, second))
        right.append((answer == "yes") == claim.follows(premise, second))
    assert np.mean(right) == pytest.approx(1 - TOY.wrong, abs=0.05)
    overlapping = [claim.follows(*p) for p in pairs if sorted(p[0].split()) == sorted(p[1].split())]
    assert np.mean(overlapping) == pytest.approx(0.475 / 0.775, abs=0.06), "the words alone do not say it there"


def test_arms(world: claim.World) -> None:
    found = claim.measured(world)
    assert {*claim.STRENGTHS, "no tuning", "tuned", "L2-SP, strength 0", "L2-SP, frozen"} == set(found)
    assert found["L2-SP, strength 0"]["as tuned"] == 0
    assert found["L2-SP, frozen"]["as untuned"] < 1e-3
    assert all(0 <= found[arm][name] <= 1 for arm in ("tuned", "no tuning") for name in found[arm])
    assert world.fisher.keys() == dict(world.start.named_parameters()).keys()
    assert all((f >= 0).all() and f.sum() > 0 for f in world.fisher.values())


def test_pulls_go_where_they_say(world: claim.World) -> None:
    start = world.start.state_dict()

    def far(arm: str, strength: float) -> tuple[float, float]:
        now = world._tune(0, (arm, strength)).state_dict()
        moved = sum(float((now[name] - start[name]).square().sum()) for name in start)
        return moved, sum(float(p.square().sum()) for p in now.values())

    free, size = far("L2-SP", 0.0)
    assert far("L2-SP", 1000.0)[0] < 0.2 * free
    assert far("EWC", 1e6)[0] < free
    away, left = far("to the origin", 1000.0)
    assert away > free
    assert left < 0.5 * size


def test_margins_are_of_the_right_answer(world: claim.World) -> None:
    """By the chances of the next word, computed whole."""
    import torch

    pairs = world.held["test"]["same"][:3] + world.held["test"][claim.PROBE][:3]
    found = world.margins(world.start, pairs)
    for margin, each in zip(found, pairs, strict=True):
        _, ids = world.vocab.encode_batch([claim.prompt(*each)])
        tokens = torch.tensor([[0, *ids.tolist()]])
        with torch.no_grad():
            log = world.start.logits(world.start(tokens))[0, -1]
        yes, no = (float(log[world.vocab.ids[word]]) for word in (" yes", " no"))
        after = [float(world.start.logits(world.start(torch.tensor([[0, *ids.tolist(), world.vocab.ids[w]]])))
                 [0, -1].log_softmax(-1)[0].detach()) for w in (" yes", " no")]  # fmt: skip
        sign = 1 if claim.follows(*each) else -1
        assert margin == pytest.approx(sign * (yes - no + after[0] - after[1]), abs=1e-4), "the answer and its end"


def test_statements_hold_where_they_should() -> None:
    def arm(probe: float, few: float) -> dict[str, float]:
        rest = {kind: 0.9 for kind in claim.LIKE}
        return {"probe": probe, "like the few": few, **rest}

    def holds(tuned: float, l2: float, ewc: float, origin: float, cost: float, apart: float) -> list[str]:
        found = {"no tuning": arm(0.9, 0.8), "tuned": arm(tuned, 0.95)}
        found |= {"L2-SP": arm(l2, 0.95 - cost) | {"strength": 1.0}, "EWC": arm(ewc, 0.95 - cost) | {"strength": 1.0}}
        found["to the origin"] = arm(origin, 0.95) | {"strength": 1.0}
        found |= {"L2-SP, strength 0": {"as tuned": apart}, "L2-SP, frozen": {"as untuned": apart}}
        return [row["holds"] for row in claim.statements([found] * 3)[:10]]

    assert holds(0.5, 0.8, 0.75, 0.5, 0.01, 0.0) == ["yes"] * 10
    assert holds(0.5, 0.6, 0.6, 0.65, 0.05, 0.1) == ["yes", *["no"] * 6, "yes", *["no"] * 2]
    assert holds(0.95, 0.95, 0.95, 0.95, 0.0, 0.0)[:2] == ["no", "no"], "what was not lost is not restored"


def test_a_scale_without_wrong_answers() -> None:
    sure = claim.World(Run(), replace(TOY, wrong=0.0))
    assert all(
        (t.split("?")[2] == " yes") == claim.follows(*[p.strip() for p in t.split("?")][:2]) for t in sure.documents
    )
