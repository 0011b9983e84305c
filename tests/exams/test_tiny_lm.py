"""Does the small transformer rank plans as the truth does, repeat to the bit, and start at the closed form?"""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from scipy.stats import spearmanr

import tilth.models.transformer as transformer
from tilth.core import Budget, Curve, Goal, Plan, Run, TablePool, World
from tilth.engine.local import Workers
from tilth.engine.prove import prove
from tilth.models.checkpoint import Checkpoint
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.proofs._text import encoded_sample, scored_items, tokenizer_for
from tilth.proofs.tiny_lm import TinyLm

PROBE = PlantedMixture(words=60, length=40)
PROOF = TinyLm(depth=1, tokens=12_000, vocab=320, context=64, points=3)


@pytest.fixture(scope="module")
def world() -> World:
    return PROBE.build(2000, Run())


def planned(world: World, **shares: float) -> Plan:
    assert world.goal is not None
    return PROBE.planned(Plan.everything(world.pool, world.goal.budget), shares)


def curve(world: World, plan: Plan, proof: TinyLm = PROOF, run: Run | None = None) -> Curve:
    assert world.goal is not None
    return proof.curve(plan, world.pool, world.goal, run or Run())


def test_ranks_mixtures_by_their_distance_to_the_planted_one(world: World) -> None:
    mixtures = [
        dict(BEST),
        {"a": 0.3, "b": 0.4, "c": 0.3},
        dict.fromkeys("abcd", 0.25),
        {"b": 0.2, "c": 0.3, "d": 0.5},
        {"d": 1.0},
    ]
    told = [curve(world, planned(world, **shares)).losses[-1].mean() for shares in mixtures]
    truth = [sum(abs(shares.get(k, 0.0) - v) for k, v in BEST.items()) for shares in mixtures]
    assert spearmanr(told, truth).statistic > 0.85
    assert max(told[:2]) < min(told[2:]), "12,000 tokens do not tell the first two apart: with some seeds either leads"


@pytest.mark.parametrize("packing", ["best_fit", "first_fit"])
def test_whole_documents_in_windows_are_read_as_much_and_told_apart_as_well(world: World, packing: str) -> None:
    proof = PROOF.model_copy(update={"packing": packing})
    good, bad = curve(world, planned(world, **BEST), proof), curve(world, planned(world, d=1.0), proof)
    chunks = curve(world, planned(world, **BEST))
    assert good.tokens[-1] == chunks.tokens[-1] == 12_000
    assert good.losses[-1].mean() < bad.losses[-1].mean() - 1
    assert not np.array_equal(good.losses, chunks.losses)
    assert np.array_equal(good.losses, curve(world, planned(world, **BEST), proof).losses)


def test_more_is_better_and_the_curve_falls(world: World) -> None:
    good = planned(world, **BEST)
    short = curve(world, good, PROOF.model_copy(update={"tokens": 3000}))
    long = curve(world, good)
    assert long.losses[-1].mean() < short.losses[-1].mean() - 0.02
    assert long.losses.shape == (3, PROBE.items)
    assert (np.diff(long.losses.mean(1)) < 0).all()
    assert (np.diff(long.training) < 0).all()
    assert long.tokens[-1] == pytest.approx(12_000, rel=0.02)
    assert PROOF.smaller().tokens == 6000


