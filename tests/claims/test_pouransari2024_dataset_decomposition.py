"""The claim about windows of many lengths at a toy size: what arms read, the checks, and what is made of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pytest

from tilth.core import Run
from tilth.core.errors import UsageError

pytest.importorskip("torch")

from tilth.claims import _lab as lab
from tilth.claims import pouransari2024_dataset_decomposition as claim
from tilth.models.buckets import cut
from tilth.models.feeds import Feed
from tilth.models.transformer import Decoder

TOY = claim.Scale(size=3000, held=2, longest=300, far=200, vocab=300, least=3, most=6, batch=2, depth=1, points=2)


def texts() -> list[list[str]]:
    rng = np.random.default_rng(0)
    return [
        [" ".join(rng.choice([name, "x", "y", "z"], rng.integers(3, 120))) for _ in range(40)] for name in ("la", "mo")
    ]


def test_documents_are_between_ends_and_held_out_ones_are_others() -> None:
    world = claim.read(texts(), Run(), TOY)
    offsets, ids = world.texts
    assert (ids[offsets[:-1]] == lab.END).all()
    assert (ids[offsets[1:] - 1] == lab.END).all()
    assert (ids == lab.END).sum() == 2 * (offsets.size - 1)
    assert world.held[0].size == 2 * TOY.held + 1
    assert 0 < world.long[0].size - 1 <= 2 * TOY.held
    assert world.long[1].size > 2**TOY.most
    assert world.source.size == offsets.size - 1
    assert {*world.source} == {0, 1}


def test_joined_text_has_the_same_documents() -> None:
    world = claim.read(texts(), Run(), TOY)
    offsets, ids = world.texts
    count = int(offsets[-1]) // 2**TOY.most // 2
    data = claim.joined(world, Run(), TOY, count)
    assert data.inputs.shape == (count, 2**TOY.most)
    assert (data.targets >= 0).all()
    flat = np.append(data.inputs.ravel(), data.targets[-1, -1])
    ends = np.flatnonzero(flat == lab.END)
    for place, (a, b) in enumerate(pairwise(ends)):
        document = data.order[place]
        assert flat[a : b + 1].tolist() == ids[offsets[document] : offsets[document + 1]].tolist()


def test_checks_see_what_is_wrong() -> None:
    lengths = np.array([100, 7, 40, 9, 0], np.int64)
    good = cut(lengths, TOY.least, TOY.most)
    assert claim.checked(lengths, good, TOY) == (0, 0)

    def moved(places: npt.NDArray[np.int64]) -> tuple[int, int]:
        return claim.checked(lengths, replace(good, start=good.start + places), TOY)

    one = np.zeros(len(good), np.int64)
    one[0] = 1
    assert moved(one)[1] > 0, "a first token is lost, and one is read twice"
    last = np.zeros(len(good), np.int64)
    last[-1] = 5
    assert moved(last)[0] == 1, "a sequence that is of two documents"
    fewer = replace(good, **{name: getattr(good, name)[1:] for name in ("document", "start", "power")})
    assert claim.checked(lengths, fewer, TOY)[1] == good.sizes[0] + good.dropped[0], "a sequence is missing"


def test_arms_read_as_many_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[tuple[int, set[int]]] = []
    starts = []

    def timed(model: Decoder, feed: Feed, *_: object, **more: object) -> npt.NDArray[np.float64]:
        sizes = {int((feed.batch(step).targets >= 0).sum()) for step in range(feed.steps)}
        read.append((feed.steps, sizes))
        starts.append(float(sum(p.detach().double().abs().sum() for p in model.parameters())))
        assert more["apart"] is False
        return np.array([[1.0, 3.0], [2.0, 2.0]])

    monkeypatch.setattr(claim, "timed", timed)
    found = claim.measured(texts(), Run(), TOY)
    assert len(read) == 1 + len(claim.ARMS)
    assert {steps for steps, _ in read} == {int(found["steps"])}
    assert all(sizes == {2 << TOY.most} for _, sizes in read)
    assert len({*starts}) == 1
    assert found["crossing"] == found["unaccounted"] == found["gain at equal time"] == 0
    assert 0 < found["share of tokens in no sequence"] < 0.2
    assert 2**TOY.least < found["mean length at which a token is predicted"] < 2**TOY.most


def test_a_toy_run_learns() -> None:
    found = claim.measured(texts(), Run(), TOY)
    assert all(np.isfinite(value) for value in found.values())
    assert found["loss, grow-p2"] < 5
    assert claim.statements([found])


def test_needs_data() -> None:
    with pytest.raises(UsageError, match="dialogue_sgd"):
        claim.run(None)


def test_statements_hold_where_they_should() -> None:
    context = {
        name: 1.0
        for name in ("steps", "tokens of a step", "mean length at which a token is predicted",
                     "share of tokens in no sequence", "most that a source's share of tokens changes")
    }  # fmt: skip
    arms = ("joined", *claim.ARMS)

    def seeds(better: float, bad: float) -> list[dict[str, float]]:
        return [
            {
                **context,
                **{f"loss, {arm}": 2.0 + better * (arm != "grow-p2") + 0.001 * i for arm in arms},
                **{f"seconds, {arm}": 1.0 + better * (arm == "joined") for arm in arms},
                **{f"late, {arm}": 2.0 + better * (arm == "joined") for arm in arms},
                "gain at equal time": better + 0.001 * i, "crossing": bad, "unaccounted": bad,
            }
            for i in range(3)
        ]  # fmt: skip

    assert {row["holds"] for row in claim.statements(seeds(0.9, 0))} == {"yes", "-"}
    assert {row["holds"] for row in claim.statements(seeds(-0.5, 1))} == {"no", "-"}
