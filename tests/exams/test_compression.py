"""Are the bits per character right, do they rank plans, and do tasks' marks fall in step with them?"""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest
import torch

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.models.metrics import linear_law
from tilth.models.tokenizer import Tokenizer
from tilth.models.train import generator
from tilth.models.transformer import Config, build
from tilth.probes.planted_mixture import BEST, PlantedMixture
from tilth.proofs._decoder import trained_on_text
from tilth.proofs.compression import Compression, bits_per_character

PROOF = Compression(depth=1, tokens=12_000, vocab=320, context=64, stride=32)


def test_ranks_mixtures_by_their_distance_to_the_planted_one() -> None:
    probe = PlantedMixture(words=60, length=40)
    world = probe.build(2000, Run())
    assert world.goal is not None
    start = Plan.everything(world.pool, world.goal.budget)
    mixtures = [dict(BEST), dict.fromkeys("abcd", 0.25), {"d": 1.0}]
    losses = [
        PROOF.trial(probe.planned(start, shares), world.pool, world.goal, Run()).mean() for shares in mixtures
    ]  # fmt: skip
    assert losses[0] + 0.02 < losses[1] < losses[2]
    assert PROOF.smaller().tokens == 6000


def test_a_uniform_model_needs_the_logarithm_of_its_ids_for_each_token() -> None:
    """And so exactly 8 bits a byte if it is uniform over bytes; a character of three bytes costs three times that."""
    tokenizer = Tokenizer.train(["x"], vocab=257)  # 256 bytes and the end
    model = build(Config.of_depth(1, 257, 16), generator(Run().rng("init"))).eval()
    with torch.no_grad():
        model.embedding.weight.zero_()
    bits = bits_per_character(model, tokenizer, ["plain text", "漢字", "", "x" * 100], 16, 4)
    assert bits * 8 / math.log2(257) == pytest.approx([8, 24, 0, 8], rel=1e-5)


def test_tokens_do_not_enter_only_what_they_predict() -> None:
    """Two tokenizers, one law of the text: a random word of sixteen costs 4 bits in bytes and in whole words."""
    rng = np.random.default_rng(0)
    words = [f" {a}{b}" for a in "abcd" for b in "wxyz"]

    def text() -> str:
        return "".join(rng.choice(words, 16))

    pool = TablePool(pa.table({"text": [text() for _ in range(1200)], "tokens": [{"count": 48}] * 1200}))
    plan = Plan.everything(pool, Budget(48 * 1200))
    fresh, found = [text() for _ in range(40)], []
    for vocab in (257, 320):  # bytes, and merges until every word is one token
        model, tokenizer = trained_on_text(plan, pool, Run(), depth=1, tokens=40_000, vocab=vocab, context=48, batch=8)
        found.append(bits_per_character(model, tokenizer, fresh, 48, 24).mean())
        assert tokenizer.count(fresh).mean() == (48 if vocab == 257 else 16)
    assert found == pytest.approx([4 / 3, 4 / 3], rel=0.05)
    assert found[0] == pytest.approx(found[1], rel=0.02)


WORDS = [a + b for a in ("ba", "do", "ke", "mi", "tu", "ze") for b in ("ra", "lo", "su", "ne", "pi", "vo", "ga", "fi")]


def sentence(rng: np.random.Generator, follows: np.ndarray, length: int = 12) -> list[int]:
    row = [int(rng.integers(len(WORDS)))]
    while len(row) < length:
        row.append(int(rng.choice(follows[row[-1]])))
    return row


def test_marks_on_a_task_fall_in_step_with_it() -> None:
    """Eight models of one language, from little and much text: telling right word orders from wrong ones."""
    rng = np.random.default_rng(1)
    follows = np.stack([rng.permutation(len(WORDS)) for _ in range(8)], 1)  # every word is as frequent
    texts = [" ".join(WORDS[w] for w in sentence(rng, follows)) for _ in range(2500)]
    pool = TablePool(pa.table({"text": texts, "tokens": [{"count": 40}] * len(texts)}))
    plan = Plan.everything(pool, Budget(40 * len(texts)))
    fresh = [sentence(rng, follows) for _ in range(300)]
    wrong = []
    for row in fresh:
        place = int(rng.integers(1, len(row) - 1))
        others = [w for w in range(len(WORDS)) if w not in follows[row[place - 1]]]
        wrong.append([*row[:place], int(rng.choice(others)), *row[place + 1 :]])
    spelled = [[" ".join(WORDS[w] for w in row) for row in rows] for rows in (fresh, wrong)]
    bits, marks = [], []
    for tokens in (500, 1000, 2000, 3000, 5000, 8000, 12_000, 18_000):
        model, tokenizer = trained_on_text(
            plan, pool, Run(seed=tokens), depth=1, tokens=tokens, vocab=400, context=52, batch=4
        )
        good, bad = (bits_per_character(model, tokenizer, some, 52, 26) for some in spelled)
        bits.append(good.mean())
        marks.append((good < bad).mean())
    law = linear_law(bits, marks)
    assert max(marks) - min(marks) > 0.3, marks
    assert law.pearson < -0.9, (law, bits, marks)


def test_what_one_has_read_is_compressed_better() -> None:
    world = PlantedMixture(words=60, length=40).build(300, Run())
    assert world.goal is not None
    plan = Plan.everything(world.pool, world.goal.budget)
    keep = np.arange(len(plan)) < 30
    few = plan.revised({"use": "test"}, "thirty", keep=keep, repeats=np.full(len(plan), 20))
    seen = TablePool(pa.table({"text": world.pool.take(np.arange(30), ["text"]).column(0)}))
    other = TablePool(pa.table({"text": world.pool.take(np.arange(100, 130), ["text"]).column(0)}))
    proof = PROOF.model_copy(update={"tokens": 40_000})
    known, unknown = (
        proof.trial(few, world.pool, Goal(world.goal.target, held, world.goal.budget), Run()).mean()
        for held in (seen, other)
    )
    assert known < unknown - 0.2
