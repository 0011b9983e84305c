"""Sources of known margin and dimension are ordered by what they ask for; what size alone says is not that order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import TablePool
from tilth.engine.apply import score_in_memory
from tilth.models.inductive_bias import closed_form_bits
from tilth.signals.difficulty.inductive_bias import InductiveBias

Rows = list[tuple[str, str, str]]


def pool_of(rows: Rows) -> TablePool:
    return TablePool(pa.table(dict(zip(("text", "label", "source"), map(list, zip(*rows, strict=True)), strict=True))),
                     "labeled")  # fmt: skip


def measured(rows: Rows, **fields: Any) -> dict[str, dict[str, Any]]:
    scored = score_in_memory(InductiveBias(**fields), pool_of(rows)).table(["source", "inductive_bias"]).to_pylist()
    found: dict[str, dict[str, Any]] = {}
    for row in scored:
        assert found.setdefault(row["source"], row["inductive_bias"]) == row["inductive_bias"], "one number a source"
    return found


def topics(name: str, shared: float, rng: np.random.Generator, n: int = 200, words: int = 20) -> Rows:
    """Two classes with words of their own; each word is one that both use with this probability."""
    rows = []
    for i in range(n):
        own = "ab"[i % 2]
        picked = [(own if rng.random() >= shared else "c") + str(rng.integers(words)) for _ in range(15)]
        rows.append((" ".join(picked), own, name))
    return rows


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_smaller_margin_asks_for_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shares = {"none": 0.0, "some": 0.6, "all": 1.0}
    found = measured([row for name, share in shares.items() for row in topics(name, share, rng)])
    margins, bits = ([found[name][what] for name in shares] for what in ("margin", "bits"))
    assert margins == sorted(margins, reverse=True)
    assert bits == sorted(bits)
    assert bits[2] > 2 * abs(bits[0]), "sources of one size: the naive rival sees no difference"


def mixed(name: str, latent: int, rng: np.random.Generator, n: int = 400) -> Rows:
    """Long texts whose shares of the words lie on a plane of few dimensions."""
    base = rng.dirichlet(np.ones(60), latent + 1)
    rows = []
    for i in range(n):
        counts = np.round(4000 * rng.dirichlet(np.ones(latent + 1)) @ base).astype(int)
        rows.append((" ".join(f"w{k} " * c for k, c in enumerate(counts)), "yn"[i % 2], name))
    return rows


def test_dimension_is_of_the_texts_and_not_of_the_features() -> None:
    rng = np.random.default_rng(0)
    rows = [row for d in (2, 4, 8) for row in mixed(f"d{d}", d, rng)]
    found = [measured(rows)[f"d{d}"]["dimension"] for d in (2, 4, 8)]
    assert found[0] == pytest.approx(2, rel=0.35)
    assert found[0] < found[1] < found[2] < 12
    wide = [measured(rows, width=4096)[f"d{d}"]["dimension"] for d in (2, 4, 8)]
    assert wide == pytest.approx(found, rel=0.1)


def test_copies_and_conflicts() -> None:
    rows = topics("x", 0.3, np.random.default_rng(3))
    text, label, _ = rows[0]
    again = [*rows, *rows[:50], (text.upper(), "b" if label == "a" else "a", "x")]
    plain, more = measured(rows)["x"], measured(again)["x"]
    assert plain["conflicts"] == 0
    assert more["conflicts"] == 3, "the record, its copy, and the same words with another label"
    assert more["margin"] > 0.9 * plain["margin"]
    assert more["dimension"] == pytest.approx(plain["dimension"], rel=0.05)


def test_bits_are_the_formula_of_what_is_shown() -> None:
    rows = topics("x", 0.3, np.random.default_rng(4), n=120)
    found = measured(rows, error=0.1)["x"]
    wanted = closed_form_bits(120, found["dimension"], 1.0, 2, found["margin"], 0.1)
    assert found["bits"] == pytest.approx(wanted)
    assert found["classes"] == 2


def test_unknown_where_nothing_can_be_said() -> None:
    rng = np.random.default_rng(5)
    one_class = [(t, "a", "one") for t, _, _ in topics("", 0.3, rng, n=30)]
    found = measured([*one_class, ("only", "a", "few"), ("two", "b", "few"), *topics("fine", 0.3, rng, n=30)])
    assert found["one"]["bits"] is None
    assert found["one"]["dimension"] > 0
    assert found["few"]["bits"] is None
    assert found["fine"]["bits"] > 0
    table = pa.table({"text": ["a", None], "label": pa.array([None, None], pa.string()), "source": ["x", None]})
    empty = score_in_memory(InductiveBias(), TablePool(table, "labeled")).column("inductive_bias").to_pylist()
    assert [row["bits"] for row in empty] == [None, None]


def golden() -> dict[str, list[Any]]:
    rng = np.random.default_rng(6)
    found = measured(topics("x", 0.2, rng, n=60) + topics("y", 0.8, rng, n=60))
    return {name: [None if v is None else float(f"{v:.6g}") for v in row.values()] for name, row in found.items()}


def test_golden() -> None:
    kept = json.loads((Path(__file__).parents[1] / "golden" / "inductive_bias.json").read_text(encoding="utf-8"))
    assert golden() == {name: pytest.approx(row, rel=1e-4) for name, row in kept.items()}
