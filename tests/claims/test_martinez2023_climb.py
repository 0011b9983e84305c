"""The claim about curricula for small models at a toy size: what is drawn in which arm, and what is made of it."""

from __future__ import annotations

import numpy as np
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import martinez2023_climb as claim
from tilth.models.feeds import Fixed
from tilth.models.optim import Options
from tilth.models.transformer import Decoder

TOY = claim.Scale(texts=60, held=3, longest=80, depth=1, vocab=300, context=32, batch=4)


def sources(count: int = 80) -> list[list[str]]:
    """Three sources, of ever rarer words."""
    rng = np.random.default_rng(0)
    words = [[f"{a}{i}" for i in range(size)] for a, size in (("la", 3), ("mo", 30), ("ti", 300))]
    return [[" ".join(rng.choice(some, 30)) for _ in range(count)] for some in words]


def test_arms_read_equal_tokens_from_the_same_start(monkeypatch: pytest.MonkeyPatch) -> None:
    starts, read = [], []

    def train(model: Decoder, feed: Fixed, options: Options) -> None:
        starts.append(float(sum(p.detach().double().abs().sum() for p in model.parameters())))
        read.append(feed.windows)

    monkeypatch.setattr(claim, "train_lm", train)
    found = claim.marks(sources(), Run(), TOY)
    assert len({*starts}) == 1
    assert len({windows.tokens.sum() for windows in read}) == 1
    assert all(np.bincount(windows.order).max() == 1 for windows in read), "no text is read twice"
    assert len({windows.order.tobytes() for windows in read}) == len(claim.POLICIES)
    assert len({found[arm] for arm in claim.POLICIES}) == 1, "untrained models of one seed are one model"
    assert found["over"] <= 0
    assert found["late, sorted"] == 0
    of = dict(zip(claim.POLICIES, read, strict=True))
    source = {arm: windows.order // 60 for arm, windows in of.items()}
    assert (source["linear"][:10] == 0).all(), "the source of few words is easy, and comes first"
    assert (source["hard first"][:10] == 2).all()


def test_hard_is_the_mean_unigram_loss() -> None:
    ids = np.array([1, 1, 1, 2], np.uint32)
    pool = claim.scored(["a", "b"], np.array([0, 2, 4]), ids)
    one, two = -np.log(3 / 4), -np.log(1 / 4)
    assert pool.column("hard").to_pylist() == pytest.approx([one, (one + two) / 2])
    assert pool.column("tokens.count").to_pylist() == [3, 3]


def test_needs_data() -> None:
    with pytest.raises(UsageError, match="chat_irc_ubuntu"):
        claim.run(None)


def test_statements_hold_where_they_should() -> None:
    def seeds(*losses: float, over: float) -> list[dict[str, float]]:
        arms = dict(zip(claim.POLICIES, losses, strict=True))
        late = {f"late, {arm}": 0.2 for arm in arms}
        shaken = [(0.01 * (i % 3 - 1), 0.005 * (i % 2)) for i in range(5)]
        return [
            {arm: v + d + e * (arm in ("linear", "log")) for arm, v in arms.items()} | late | {"over": over}
            for d, e in shaken
        ]

    good = claim.statements(seeds(5, 5, 5, 5.2, 5.3, over=-0.01))
    better = claim.statements(seeds(5, 4.8, 4.8, 4.9, 4.7, over=0.01))
    worse = claim.statements(seeds(5, 5.2, 5.2, 5.2, 5.3, over=0.0))
    assert [row["holds"] for row in good[:7]] == ["yes"] * 7
    assert [row["holds"] for row in better[:7]] == ["no"] * 7
    assert [row["holds"] for row in worse[:4]] == ["yes", "yes", "no", "no"]
