"""Salt on a corpus of a learnable grammar, gibberish and a few phrases repeated, read by a small model of two words."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Budget, Goal, Plan, Run, TablePool
from tilth.core.errors import DataError
from tilth.policies.select.salt import Salt

POLICY = Salt(hardness="hard", guessable="guess")
WORDS = 200


def corpus(seed: int) -> tuple[TablePool, Goal, np.ndarray[tuple[int], np.dtype[np.str_]]]:
    """Texts of three kinds with what a bigram model thinks of them: median cost of likely words, and their share."""
    rng = np.random.Generator(np.random.PCG64(seed))
    kinds = rng.choice(["grammar", "gibberish", "repeats"], 1200, p=[0.6, 0.2, 0.2])
    follow, phrases = rng.integers(0, WORDS, (WORDS, 6)), rng.integers(0, WORDS, (8, 2))

    def text(kind: str) -> list[int]:
        if kind == "gibberish":
            return [int(w) for w in rng.integers(0, WORDS, 30)]
        if kind == "repeats":
            return [int(w) for w in phrases[rng.integers(0, 8)]] * 15
        words = [int(rng.integers(0, WORDS))]
        for _ in range(29):
            words.append(int(follow[words[-1], int(6 * rng.random() ** 1.5)]))
        return words

    texts = [text(str(k)) for k in kinds]
    counts = np.full((WORDS, WORDS), 0.01)
    for words in texts[:600]:  # the small model has read half of it
        np.add.at(counts, (words[:-1], words[1:]), 1.0)
    cost = -np.log(counts / counts.sum(1, keepdims=True))
    rank = (-counts).argsort(1).argsort(1)
    hard, guess, mean = [], [], []
    for words in texts:
        nats, likely = cost[words[:-1], words[1:]], rank[words[:-1], words[1:]] < 10
        hard.append(float(np.median(nats[likely])) if likely.any() else float("nan"))
        guess.append(float(likely.mean()))
        mean.append(float(nats.mean()))
    columns = {"text": [" ".join(map(str, w)) for w in texts], "hard": hard, "guess": guess, "mean": mean}
    pool = TablePool(pa.table(columns))
    return pool, Goal(pool, pool, Budget(600, "records")), kinds


@pytest.mark.parametrize("seed", range(3))
def test_neither_gibberish_nor_repeats_come_first(seed: int) -> None:
    pool, goal, kinds = corpus(seed)
    start = Plan.everything(pool, goal.budget)
    plan = POLICY.revise(start, pool, goal, Run(seed=seed))
    first = plan.kept & (plan.phase == 0)
    assert first.sum() == round(0.17 * 600)
    assert (kinds[first] == "gibberish").mean() <= 0.02
    assert (kinds[first] == "repeats").mean() <= 0.05
    naive = np.argsort(-pool.column("mean").to_numpy())[: first.sum()]
    assert (kinds[naive] == "gibberish").mean() > 0.8, "the wrong implementation: a mean over all words"
    worst = POLICY.worst().revise(start, pool, goal, Run(seed=seed))
    assert (kinds[worst.kept & (worst.phase == 0)] == "repeats").mean() > 0.3


def test_the_second_phase_is_drawn_from_all_others() -> None:
    pool, goal, kinds = corpus(0)
    plan = POLICY.revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    second = plan.kept & (plan.phase == 1)
    assert plan.amount == 600
    assert 0.1 < (kinds[second] == "gibberish").mean() < 0.35  # by lot, not by hardness
    order, _ = plan.reading_order(Run())
    assert (plan.phase[order[: int((plan.phase[plan.kept] == 0).sum())]] == 0).all()
    only = POLICY.model_copy(update={"rest": "drop"}).revise(Plan.everything(pool, goal.budget), pool, goal, Run())
    assert (only.phase[only.kept] == 0).all()


def test_says_what_is_missing() -> None:
    pool, goal, _ = corpus(0)
    start = Plan.everything(pool, goal.budget)
    noise = pool.with_column("guess", pa.array(np.full(1200, 0.3)))
    with pytest.raises(DataError, match="no record is guessable to 1; the most is"):
        POLICY.model_copy(update={"least": 1.0}).revise(start, noise, goal, Run())
    empty = pool.with_column("hard", pa.nulls(1200, pa.float64()))
    with pytest.raises(DataError, match="has both hard and guess"):
        POLICY.revise(start, empty, goal, Run())
