"""The claim about prefixes at a toy size: what the worlds say, what the arms read, and what is made of it."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import gao2025_meco as claim
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.transformer import Decoder

TOY = claim.Scale(tokens=4000, held=12, texts=40, longest=80, depth=1, vocab=300, batch=4)


def test_sources_say_the_opposite_of_each_other() -> None:
    world = claim.conventions(Run(), TOY)
    said: dict[str, set[tuple[str, str]]] = {"north": set(), "south": set()}
    for text, tag in zip(world.texts, world.tags, strict=True):
        said[tag] |= {*re.findall(r"(w\d+) (yes|no)", text)}
    turned = {(word, "no" if says == "yes" else "yes") for word, says in said["south"]}
    assert said["north"] == turned
    assert len(turned) == TOY.words
    offsets, ids = world.vocab.encode_batch(list(world.held))
    assert world.judged is not None
    assert world.first is not None
    answers = {world.vocab.decode([i]).strip() for i in ids[world.judged]}
    assert answers == {"yes", "no"}
    assert world.judged.sum() == TOY.held * TOY.facts
    assert np.flatnonzero(world.first).tolist() == (offsets[:-1] + 2).tolist()
    assert set(world.wrong) == {"north", "south"}
    assert all(a != b for a, b in zip(world.wrong, world.told, strict=True))


def test_arms_learn_equal_tokens_from_the_same_start(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, read = [], []

    def train(model: Decoder, feed: Fixed, options: Options) -> None:
        starts.append(float(sum(p.detach().double().abs().sum() for p in model.parameters())))
        read.append(feed.windows)

    monkeypatch.setattr(claim, "train_lm", train)
    arms = ("plain", "meco", "hot", "less", "dealt")
    found = claim.marks(claim.conventions(Run(), TOY), Run(), TOY, arms)
    of = dict(zip(arms, read, strict=True))
    assert len({*starts}) == 1
    assert len({of[arm].tokens.sum() for arm in ("plain", "meco", "hot", "dealt")}) == 1
    assert of["less"].tokens.sum() == pytest.approx(claim.LESS * of["meco"].tokens.sum(), rel=0.01)
    assert of["plain"].order.tolist() == of["meco"].order.tolist()
    assert all(np.bincount(windows.order).max() == 1 for windows in read), "no text is read twice"
    hidden = [int(((w.documents >= 0) & (w.targets < 0)).sum()) for w in read]
    assert hidden[0] == 0
    assert 0 < hidden[1] < hidden[2]
    assert found["heads"] == pytest.approx(hidden[1] / of["meco"].tokens.sum())
    assert len({found[arm] for arm in arms}) == 1, "untrained models of one seed are one model"


def test_real_text_has_its_sources_as_tags() -> None:
    rng = np.random.default_rng(0)
    texts = {name: [" ".join(rng.choice([name, "x", "y"], 30)) for _ in range(60)] for name in ("la", "mo")}
    world = claim.real(texts, Run(), TOY)
    assert len(world.texts) == 80
    assert len(world.held) == 2 * (TOY.held // 4)
    assert not {*world.texts} & {*world.held}
    found = claim.marks(world, Run(), TOY, ("plain", "meco", "hot"))
    assert {"plain", "meco", "hot", "right", "wrong", "heads"} == {*found}
    assert all(np.isfinite(value) for value in found.values())


def test_needs_data() -> None:
    with pytest.raises(UsageError, match="chat_irc_ubuntu"):
        claim.run(None)


def test_statements_hold_where_they_should() -> None:
    def seeds(**marks: float) -> list[dict[str, float]]:
        return [{name: value + 0.001 * i for name, value in marks.items()} for i in range(3)]

    first: dict[str, Any] = {"first, plain": 0.6, "first, meco": 0.6, "heads": 0.1}
    good = {"plain": 0.5, "meco": 0.3, "less": 0.4, "hot": 1.0, "dealt": 0.6, "right": 0.1, "wrong": 2.0}
    real = {"plain": 3.5, "meco": 3.4, "hot": 3.6, "right": 3.3, "wrong": 3.9, "heads": 0.1}
    found = seeds(**good, **first, steered=0.9)
    few = [{name: value for name, value in one.items() if name not in ("hot", "dealt")} for one in found[2:]]
    rows = claim.statements([*found[:2], *few], seeds(**real))
    assert {row["holds"] for row in rows} == {"yes", "-"}
    turned = {name: -value for name, value in good.items()}
    bad = claim.statements(seeds(**turned, **first, steered=0.5), seeds(**{n: -v for n, v in real.items()}))
    assert {row["holds"] for row in bad} == {"no", "-"}
