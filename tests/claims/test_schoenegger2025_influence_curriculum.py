"""The claim about the influence curriculum at a toy size: what is read in which order, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import schoenegger2025_influence_curriculum as claim
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.transformer import Decoder

TOY = claim.Scale(texts=10, held=3, longest=80, passes=2, depth=1, vocab=300, context=32, batch=4)


def sources(count: int = 30) -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [[" ".join(rng.choice([f"{a}{b}" for b in "xyzuvw"], 30)) for _ in range(count)] for a in ("la", "mo", "ti")]


def test_texts_are_read_or_measured_never_both() -> None:
    texts = sources()
    texts[0] = [*texts[0][:15], *texts[0][:15], "short"]  # copies, and one that is too short
    read, held, source = claim.drawn(texts, Run(), TOY)
    assert (len(read), len(held), source.tolist()) == (30, 9, [*[0] * 10, *[1] * 10, *[2] * 10])
    assert len({*read, *held}) == 39
    assert {t[:2] for t, s in zip(read, source, strict=True) if s == 1} == {"mo"}
    assert max(map(len, read)) == 80


def test_each_pass_reads_all_in_the_order_of_the_arm() -> None:
    rng = np.random.default_rng(1)
    influence, source = rng.normal(size=(40, 3)), np.repeat([0, 1], 20)
    orders = {arm: claim.passes(arm, influence, source, Run()) for arm in claim.ARMS}
    assert all(sorted(one.tolist()) == list(range(40)) for some in orders.values() for one in some)
    for t in range(3):
        up, down, dealt = (influence[orders[arm][t], t] for arm in ("upwards", "downwards", "dealt"))
        assert (np.diff(up) > 0).all()
        assert (np.diff(down) < 0).all()
        assert abs(np.corrcoef(dealt, np.arange(40))[0, 1]) < 0.5
        assert source[orders["by source"][t]].tolist() == source.tolist()
        assert 5 < np.flatnonzero(source[orders["random"][t]]).size - source[orders["random"][t]][20:].sum() < 15
    assert orders["random"][0].tolist() != orders["random"][1].tolist()
    assert orders["by source"][0].tolist() != orders["by source"][1].tolist()


def test_arms_read_the_same_texts_as_often_from_the_same_start(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, readings = [], []

    def train(model: Decoder, feed: Fixed, options: Options) -> None:
        starts.append(float(sum(p.detach().double().abs().sum() for p in model.parameters())))
        readings.append(feed.windows.order)

    monkeypatch.setattr(claim, "train_lm", train)
    found = claim.marks(sources(), Run(), TOY)
    assert len({*starts}) == 1
    assert [np.bincount(order).tolist() for order in readings] == [[2] * 30] * len(claim.ARMS)
    assert len({order.tobytes() for order in readings}) == len(claim.ARMS)
    assert len({found[arm] for arm in claim.ARMS}) == 1, "untrained models of one seed are one model"
    assert 0 <= found["between"] <= 1


def test_needs_data() -> None:
    with pytest.raises(UsageError, match="chat_irc_ubuntu"):
        claim.run(None)


def test_statements_hold_where_they_should() -> None:
    def seeds(*losses: float) -> list[dict[str, float]]:
        arms = dict(zip(claim.ARMS, losses, strict=True))
        shaken = [(0.01 * (i % 3 - 1), 0.005 * (i % 2)) for i in range(5)]
        return [
            {arm: v + d + e * (arm in ("upwards", "dealt")) for arm, v in arms.items()}
            | {"between": 0.5, "first and last": 0.5}
            for d, e in shaken
        ]

    good, bad = (claim.statements(seeds(*some)) for some in ((5, 4.8, 4.8, 5, 5.3), (5, 5.1, 5.3, 4.8, 4.9)))
    assert [row["holds"] for row in good[:5]] == ["yes"] * 5
    assert [row["holds"] for row in bad[:5]] == ["no"] * 5
