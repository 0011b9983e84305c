"""A family of models: honest judges, one training for all who ask, and reading in shares of one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Run, TablePool

pytest.importorskip("torch")

from tilth.kernels.hashing import half
from tilth.models import family as module
from tilth.models import train
from tilth.models.family import Family

RNG = np.random.default_rng(0)
WORDS = [f"word{i}" for i in range(40)]
TEXTS = [" ".join(WORDS[(int(start) + j) % 40] for j in range(12)) for start in RNG.integers(40, size=120)]
SMALL = Family(depths=(1,), tokens=(500, 4000), vocab=300, context=32, passes=4)


def pool_of(texts: list[str], **columns: Any) -> TablePool:
    return TablePool(pa.table({"text": texts, **columns}))


def test_who_has_read_more_needs_fewer_bits_and_members_come_in_order() -> None:
    family = Family(depths=(1, 2), tokens=(500, 4000), vocab=300, context=32, passes=4)
    assert family.members == ((1, 500), (1, 4000), (2, 500), (2, 4000))
    pool = pool_of(TEXTS)
    means = family.grow(pool, Run()).bits(pool.column("text")).mean(1)
    assert means[1] < means[0] - 0.3
    assert means[3] < means[2] - 0.3


def test_nobody_judges_what_it_has_read_nor_its_copies() -> None:
    noise = ["".join(RNG.choice([*"abcdefghijklmnopqrst"], 60)) for _ in range(21)]
    once, often = noise[1:], noise[:1] * 60
    pool = pool_of([*once, *often, *TEXTS])
    family = Family(depths=(1,), tokens=(20_000,), vocab=300, context=32, passes=4)
    kin = family.grow(pool, Run())
    texts = pa.chunked_array([pa.array(noise[:1])])
    honest = float(kin.bits(texts)[0, 0])
    side = int(half(texts)[0])
    cheating = float(kin.bits(texts, 1 - side)[0, 0])  # type: ignore[arg-type]
    alone = kin.bits(pool.column("text"))[0, :20].mean()
    assert honest > 0.8 * alone
    assert cheating < 0.6 * honest


def test_bits_are_of_bytes_and_the_empty_have_none() -> None:
    pool = pool_of([*TEXTS, "", None])  # type: ignore[list-item]
    bits = SMALL.grow(pool, Run()).bits(pool.column("text"))
    assert np.isnan(bits[:, -2:]).all()
    assert not np.isnan(bits[:, :-2]).any()
    lone = pool_of(["just one text"])
    assert np.isnan(SMALL.grow(lone, Run()).bits(lone.column("text"))).all()


def test_equal_families_share_their_models_and_all_is_the_same_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[int] = []
    real = train.train_lm

    def counted(*args: Any, **more: Any) -> Any:
        trained.append(1)
        return real(*args, **more)

    monkeypatch.setattr(train, "train_lm", counted)
    pool, run = pool_of(TEXTS), Run(shared=tmp_path)
    one = SMALL.grow(pool, run.at("one")).bits(pool.column("text"))
    two = Family(**SMALL.model_dump()).grow(pool, run.at("other")).bits(pool.column("text"))
    assert len(trained) == 4
    assert (one == two).all()
    assert (SMALL.grow(pool, Run()).bits(pool.column("text")) == one).all()
    assert (SMALL.grow(pool, Run(seed=1)).bits(pool.column("text")) != one).any()
    SMALL.model_copy(update={"batch": 4}).grow(pool, run)
    assert len(trained) == 16


def test_a_small_pool_shrinks_all_budgets_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    from tilth.models import batches

    read: list[int] = []
    real = batches.windows

    def seen(*args: Any) -> Any:
        made = real(*args)
        read.append(int(made.tokens.sum()))
        return made

    monkeypatch.setattr(batches, "windows", seen)
    pool = pool_of(TEXTS)
    Family(depths=(1,), tokens=(10_000, 40_000), vocab=300, context=32, passes=2).grow(pool, Run())
    few, many = np.array(read).reshape(2, 2)
    assert many.sum() < 2.2 * 12 * 3 * 120
    assert few == pytest.approx(many / 4, rel=0.15)


def test_with_vary_each_model_reads_values_in_shares_of_its_own() -> None:
    source = ["a" if i % 3 else "b" for i in range(120)]
    pool = pool_of(TEXTS, source=source)
    lengths, read = RNG.integers(5, 30, 80), np.arange(80)
    here = [module._readings(pool, "source", read, lengths, Run().at(i)) for i in range(2)]
    assert all((r * lengths).sum() == pytest.approx(1) for r in here)
    is_a = np.array(source[:80]) == "a"
    shares = [float((r * lengths)[is_a].sum()) for r in here]
    assert abs(shares[0] - shares[1]) > 0.05
    assert len({round(v, 12) for v in here[0][is_a]}) == 1  # within a value all alike
    even = module._readings(pool, "", read, lengths, Run())
    assert even == pytest.approx(np.full(80, 1 / lengths.sum()))
