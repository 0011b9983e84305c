"""cpmi: planted links between far words are found, better than by joining neighbours and by chance."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tilth.core import Run, TablePool
from tilth.engine.apply import score_in_memory

pytest.importorskip("torch")

from tilth.claims.hoover2021_cpmi import Scale, local_links, long_links
from tilth.models.cpmi import Links, tree, uuas
from tilth.signals.difficulty.cpmi import Cpmi

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "cpmi.json").read_text(encoding="utf-8"))
SIGNAL = Cpmi(read=200_000, passes=30, records=40, words=8, batch=32)


def planted(grammar: str, count: int = 2000) -> tuple[TablePool, dict[str, Links]]:
    rng, scale = np.random.default_rng(0), Scale(letters=3)
    made = [{"long": long_links, "local": local_links}[grammar](rng, scale) for _ in range(count)]
    texts = [" ".join(f"w{word}" for word in words) for words, _ in made]
    ids = [f"s{i}" for i in range(count)]
    return TablePool(pa.table({"id": ids, "text": texts})), dict(zip(ids, (links for _, links in made), strict=True))


def marks(grammar: str, signal: Cpmi = SIGNAL) -> tuple[float, float, float, float, float]:
    """UUAS of the signal, of neighbours joined and of random trees; mean distance found and true."""
    pool, truth = planted(grammar)
    scored = score_in_memory(signal, pool)
    rng = np.random.default_rng(1)
    found, near, chance, far, real = [], [], [], [], []
    for key, row in zip(scored.column("id").to_pylist(), scored.column("cpmi").to_pylist(), strict=True):
        if row["parents"] is None:
            continue
        links, n = truth[key], len(row["parents"])
        guess = frozenset((min(i, p), max(i, p)) for i, p in enumerate(row["parents"]) if p >= 0)
        found.append(uuas(guess, links))
        near.append(uuas(frozenset((i, i + 1) for i in range(n - 1)), links))
        chance.append(uuas(tree(rng.random((n, n))), links))
        far.append(row["distance"])
        real.append(np.mean([j - i for i, j in links]))
    assert len(found) == signal.records
    return tuple(float(np.mean(v)) for v in (found, near, chance, far, real))  # type: ignore[return-value]


def test_far_links_are_found_where_neighbours_are_not_linked() -> None:
    found, near, chance, far, real = marks("long")
    assert found > near + 0.3
    assert found > chance + 0.3
    assert far == pytest.approx(real, rel=0.25)


def test_near_links_are_found_as_well_as_by_joining_neighbours() -> None:
    found, near, _, far, _ = marks("local")
    assert near == 1
    assert found > 0.9
    assert far < 1.2


def test_a_model_that_has_hardly_read_knows_no_links() -> None:
    found, _, _, _, _ = marks("long", Cpmi(read=1000, records=40, words=8))
    assert found < 0.5


def test_golden(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPMI is given; parents, strengths, mean and distance follow."""
    pool = TablePool(pa.table({"text": ["the seed lies , ben", "one", ""]}))
    monkeypatch.setattr("tilth.models.cpmi.contextual", lambda *_: (np.array(GOLDEN["cpmi"]), 0.5))
    for absolute in (False, True):
        scored = score_in_memory(Cpmi(absolute=absolute, read=1000, depth=1), pool)
        first, *others = scored.column("cpmi").to_pylist()
        want = GOLDEN["absolute" if absolute else "signed"]
        assert first["parents"] == want["parents"]
        assert first["strength"] == [v if v is None else pytest.approx(v) for v in want["strength"]]
        assert first["mean"] == pytest.approx(want["mean"])
        assert first["distance"] == pytest.approx(want["distance"])
        assert all(value is None for row in others for value in row.values())


def test_what_is_beyond_the_vocabulary_is_one_unknown_word() -> None:
    signal = Cpmi(vocab=2)
    ids = signal._vocabulary([["b", "a", "b"], ["a", "b", "c"]])
    assert ids == {"b": 3, "a": 4}
    pool, _ = planted("local", 40)
    scored = score_in_memory(Cpmi(vocab=1, read=1000, records=5), pool, run=Run())
    assert sum(row is not None for row in scored.column("cpmi.mean").to_pylist()) == 5
