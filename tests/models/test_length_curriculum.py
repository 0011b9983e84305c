"""Do longer inputs leave shorter ones as they were, and are records cut to the segments of the moment?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from tilth.core import Run
from tilth.models.checkpoint import Checkpoint, content
from tilth.models.length_curriculum import LengthCurriculum, Segmented, segments_of
from tilth.models.optim import Options
from tilth.models.train import Examples, generator, threads
from tilth.models.transformer import Config
from tilth.models.tune import Texts, embed, train_contrastive

LENGTH, VOCAB, COUNT = 4, 60, 48
STAGES = ((1, 0.5), (2, 0.25), (4, 0.25))


def encoder(segments: int = 4, seed: int = 0, moved: bool = True) -> Segmented:
    shape = Config.of_depth(2, VOCAB, causal=False)
    made = Segmented.built(shape, generator(Run(seed=seed).rng("init")), length=LENGTH, segments=segments)
    if moved:  # fresh blocks add nothing yet
        rng = generator(Run(seed=seed).rng("moved"))
        with torch.no_grad():
            for block in made.blocks.parameters():
                block.add_(0.1 * torch.randn(block.shape, generator=rng))
    return made


def some(lengths: np.ndarray, seed: int = 1) -> Texts:
    rng = np.random.default_rng(seed)
    return np.append(0, np.cumsum(lengths)), rng.integers(1, VOCAB, int(lengths.sum())).astype(np.uint32)


def test_extending_changes_nothing_about_what_could_be_read_before() -> None:
    model = encoder(2)
    with torch.no_grad():
        model.segment_embedding.normal_(generator=generator(Run().rng("moved")))
    texts = some(np.array([2, 5, 8, 20]))
    model.read(2)
    before, weights = embed(model, texts), model.segment_embedding.detach().clone()
    model.extend(5)
    assert np.array_equal(embed(model, texts), before)
    assert model.segment_embedding.shape[0] == 5
    assert torch.equal(model.segment_embedding[:2], weights)
    assert not model.segment_embedding[2:].any()
    model.read(5)
    longer = embed(model, texts)
    assert np.allclose(longer[:3], before[:3], atol=1e-6), "those that fit into two segments"
    assert not np.allclose(longer[3], before[3], atol=1e-3), "more of the long one is read"


def test_a_new_segment_is_read_like_those_before_it() -> None:
    model = encoder()
    model.read(2)
    a, b = [5, 6, 7, 8], [9, 10, 11, 12]
    offsets = np.array([0, 8, 16])
    one, other = embed(model, (offsets, np.array([*a, *b, *b, *a], np.uint32)))
    assert np.allclose(one, other, atol=1e-5), "without a vector of its own a segment has no place"
    with torch.no_grad():
        model.segment_embedding[1] += 1.0
    one, other = embed(model, (offsets, np.array([*a, *b, *b, *a], np.uint32)))
    assert not np.allclose(one, other, atol=1e-3)


def test_records_are_cut_to_the_segments_of_the_step_and_later_vectors_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    model, steps = encoder(moved=False), 8
    longest, waiting = list[int](), list[bool]()
    pooled = Segmented.pooled

    def seen(self: Segmented, tokens: torch.Tensor, real: torch.Tensor) -> torch.Tensor:
        longest.append(tokens.shape[1])
        waiting.append(not self.segment_embedding[1:].any())
        return pooled(self, tokens, real)

    monkeypatch.setattr(Segmented, "pooled", seen)
    growing = LengthCurriculum(model, steps, STAGES)
    train(model, steps, growing)
    assert longest[1::2] == [4, 4, 4, 4, 8, 8, 16, 16], "passages"
    assert max(longest[::2]) <= LENGTH, "questions are short"
    assert waiting[1::2] == [True] * 5 + [False] * 3, "a vector moves when its segment was read"
    assert bool(model.segment_embedding[3].any())


def train(model: Segmented, steps: int, watch: LengthCurriculum, save: Checkpoint | None = None) -> None:
    lengths = np.random.default_rng(2).integers(10, 30, COUNT)
    order = np.arange(steps * 8) % COUNT
    with threads(1):
        train_contrastive(
            model, some(np.full(COUNT, 3), 3), some(lengths, 4), np.arange(COUNT), [[] for _ in range(COUNT)], order,
            Options(rate=1e-3, batch=8), watch=watch, save=save,
        )  # fmt: skip


def test_a_run_that_was_cut_goes_on_with_the_segments_of_its_step(tmp_path: Path) -> None:
    class Cut(BaseException):
        pass

    class Cutting(LengthCurriculum):
        def __call__(self, seen: Examples) -> None:
            super().__call__(seen)
            if seen.step == 5:
                raise Cut

    def fresh() -> Segmented:
        return encoder(moved=False)

    whole = fresh()
    train(whole, 8, LengthCurriculum(whole, 8, STAGES))
    save = Checkpoint(tmp_path, every=5, key="lengths")
    model = fresh()
    with pytest.raises(Cut):
        train(model, 8, Cutting(model, 8, STAGES), save)
    model = fresh()
    train(model, 8, LengthCurriculum(model, 8, STAGES), save)
    assert content([model]) == content([whole])
    assert model.reads == 4
    fixed = fresh()
    train(fixed, 8, LengthCurriculum(fixed, 8, ((4, 1.0),)))
    assert content([fixed]) != content([whole])


def test_what_cannot_be_is_refused() -> None:
    model = encoder()
    with pytest.raises(ValueError, match="1 to 4 segments, not 5"):
        model.read(5)
    with pytest.raises(ValueError, match="extend it to more"):
        model.extend(4)
    with pytest.raises(ValueError, match="an input of 17 tokens is longer than 4 segments of 4"):
        model(torch.ones(1, 17, dtype=torch.int64))
    with pytest.raises(ValueError, match="at least 1 token"):
        encoder(0)
    with pytest.raises(ValueError, match="causal=False"):
        Segmented(Config.of_depth(1, VOCAB), 4, 2)
    unsound = ((), ((2, 0.5), (1, 0.5)), ((1, 0.5), (2, 0.4)), ((0, 0.5), (1, 0.5)), ((1, float("nan")), (2, 1.0)))
    for stages in unsound:
        with pytest.raises(ValueError, match="growing numbers of segments"):
            LengthCurriculum(model, 10, stages)
    with pytest.raises(ValueError, match="not 8"):
        LengthCurriculum(model, 10, ((1, 0.5), (8, 0.5)))


def test_shares_of_nothing_and_short_trainings() -> None:
    assert segments_of(((1, 0.0), (2, 1.0)), 3).tolist() == [2, 2, 2]
    assert segments_of(((1, 0.4), (2, 0.3), (4, 0.3)), 2).tolist() == [1, 4]
    model = encoder()
    growing = LengthCurriculum(model, 3, ((1, 1.0), (4, 0.0)))
    assert [growing.at(step) for step in range(4)] == [1, 1, 1, 4]
    model.requires_grad_(False)
    model.extend(6)
    assert not model.segment_embedding.requires_grad, "what is frozen stays frozen"
