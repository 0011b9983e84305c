"""Rules need fewer bits than luck, more examples leave fewer bits to bring, and sampling agrees where it can see."""

from __future__ import annotations

import json
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import spearmanr

from tilth.core import TablePool
from tilth.core.run import Run
from tilth.engine.apply import score_in_memory
from tilth.signals.difficulty.exact_inductive_bias import ExactInductiveBias


def topics(n: int, rng: np.random.Generator, own: int = 6) -> tuple[list[str], list[str]]:
    """Two classes in turn, each with 20 words of its own; the rest of a text are ten of 2,000 words."""

    def text(label: str) -> str:
        words = [f"{label}{k}" for k in rng.integers(0, 20, own)] + [f"c{k}" for k in rng.integers(0, 2000, 10)]
        return " ".join(rng.permutation(words))

    labels = ["a", "b"] * (n // 2)
    return [text(label) for label in labels], labels


def measured(sources: dict[str, tuple[list[str], list[str]]], what: str = "bits", **fields: Any) -> dict[str, Any]:
    rows = [(t, y, name) for name, (x, labels) in sources.items() for t, y in zip(x, labels, strict=True)]
    table = pa.table(dict(zip(("text", "label", "source"), map(list, zip(*rows, strict=True)), strict=True)))
    scored = score_in_memory(ExactInductiveBias(**fields), TablePool(table, "labeled"))
    column = scored.column(f"exact_inductive_bias.{what}").to_pylist()
    return dict(zip(scored.column("source").to_pylist(), column, strict=True))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_noise_in_the_labels_costs_bits(seed: int) -> None:
    """The same texts, the same shares of the labels; the naive rival, size and balance, sees one source three times."""
    rng = np.random.default_rng(seed)
    x, labels = topics(400, rng)
    sources = {}
    for share in (0.0, 0.3, 1.0):
        dealt, some = np.array(labels), rng.permutation(400)[: int(share * 400)]
        dealt[some] = dealt[rng.permutation(some)]
        sources[f"{share}"] = (x, dealt.tolist())
    found = [*measured(sources, train=160, test=40).values()]
    assert found == sorted(found)
    assert found[-1] > found[0] + 10


@pytest.mark.parametrize("seed", [0, 1])
def test_more_examples_leave_fewer_bits(seed: int) -> None:
    """Models that need not fit would lack the same bits however many examples there are."""
    source = {"x": topics(600, np.random.default_rng(seed))}
    sizes = [5, 10, 20, 40, 80, 160, 320]
    found = [measured(source, train=n, test=40)["x"] for n in sizes]
    assert spearmanr(sizes, found).statistic <= -0.9
    assert found[-1] < 0.6 * found[0]


@pytest.mark.parametrize("seed", [0, 1])
def test_words_suit_models_of_words(seed: int) -> None:
    """Labels by the class's words against labels by the order of two words, which these models cannot see."""
    rng = np.random.default_rng(seed)
    x, labels = topics(400, rng)
    order = [str(t.split()[0] < t.split()[1]) for t in x]
    found = measured({"words": (x, labels), "order": (x, order)}, train=160, test=40)
    assert found["words"] < found["order"] - 10


def test_agrees_with_sampling() -> None:
    rng = np.random.default_rng(5)
    x, labels = topics(60, rng)
    signal = ExactInductiveBias(train=10, test=4, width=32, error=1.5)
    pool = TablePool(pa.table({"text": x, "label": labels}), "labeled")
    bits = signal.fit(pool, None, Run())["memory"]["bits"]
    from tilth.signals.difficulty._parts import parts

    (part,) = parts(pool, "source", 32, 14, Run())
    rows = np.concatenate([part.rows, np.ones((14, 1))], axis=1)
    wanted = np.equal.outer(part.labels, np.unique(part.labels)).astype(float)
    wanted -= wanted[:10].mean(0)
    basis = np.linalg.svd(rows[:10], full_matrices=False)[2]
    z = rng.normal(size=(50_000, rows.shape[1], 2))
    z -= basis.T @ (basis @ z)
    off = rows[10:] @ (np.linalg.pinv(rows[:10]) @ wanted[:10]) + rows[10:] @ z - wanted[10:]
    share = ((off**2).sum((1, 2)) <= 1.5 * (wanted[10:] ** 2).sum()).mean()
    assert 2**-bits == pytest.approx(share, rel=0.05)


def test_unknown_and_unreachable() -> None:
    rng = np.random.default_rng(6)
    x, labels = topics(120, rng)
    sources = {"few": (x[:20], labels[:20]), "one": (x, ["yes"] * 120), "fine": (x, labels)}
    found = measured(sources, train=40, test=20)
    assert found["few"] is None
    assert found["one"] is None
    assert 0 < found["fine"] < inf
    tight = {"fine": (x, [str(v) for v in rng.random(120) < 0.5])}
    assert measured(tight, train=90, test=25, width=16, error=0.01)["fine"] == inf, "17 weights cannot fit noise"
    assert measured(tight, "floor", train=90, test=25, width=16, error=0.01)["fine"] > 0.5


def golden() -> dict[str, Any]:
    rng = np.random.default_rng(7)
    x, labels = topics(60, rng)
    luck = [str(v) for v in rng.random(60) < 0.5]
    found = measured({"words": (x, labels), "luck": (x, luck)}, train=30, test=10)
    return {name: float(f"{v:.6g}") for name, v in found.items()}


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "exact_inductive_bias.json").read_text(encoding="utf-8"))
    assert golden() == pytest.approx(kept, rel=1e-4)