def test_an_untrained_model_has_the_loss_of_the_closed_form(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan that reads nothing leaves the model as it was: log2 V bits for every token, over the bytes of the item."""
    goal = world.goal
    assert goal is not None
    empty = replace(planned(world, **BEST), repeats=np.zeros(world.pool.count, np.int32))
    tokenizer = tokenizer_for(world.pool, PROOF.vocab)
    texts = goal.holdout.column("text").to_pylist()
    expected = math.log2(tokenizer.vocab_size) * tokenizer.count(texts) / [len(t.encode()) for t in texts]
    fresh = curve(world, empty)
    assert fresh.tokens.tolist() == [0]
    assert fresh.losses[0] == pytest.approx(expected, rel=0.03)
    real = transformer.build

    def zero(*args: Any) -> transformer.Decoder:
        model = real(*args)
        torch.nn.init.zeros_(model.embedding.weight)
        return model

    monkeypatch.setattr(transformer, "build", zero)
    assert curve(world, empty).losses[0] == pytest.approx(expected, rel=1e-6)


def test_initial_weights_and_order_have_randomness_of_their_own(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    good = planned(world, **BEST)
    plain = curve(world, good).losses
    real = Run.rng

    def other(place: str) -> Any:
        return lambda self, *key: real(self, *key, *(["other"] if key == (place,) else []))

    found = []
    for place in ("init", "order", "elsewhere"):
        monkeypatch.setattr(Run, "rng", other(place))
        found.append(np.array_equal(curve(world, good).losses, plain))
    assert found == [False, False, True]


class Cut(BaseException):
    """The plug is pulled."""


def test_a_trial_that_was_killed_resumes_to_the_same_bits(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = planned(world, **BEST)
    whole = curve(world, good)
    real, written = Checkpoint.write, 0

    def pulled(self: Checkpoint, state: dict[str, Any]) -> None:
        nonlocal written
        real(self, state)
        written += 1
        if written == 2:
            raise Cut

    monkeypatch.setattr(Checkpoint, "__init__", short_steps(Checkpoint.__init__))
    monkeypatch.setattr(Checkpoint, "write", pulled)
    with pytest.raises(Cut):
        curve(world, good, run=Run(scratch=tmp_path))
    assert len([*tmp_path.iterdir()]) == 1
    steps: list[int] = []
    monkeypatch.setattr(Checkpoint, "write", lambda self, state: steps.append(state["step"]))
    other = curve(world, planned(world, d=1.0), run=Run(scratch=tmp_path))
    assert steps[0] == 10, "another plan's trial must not resume from this one's"
    steps.clear()
    resumed = curve(world, good, run=Run(scratch=tmp_path))
    assert steps[0] == 30, "it began at the beginning"
    for name in ("tokens", "losses", "training"):
        assert np.array_equal(getattr(resumed, name), getattr(whole, name))
    assert not np.array_equal(other.losses, whole.losses)
    assert not any(tmp_path.iterdir())


def short_steps(init: Any) -> Any:
    def made(self: Checkpoint, folder: Path, every: int = 10, key: str = "") -> None:
        init(self, folder, every, key)

    return made


def test_the_same_bits_with_any_number_of_workers_and_threads(world: World, tmp_path: Path) -> None:
    assert world.goal is not None
    plan, rivals = planned(world, **BEST), {"wrong": planned(world, d=1.0)}
    proof = PROOF.model_copy(update={"tokens": 4000, "points": 1})
    tables = []
    for count, threads in ((1, 2), (2, 1)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        with Workers(count, Run().progress) as workers:
            made = prove(proof, plan, rivals, world.pool, world.goal, tmp_path / str(count), seeds=2, workers=workers)
        assert torch.get_num_threads() == threads
        torch.set_num_threads(before)
        tables.append(made.as_dict())
    assert tables[0] == tables[1]
    assert tables[0]["table"][0]["name"] == "plan"


def talks(pairs: list[tuple[str, str]]) -> pa.Array:
    return pa.array([[{"role": "user", "content": q}, {"role": "assistant", "content": a}] for q, a in pairs])


def test_answers_are_scored_given_their_questions() -> None:
    """A pool of texts that say who likes what, and questions about it: seen facts are known, others are not."""
    rng = np.random.default_rng(0)
    things = ["soil", "rain", "wind", "seed", "snow", "corn", "milk", "fire"]
    likes = dict(zip((f"p{i}" for i in range(40)), rng.choice(things, 40), strict=True))
    facts = [f"user: what does {who} like?\n\nassistant: {what}" for who, what in likes.items()]
    pool = TablePool(pa.table({"text": facts * 30, "id": [f"f{i}" for i in range(1200)], "source": ["s"] * 1200}))
    right = talks([(f"what does {who} like?", what) for who, what in likes.items()])
    wrong = talks([(f"what does {w} like?", things[things.index(x) - 1]) for w, x in likes.items()])
    held = TablePool(pa.table({"messages": pa.concat_arrays([right, wrong])}), "instruction")
    goal = Goal(held, held, Budget(1200, "records"))
    plan = Plan.everything(pool, goal.budget)
    proof = TinyLm(depth=2, tokens=60_000, vocab=400, context=64, points=1)
    losses = proof.trial(plan, pool, goal, Run())
    guessing = 3 / 5  # bits to name one of eight, over the bytes of the answer
    assert losses[:40].mean() < guessing - 0.2
    assert losses[40:].mean() > guessing + 0.2


def test_what_is_scored() -> None:
    texts = ["the soil is warm", "", None, "x" * 5000]
    tokenizer = tokenizer_for(TablePool(pa.table({"text": ["the soil is warm"] * 50})), 300)
    made = scored_items(TablePool(pa.table({"text": pa.array(texts, pa.string())})), tokenizer, 1000, 64)
    assert made.size.tolist() == [16, 0, 0, 1000]
    assert made.counted.all()
    long = talks([("the soil " * 100, "is warm"), ("", "is warm " * 50)])
    made = scored_items(TablePool(pa.table({"messages": long}), "instruction"), tokenizer, 1000, 64)
    first, second = (made.counted[a:b] for a, b in pairwise(made.offsets))
    assert first.size == 64, "what precedes the answer is shortened from the left"
    assert first[-1]
    assert not first[0]
    assert made.size.tolist() == [7, 399 + 1]
    assert second.sum() >= 100


def test_the_sample_keeps_records_whole_with_their_repeats(world: World) -> None:
    plan = planned(world, a=1.0)
    tokenizer = tokenizer_for(world.pool, 320)
    rows, offsets, ids = encoded_sample(plan, world.pool, tokenizer, 20_000, Run())
    assert (np.diff(rows) > 0).all()
    assert plan.kept[rows].all()
    sizes = (np.diff(offsets) + 1) * plan.repeats[rows]
    assert sizes.sum() - sizes.max() < 20_000 <= sizes.sum()
    texts = world.pool.take(rows, ["text"]).column(0).to_pylist()
    assert [tokenizer.decode(ids[a:b]) for a, b in pairwise(offsets)] == texts
    everything, _, _ = encoded_sample(plan, world.pool, tokenizer, 10**9, Run())
    assert everything.tolist() == np.flatnonzero(plan.kept).tolist()
    few, _, _ = encoded_sample(plan, world.pool, tokenizer, 3000, Run())
    assert set(few) < set(rows), "less is a part of more"
