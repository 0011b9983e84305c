"""Tasks with more of the domain's language score higher, equal models score nothing, and size does not count."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from tilth.core import Budget, Goal, Run, TablePool
from tilth.core.errors import UsageError
from tilth.engine.apply import score_in_memory
from tilth.signals.target.domain_specificity import DomainSpecificity

Floats = npt.NDArray[np.float64]


def speech(n: int, domain: float, rng: np.random.Generator) -> list[str]:
    """Sentences that are of the domain, words and order of its own, with this probability."""

    def sentence() -> str:
        kind, step = ("d", 7) if rng.random() < domain else ("g", 3)
        at = int(rng.integers(100))
        words = []
        for _ in range(8):
            words.append(f"{kind}{at}")
            at = (at * step + int(rng.integers(3))) % 100
        return " ".join(words) + "."

    return [" ".join(sentence() for _ in range(4)) for _ in range(n)]


def scored(texts: list[str | None], target: list[str], extra: list[str], **fields: float) -> Floats:
    """The signal of the first texts of a pool that has the extra ones too."""
    pool = TablePool(pa.table({"text": pa.array([*texts, *extra], pa.string())}))
    aim = TablePool(pa.table({"text": pa.array(target, pa.string())}))
    made = score_in_memory(DomainSpecificity(**fields), pool, Goal(aim, aim, Budget(1)))
    return np.array(made.column("domain_specificity.bits_per_byte").to_pylist(), float)[: len(texts)]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_orders_tasks_by_their_share_of_the_domain(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    tasks = [speech(30, share, rng) for share in shares]
    found = scored([t for task in tasks for t in task], speech(300, 1.0, rng), speech(600, 0.0, rng))
    means = found.reshape(6, 30).mean(1)
    assert means.tolist() == sorted(means)
    assert means[0] < 0 < means[-1]
    sentences = [sum(s.strip().startswith("d") for s in t.split(".")) for task in tasks for t in task]
    assert spearmanr(found, sentences).statistic > 0.9, "record by record"
    length = [len(t) for task in tasks for t in task]
    assert abs(spearmanr(length, sentences).statistic) < 0.5, "the naive rival"


def test_chance_where_the_target_is_as_general_as_the_pool() -> None:
    rng = np.random.default_rng(3)
    found = scored(speech(200, 0.0, rng), speech(400, 0.0, rng), speech(600, 0.0, rng))  # type: ignore[arg-type]
    assert abs(found.mean()) < 0.02


def test_a_longer_target_is_no_advantage() -> None:
    """A pool of half the target's size: models that read unequally much would call all of it specific."""
    rng = np.random.default_rng(4)
    texts = speech(60, 0.0, rng)
    found = scored(texts, speech(3000, 0.0, rng), [])  # type: ignore[arg-type]
    assert abs(found.mean()) < 0.1


def test_identical_models_see_nothing() -> None:
    rng = np.random.default_rng(5)
    pool = TablePool(pa.table({"text": speech(50, 0.5, rng)}))
    signal = DomainSpecificity()
    model = signal.fit(pool, Goal(pool, pool, Budget(1)), Run())[2]
    batch = next(iter(pool.batches(["text"])))
    made = signal.score(batch, (model, model, model), Run())["bits_per_byte"].to_pylist()
    assert made == [0.0] * 50


def test_nobody_is_judged_by_a_model_that_has_read_him() -> None:
    rng = np.random.default_rng(6)
    # Nothing can be learnt about one of these texts but by reading it.
    alone, others = ([" ".join(f"u{w}" for w in rng.integers(0, 10_000, 30)) for _ in range(80)] for _ in "ab")
    target = TablePool(pa.table({"text": speech(300, 1.0, rng)}))
    texts, strangers = (TablePool(pa.table({"text": some})) for some in (alone, others))
    found, unseen = (np.array(signal_of(pool, target, texts).to_pylist()) for pool in (texts, strangers))
    assert abs(found.mean() - unseen.mean()) < 0.1, "a model that has read them would save several bits per byte"


def signal_of(pool: TablePool, target: TablePool, texts: TablePool) -> pa.Array:
    """The values of texts, learnt on another pool or on their own."""
    signal = DomainSpecificity()
    state = signal.fit(pool, Goal(target, target, Budget(1)), Run())
    return signal.score(next(iter(texts.batches(["text"]))), state, Run())["bits_per_byte"]


def test_unknown_and_errors() -> None:
    rng = np.random.default_rng(7)
    found = scored(["", None, "d1 d7"], speech(20, 1.0, rng), speech(20, 0.0, rng))
    assert np.isnan(found).tolist() == [True, True, False]
    assert np.isfinite(scored(["a"], [], [])).all()
    pool = TablePool(pa.table({"text": ["a"]}))
    with pytest.raises(UsageError, match="state a goal"):
        DomainSpecificity().fit(pool, None, Run())


def golden() -> list[float]:
    rng = np.random.default_rng(8)
    found = scored([*speech(3, 0.0, rng), *speech(3, 1.0, rng)], speech(20, 1.0, rng), speech(20, 0.0, rng))
    return [round(float(v), 5) for v in found]


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "domain_specificity.json").read_text(encoding="utf-8"))
    assert golden() == pytest.approx(kept, abs=1e-5)
