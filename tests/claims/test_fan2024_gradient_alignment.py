"""The claim's own machinery, on a miniature of invented domains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tilth.claims import fan2024_gradient_alignment as claim
from tilth.core import Curve, Run
from tilth.probes.domains import Domains
from tilth.proofs.tiny_lm import TinyLm


@pytest.fixture
def setting(tmp_path: Path) -> claim.Setting:
    for name in "abcd":
        rng = np.random.default_rng(ord(name))
        words = [f"{name}{i}" for i in range(40)]
        rows = [json.dumps({"text": " ".join(rng.choice(words, 60))}) for _ in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows))
    proof = TinyLm(depth=1, tokens=4000, vocab=300, context=32, batch=4, points=2)
    return claim.Setting(("a",), 1, 4000, 4, proof, Domains(path=str(tmp_path), items=8, piece=100))


def test_rows_say_what_was_measured(setting: claim.Setting) -> None:
    rows = claim.run(None, setting)
    assert len({row["statement"] for row in rows}) == len(rows) == 12
    assert {row["holds"] for row in rows} <= {"yes", "no", "-"}
    assert rows[2]["holds"] == "yes", "invented words: only their own domain helps"


def test_domains_have_few_tokens_and_none_of_the_goals(setting: claim.Setting) -> None:
    made = claim.world(setting, "b", Run())
    assert made.goal is not None
    texts, domains = made.pool.column("text").to_pylist(), np.array(made.pool.column("source").to_pylist())
    sizes = {d: sum(len(t.encode()) for t, o in zip(texts, domains, strict=True) if o == d) for d in "abcd"}
    assert all(3500 < size <= 4000 for size in sizes.values())
    assert made.goal.target.shares("source") == {"b": 1.0}
    held = made.goal.target.column("text").to_pylist() + made.goal.holdout.column("text").to_pylist()
    assert not any(item in text for item in held for text in texts)


def test_the_rows_know_the_truth() -> None:
    def curve(loss: float, shares: list[float]) -> Curve:
        log = tuple((4 * i, {"t": s, "u": 1 - s}) for i, s in enumerate(shares))
        return Curve(np.array([1]), np.array([[loss]]), np.zeros(1), log)

    still, calm, wild = [0.5] * 4, [0.5, 0.6, 0.6, 0.7], [0.5, 0.9, 0.2, 0.9]
    good = {"dga": curve(2.0, calm), "not averaged": curve(2.1, wild), "capped": curve(2, calm)}
    good |= {"equal": curve(2.5, still), "importance": curve(3, still)}
    assert [row["holds"] for row in claim._rows("t", [good, good])[:4]] == ["yes"] * 4
    bad = {**good, "dga": curve(2.45, [0.5, 0.4, 0.1, 0.5]), "importance": curve(2, still)}
    bad["not averaged"] = curve(2, [0.5, 0.4, 0.1, 0.5])
    assert [row["holds"] for row in claim._rows("t", [bad, bad])[:4]] == ["no"] * 4
